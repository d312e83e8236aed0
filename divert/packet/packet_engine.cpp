// Threads and their hand-overs. Three locks, none held over a system call: that of the pending
// connections, that of the requests, and that of the lookups.
#include "divert/packet/packet_engine.h"

#include <cerrno>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include "divert/packet/owner_hints.h"
#include "divert/packet/progress.h"
#include "divert/process/thread_priority.h"

namespace divert {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

/// Deadlines are looked at this often when no packet comes.
constexpr auto kTick = 10ms;
constexpr auto kIdle = 200ms;
constexpr auto kSilence = 1s;

/// A full pipe rings as well.
void ring(const base::Pipe& bell) {
  (void)!::write(bell.in.get(), "", 1);
}

}  // namespace

/// One queue, its thread, and the attributor that only this thread uses.
struct PacketEngine::Lane {
  Lane(std::uint16_t number, PacketSource from) : index(number), source(std::move(from)) {}

  std::uint16_t index;
  PacketSource source;
  std::optional<procmap::Attributor> attributor;
  std::thread thread;
  Progress progress;  ///< of the thread
  OwnerHints learnt;  ///< by the searching thread

  void learn() {
    for (const auto& owner : learnt.take()) attributor->learn(owner);
  }
};

base::Result<std::unique_ptr<PacketEngine>> PacketEngine::open(unsigned queues) {
  auto sources = open_packet_sources(queues);
  if (!sources) return sources.error();
  auto wake = base::make_pipe(base::Blocking::no);
  if (!wake) return wake.error();
  std::unique_ptr<PacketEngine> engine{new PacketEngine{std::move(*sources), std::move(*wake)}};
  auto logs = open_packet_logs();
  if (logs) engine->dns_ = std::make_unique<DnsTap>(std::move(*logs));
  if (!logs) engine->dns_tap_error_ = logs.error().text;
  return engine;
}

PacketEngine::PacketEngine(PacketSources sources, base::Pipe wake)
    : first_queue_(sources.first), wake_(std::move(wake)) {
  for (auto& source : sources.each) {
    lanes_.push_back(
        std::make_unique<Lane>(static_cast<std::uint16_t>(lanes_.size()), std::move(source)));
  }
}

PacketEngine::~PacketEngine() {
  dns_.reset();
  release_all();
  stopping_ = true;
  for (const auto& lane : lanes_) {
    if (lane->thread.joinable()) lane->thread.join();
  }
  lookup_thread_.reset();
}

pfctl::Queueing PacketEngine::queueing() const {
  pfctl::Queueing queueing;
  queueing.ipv6 = usual_queueing().ipv6;
  queueing.first = first_queue_;
  queueing.count = static_cast<std::uint16_t>(lanes_.size());
  if (dns_) queueing.dns_groups = dns_->question_groups();
  if (dns_) queueing.dns_answers = dns_->answer_group();
  return queueing;
}

base::Result<> PacketEngine::start(const Policy& policy, std::vector<pid_t> own_pids,
                                   std::uint32_t mark_bit) {
  policy_ = &policy;
  own_pids_ = std::move(own_pids);
  mark_bit_ = mark_bit;
  for (const auto& lane : lanes_) {
    auto attributor = procmap::Attributor::open();
    if (!attributor) return attributor.error();
    lane->attributor = std::move(*attributor);
    lane->progress.mark();
  }
  if (auto searching = start_lookups(); !searching) return searching.error();
  for (const auto& lane : lanes_)
    lane->thread = std::thread{[this, &lane = *lane] { receive(lane); }};
  if (!dns_) return {};
  return dns_->start(
      [this](procmap::Owner owner, const FlowKey& key) { return rule(std::move(owner), key); },
      [this](DnsDatagram heard) {
        Effects effects;
        effects.emplace_back(std::move(heard));
        perform(effects);
      });
}

