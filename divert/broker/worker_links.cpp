#include "divert/broker/worker_links.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "divert/broker/answers.h"

namespace divert {
namespace {

/// Requests of the packet engine between two signs of life.
constexpr std::size_t kBeatEvery = 64;
/// Questions of one context that are read in a row: heartbeats and signals must not starve.
constexpr int kQuestionsInARow = 64;

}  // namespace

WorkerLinks::WorkerLinks(std::vector<MessageSocket> sockets, const Policy& policy,
                         std::vector<pid_t> own_pids, RuleLoader& loader, Log log)
    : policy_(policy),
      own_pids_(std::move(own_pids)),
      loader_(loader),
      log_(std::move(log)),
      buffer_(wire::kMaxMessage),
      heartbeats_(sockets.size()) {
  for (auto& socket : sockets) links_.push_back({std::move(socket), {}});
}

base::Result<> WorkerLinks::open() {
  auto natlook = pfctl::Natlook::open();
  if (!natlook) return natlook.error();
  natlook_ = std::move(*natlook);
  return {};
}

base::Result<> WorkerLinks::start_lookups() {
  auto lookups = OwnerLookups::start();
  if (!lookups) return lookups.error();
  lookups_ = std::move(*lookups);
  return {};
}

void WorkerLinks::serve(std::size_t link) {
  flush(link);
  for (int i = 0; i < kQuestionsInARow && !links_[link].wants_room(); ++i) {
    const ssize_t n = links_[link].socket.receive(buffer_, MessageSocket::Wait::no);
    if (n <= 0) break;
    receive({buffer_.data(), static_cast<std::size_t>(n)}, link);
  }
  flush(link);
}

void WorkerLinks::serve_all() {
  for (std::size_t i = 0; i < links_.size(); ++i) serve(i);
}

/// A context that takes what had to wait for it lives, though nothing of it is read meanwhile.
void WorkerLinks::flush(std::size_t link) {
  if (links_[link].unsent.flush(links_[link].socket)) heartbeats_.heard(link);
}

void WorkerLinks::flush_all() {
  for (std::size_t i = 0; i < links_.size(); ++i) flush(i);
}

void WorkerLinks::send(std::size_t link, wire::Answer answer) {
  if (!links_[link].unsent.push(wire::encode(answer), LinkQueue::Kind::needed,
                                std::move(answer.connection.socket)))
    ++unanswered_;
}

void WorkerLinks::show(std::size_t link, std::string message) {
  if (!links_[link].unsent.push(std::move(message), LinkQueue::Kind::lossy)) ++unshown_;
}

void WorkerLinks::receive(std::string_view message, std::size_t link) {
  heartbeats_.heard(link);
  if (wire::Connected connected; message.size() == sizeof connected) {
    std::memcpy(&connected, message.data(), sizeof connected);
    if (auto* engine = loader_.engine()) engine->connected(connected.token, connected.error);
  } else if (const auto asking = question_in(message, loader_.listening())) {
    answer(*asking, link);
  }
}

/// Where did it want to go -> who is it -> what now. The answer goes at once, or comes from the
/// engine or the lookups.
void WorkerLinks::answer(const Asking& asking, std::size_t link) {
  const auto original = original_of(asking.peer, asking.local);
  if (!original || loader_.is_probe(original->destination)) return send(link, {.id = asking.id});
  const FlowKey key{original->source, original->destination};
  if (!was_diverted(*original, asking))
    return send(link, {.id = asking.id, .connection = facts_of(key, {}, own_pids_)});
  const PendingQuestion to{link, asking.id};
  auto* engine = loader_.engine();
  if (engine != nullptr && engine->accepted(key, to)) return;
  if (auto owner = lookups_->cached(key)) return answer({{key, to}, std::move(*owner)});
  lookups_->ask({key, to});
}

void WorkerLinks::answer(OwnerLookups::Found found) {
  Ruling ruling{std::move(found.owner), {}};
  if (!ruling.owner.in_time) ++not_in_time_;
  const auto& [key, to] = found.asked;
  ruling.verdict = policy_.judge({ruling.owner, key.destination}, own_pids_);
  unknown_owners().notice(ruling, key);
  passed_programs_.notice(ruling);
  perform(Reply{key, to, std::move(ruling), 0});
}

std::optional<pfctl::OriginalTuple> WorkerLinks::original_of(const base::Endpoint& peer,
                                                             const base::Endpoint& local) {
  const auto original = natlook_->lookup(peer, local);
  if (original && *original) return *original;
  const base::Error unknown{
      "the kernel does not know where the connection of " + base::to_string(peer) + " wanted to go",
      ENOENT};
  if (const auto line = errors_.about(original ? unknown : original.error())) log_(*line);
  return {};
}

void WorkerLinks::serve_lookups() {
  if (!lookups_) return;
  for (auto& found : lookups_->take()) answer(std::move(found));
  flush_all();
}

std::optional<SocketMaker> WorkerLinks::maker_for(const Ruling& ruling) const {
  const auto* process = ruling.owner.process.get();
  const bool own = process && std::ranges::find(own_pids_, process->id.pid) != own_pids_.end();
  const bool blocked = ruling.verdict.action == Action::block && ruling.verdict.by_host.empty();
  if (own || blocked || loader_.rules().own_mark == 0) return {};
  return maker_of(ruling.owner);
}

base::UniqueFd WorkerLinks::program_socket(const std::optional<SocketMaker>& maker,
                                           const FlowKey& key, std::size_t link) {
  if (!maker || !links_[link].unsent.takes_descriptor()) return {};
  auto socket = open_program_socket(*maker, key.source, loader_.rules().own_mark);
  if (socket) return std::move(*socket);
  if (const auto line = no_sockets_.about(socket.error())) log_(*line);
  return {};
}

void WorkerLinks::serve_engine(const std::function<void()>& beat) {
  auto* engine = loader_.engine();
  if (engine == nullptr) return;
  std::size_t performed = 0;
  for (const auto& effect : engine->take_requests()) {
    perform(effect);
    if (++performed % kBeatEvery == 0) beat();
  }
  flush_all();
}

void WorkerLinks::perform(const Effect& effect) {
  if (const auto* ahead = std::get_if<ConnectAhead>(&effect)) return perform(*ahead);
  if (const auto* reply = std::get_if<Reply>(&effect)) return perform(*reply);
  const std::size_t any = next_link_++ % links_.size();
  if (const auto* shown = std::get_if<Show>(&effect)) {
    notice(shown->ruling);
    show(any, wire::encode(wire::ShowOrder{facts_of(shown->key, shown->ruling, own_pids_)}));
  } else if (const auto* quic = std::get_if<QuicRefused>(&effect)) {
    notice(quic->ruling);
    show(any, wire::encode(wire::QuicNotice{facts_of(quic->key, quic->ruling, own_pids_)}));
  } else if (const auto* datagram = std::get_if<DnsDatagram>(&effect)) {
    // One context sees both question and answer.
    show(FlowKeyHash{}(datagram->key) % links_.size(), wire::encode(copy_of(*datagram)));
  }
}

void WorkerLinks::perform(const ConnectAhead& ahead) {
  notice(ahead.ruling);
  const std::size_t link = next_link_++ % links_.size();
  const auto maker = maker_for(ahead.ruling);
  const wire::ConnectOrder order{ahead.token, ahead.again,
                                 facts_of(ahead.key, ahead.ruling, own_pids_, maker.has_value())};
  // Through a proxy it goes by a socket of the worker's; if it does not after all, the worker asks.
  base::UniqueFd socket;
  if (policy_.goes_straight(ahead.ruling.verdict)) socket = program_socket(maker, ahead.key, link);
  // No room: the program's first packet comes again, as if the server had not answered it.
  if (!links_[link].unsent.push(wire::encode(order), LinkQueue::Kind::needed, std::move(socket)))
    loader_.engine()->connected(ahead.token, ETIMEDOUT);
}

void WorkerLinks::perform(const Reply& reply) {
  notice(reply.ruling);
  const auto maker = maker_for(reply.ruling);
  wire::Answer answer{
      .id = reply.to.question,
      .upstream = reply.token,
      .connection = facts_of(reply.key, reply.ruling, own_pids_, maker.has_value())};
  if (reply.token == 0) answer.connection.socket = program_socket(maker, reply.key, reply.to.link);
  send(reply.to.link, std::move(answer));
}

bool WorkerLinks::check_lookups() {
  return !lookups_ || lookups_->check(Clock::now());
}

bool WorkerLinks::has_hanging_context() {
  return heartbeats_.round(Clock::now()).has_value();
}

UnknownOwners& WorkerLinks::unknown_owners() {
  auto* engine = loader_.engine();
  return engine ? engine->unknown_owners() : unknown_owners_;
}

std::string WorkerLinks::passed_programs() {
  auto* engine = loader_.engine();
  return engine ? engine->passed_programs().list() : passed_programs_.list();
}

std::vector<std::string> WorkerLinks::health_report() {
  std::vector<std::string> lines{errors_.summary(), no_sockets_.summary(),
                                 unknown_owners().summary()};
  if (not_in_time_ > 0)
    lines.push_back(
        fmt::format("accepted connections whose program was not found in time: {}", not_in_time_));
  if (unshown_ > 0) {
    lines.push_back(
        fmt::format("flows of DNS and of passed connections that are missing because the worker "
                    "was too slow: {}",
                    unshown_));
  }
  if (unanswered_ > 0)
    lines.push_back(
        fmt::format("connections closed because the worker was too slow: {}", unanswered_));
  return lines;
}

}  // namespace divert