base::Result<> PacketEngine::start_lookups() {
  const auto make = []() -> base::Result<OwnerLookupThread::Search> {
    auto opened = procmap::Attributor::open();
    if (!opened) return opened.error();
    const auto attributor = std::make_shared<procmap::Attributor>(std::move(*opened));
    return OwnerLookupThread::Search{
        [attributor](std::span<const procmap::SocketQuery> list, std::chrono::milliseconds limit) {
          return attributor->owners_of(list, limit);
        }};
  };
  auto searcher = OwnerLookupThread::start(
      make,
      [this](const LookUp& wanted, procmap::Owner owner) { found(wanted, std::move(owner)); });
  if (!searcher) return searcher.error();
  lookup_thread_ = std::move(*searcher);
  return {};
}

void PacketEngine::receive(Lane& lane) {
  name_thread("packets");
  stay_on(lane.index);
  const auto take = marking(lane.progress, [&](const HeldPacket& packet, std::string_view bytes) {
    judge(lane, {lane.index, packet.id, packet.mark, packet.interface, packet.gid}, bytes);
  });
  while (!stopping_) {
    const bool waiting = [this] {
      const std::lock_guard lock{pending_mutex_};
      return pending_.next_due().has_value();
    }();
    const auto received = lane.source.receive(waiting ? kTick : kIdle, take);
    lane.progress.mark();
    // Without its queue the broker must not stay.
    if (!received) {
      const std::lock_guard lock{failure_mutex_};
      threads_ = received.error();
      return;
    }
    lane.learn();
    expire();
  }
}

void PacketEngine::judge(Lane& lane, const HeldPacket& packet, std::string_view bytes) {
  const auto head = parse_packet(bytes);
  if (!head) {
    // What cannot be read is decided at the accept.
    unreadable_.fetch_add(1, std::memory_order_relaxed);
    return lane.source.release(packet, Release::divert, mark_bit_);
  }
  lane.learn();
  const FlowKey& key = head->key;
  auto cached = lane.attributor->cached_owner(sought(key, packet.interface));
  if (cached.owner.socket) cached.owner.socket->gid = packet.gid;
  const bool bound = cached.owner.socket && cached.owner.socket->interface != 0;
  std::optional<Ruling> ruling;
  if (!cached.needs_search) ruling = rule(std::move(cached.owner), key);
  if (ruling) notice(*ruling, key);
  if (ruling) pass_when_bound(*ruling);
  if (ruling && passes_unseen(*ruling) && !known(key))
    return lane.source.release(packet, Release::pass, mark_bit_);
  using Reach = PendingConnections::Reach;
  const Reach reach = !bound                   ? Reach::listener
                      : policy_->rules.empty() ? Reach::none
                                               : Reach::none_and_rules;
  with_pending([&](Effects& effects) {
    pending_.arrive(key, head->sequence, packet, Clock::now(), effects, reach, std::move(ruling));
  });
}

void PacketEngine::notice(const Ruling& ruling, const FlowKey& key) {
  unknown_owners_.notice(ruling, key);
  passed_programs_.notice(ruling);
}

bool PacketEngine::known(const FlowKey& key) const {
  const std::lock_guard lock{pending_mutex_};
  return pending_.knows(key);
}

Ruling PacketEngine::rule(procmap::Owner owner, const FlowKey& key) {
  if (!owner.in_time) not_in_time_.fetch_add(1, std::memory_order_relaxed);
  auto verdict = policy_->judge({owner, key.destination}, own_pids_);
  return {std::move(owner), std::move(verdict)};
}

/// `step` changes the pending connections; the effects are performed without their lock.
template <class Step>
void PacketEngine::with_pending(Step step) {
  Effects effects;
  {
    const std::lock_guard lock{pending_mutex_};
    step(effects);
    for (const auto& effect : effects) {
      if (const auto* ahead = std::get_if<ConnectAhead>(&effect))
        ahead_.emplace(ahead->token, ahead->key);
    }
  }
  perform(effects);
}

void PacketEngine::expire() {
  {
    const std::lock_guard lock{pending_mutex_};
    const auto due = pending_.next_due();
    if (!due || *due > Clock::now()) return;
  }
  with_pending([&](Effects& effects) { pending_.expire(Clock::now(), effects); });
}

void PacketEngine::perform(Effects& effects) {
  bool asked = false;
  for (auto& effect : effects) {
    if (const auto* let = std::get_if<ReleasePacket>(&effect)) {
      lanes_[let->packet.source]->source.release(let->packet, let->how, mark_bit_);
    } else if (const auto* refuse = std::get_if<Refuse>(&effect)) {
      lanes_[refuse->packet.source]->source.refuse(refuse->packet, refuse->how);
    } else if (const auto* look_up = std::get_if<LookUp>(&effect)) {
      lookup_thread_->ask(*look_up);
    } else {
      const std::lock_guard lock{requests_mutex_};
      requests_.push_back(std::move(effect));
      asked = true;
    }
  }
  if (asked) ring(wake_);
}

void PacketEngine::found(const LookUp& wanted, procmap::Owner owner) {
  for (const auto& lane : lanes_) {
    if (owner.process) lane->learnt.add(owner);
  }
  if (owner.socket) owner.socket->gid = wanted.gid;
  auto ruling = rule(std::move(owner), wanted.key);
  notice(ruling, wanted.key);
  with_pending([&](Effects& effects) {
    pending_.settle(wanted.key, wanted.token, std::move(ruling), Clock::now(), effects);
  });
}

Effects PacketEngine::take_requests() {
  // First the bell, then the requests: one that comes in between rings for nothing, none is missed.
  char rings[256];
  (void)!::read(wake_.out.get(), rings, sizeof rings);
  const std::lock_guard lock{requests_mutex_};
  return std::exchange(requests_, {});
}

void PacketEngine::connected(std::uint64_t token, int error) {
  with_pending([&](Effects& effects) {
    const auto found = ahead_.find(token);
    if (found == ahead_.end()) return;
    pending_.connected(found->second, token, error, Clock::now(), effects);
    ahead_.erase(found);
  });
}

bool PacketEngine::accepted(const FlowKey& key, const PendingQuestion& waiter) {
  bool known = false;
  with_pending([&](Effects& effects) { known = pending_.accepted(key, waiter, effects); });
  return known;
}

void PacketEngine::release_all() {
  with_pending([&](Effects& effects) { pending_.release_all(effects); });
}

base::Result<> PacketEngine::check_threads() const {
  const std::lock_guard lock{failure_mutex_};
  return threads_;
}

void PacketEngine::catch_up() const {
  if (dns_) dns_->catch_up(kSilence / 4);
}

bool PacketEngine::alive() const {
  return std::ranges::all_of(lanes_,
                             [](const auto& lane) { return lane->progress.within(kSilence); });
}

bool PacketEngine::check_lookups() {
  return lookup_thread_->check(Clock::now());
}

std::string PacketEngine::health_report() const {
  PendingCounts counts;
  {
    const std::lock_guard lock{pending_mutex_};
    counts = pending_.counts();
  }
  const KernelDrops drops = kernel_drops(first_queue_, lanes_.size());
  const std::pair<std::uint64_t, const char*> list[] = {
      {counts.late_lookups,
       "connections whose program was found after the first packet had been let go; nothing is "
       "missing: osproxy accepted them, and relayed those that were not selected"},
      {not_in_time_.load(), "connections whose program was not found in time"},
      {counts.bound_unseen,
       "connections of sockets bound to a device that passed before their program was found"},
      {counts.overflows,
       "connections that came too fast to be held at the first packet, so that osproxy accepted "
       "them and relayed those that were not selected"},
      {unreadable_.load(),
       "first packets that could not be read, so that osproxy accepted their connections"},
      {counts.late_upstreams,
       "first packets dropped because the server did not answer within 3 s (the program's kernel "
       "sends them again)"},
      {counts.retransmissions,
       "first packets dropped because they were sent again while they were held"},
      {counts.abandoned,
       "first packets dropped because their program had begun another connection from that port"},
      {counts.unowned,
       "packets dropped because their program was not found in time (they are sent again)"},
      {counts.crowded,
       "packets dropped because too many waited for their program (they are sent again)"},
      {drops.queue, "first packets dropped by a full kernel queue"},
      {drops.user, "first packets dropped on their way to osproxy"},
      {dns_ ? dns_->lost() : 0, "losses of copies of DNS packets, which came too fast"},
  };
  std::vector<std::string> lines;
  for (const auto& [count, what] : list) {
    if (count > 0) lines.push_back(fmt::format("{}: {}", what, count));
  }
  return fmt::format("{}", fmt::join(lines, "; "));
}

}  // namespace divert
