// The broker's loop. Every question is answered from the kernel's tables within microseconds;
// nothing here waits for the network or for the worker.
#include "divert/broker/broker.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include <fmt/ranges.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "divert/broker/answers.h"
#include "divert/broker/program_socket.h"
#include "divert/link/wire.h"

namespace divert {
namespace {

using namespace std::chrono_literals;

constexpr auto kHeartbeat = 200ms;
constexpr auto kWorkerStart = 20s;
constexpr auto kWorkerEnd = 3s;
/// Requests of the packet engine between two signs of life.
constexpr std::size_t kBeatEvery = 64;
/// Troubles of a run that goes on are told soon, but not again and again.
constexpr auto kTellCheck = 1s;
constexpr auto kTellEvery = 60s;
/// The worker asks for a new intermediate once in a week; one that has been taken over does not get
/// many.
constexpr auto kIntermediateEvery = 10s;
/// What intercepted connections of an ended CMD get to finish their flows.
constexpr std::string_view kCommandGraceMs = "2000";

constexpr std::array kEndSignals{SIGINT, SIGTERM, SIGHUP, SIGQUIT};
/// All but the last two are passed on to CMD. SIGCHLD last: what was meant for CMD is not taken for
/// ours when CMD has ended of it.
constexpr std::array kWatchedSignals{SIGINT,  SIGTERM,  SIGHUP,  SIGQUIT, SIGUSR1,
                                     SIGUSR2, SIGWINCH, SIGCONT, SIGTSTP, SIGCHLD};

bool is_end_signal(int number) {
  return std::ranges::find(kEndSignals, number) != kEndSignals.end();
}

/// What is said of a worker that ended before it was told to. What led to it stands above, if it
/// could say so.
std::string describe_exit(int status) {
  if (!WIFSIGNALED(status)) return "the worker ended";
  return fmt::format("the worker was killed by signal {} ({})", WTERMSIG(status),
                     ::strsignal(WTERMSIG(status)));
}

}  // namespace

Broker::Broker(BrokerSetup setup)
    : setup_(std::move(setup)),
      heartbeats_(setup_.links.size()),
      command_(std::move(setup_.command), setup_.wait_for_descendants),
      buffer_(wire::kMaxMessage) {
  own_pids_ = {::getpid(), setup_.guard.pid(), setup_.worker};
  for (auto& socket : setup_.links) links_.push_back({std::move(socket), {}});
}

Broker::~Broker() = default;

Ending Broker::run() {
  if (auto opened = open(); !opened) end({1, opened.error().text});
  loop();
  finish();
  wait_for_command();
  setup_.guard.dismiss();
  command_.take_terminal_back();
  return *ending_;
}

base::Result<> Broker::open() {
  auto signals = Signals::watch(kWatchedSignals);
  if (!signals) return signals.error();
  signals_.emplace(std::move(*signals));
  auto natlook = pfctl::Natlook::open();
  if (!natlook) return natlook.error();
  natlook_ = std::move(*natlook);
  send_intermediate();
  const auto deadline = Clock::now() + kWorkerStart;
  while (!ready_ && !ending_ && Clock::now() < deadline) {
    pollfd ends[] = {{setup_.control.descriptor(), POLLIN, 0}, {signals_->descriptor(), POLLIN, 0}};
    ::poll(ends, 2, static_cast<int>(kHeartbeat / 1ms));
    setup_.guard.beat();
    if (ends[0].revents) read_control();
    if (ends[1].revents) read_signals();
  }
  if (ending_) return {};
  if (!ready_) return base::failure("the worker did not start within 20 seconds");
  if (auto held = hold_command(); !held) return held.error();
  auto lookups = OwnerLookups::start();
  if (!lookups) return lookups.error();
  lookups_ = std::move(*lookups);
  if (has_program_sockets()) setup_.rules.own_mark = setup_.mark_bit;
  const auto engine = choose_engine();
  if (!engine) return engine.error();
  auto said = start_watching_others();
  said.insert(said.begin(), *engine);
  log(setup_.first_line(setup_.rules, fmt::format("{}", fmt::join(said, "; "))));
  release_command();
  return {};
}

/// It is there before the first thread, the rules and the policy, and runs after them.
base::Result<> Broker::hold_command() {
  if (auto held = command_.hold(); !held) return held.error();
  if (command_.pid() != 0) setup_.policy.capture = command_.capture();
  return {};
}

void Broker::release_command() {
  // Becoming the user, and a program on a slow file system, take their time.
  setup_.guard.pause();
  const auto released = command_.release();
  setup_.guard.beat();
  if (!released) end({released.error().os_code == ENOENT ? 127 : 126, released.error().text});
}

/// The guard is told that all is well only when all of it is.
void Broker::beat() {
  const bool searches =
      (!lookups_ || lookups_->check(Clock::now())) && (!engine_ || engine_->check_lookups());
  if (!searches) {
    fail(
        "searches for the owners of connections hang again and again: perhaps a name service "
        "(nsswitch.conf) does not answer, or `ps` hangs");
  }
  if (engine_ && !ending_) {
    if (const auto failure = engine_->failure(); !failure.empty()) fail(failure);
  }
  setup_.guard.beat(engine_ && !engine_->alive() ? Guard::Engine::hangs : Guard::Engine::works);
}

/// Whoever is diverted to a context that hangs waits for ever.
void Broker::mind_worker() {
  if (!heartbeats_.round(Clock::now())) return;
  worker_hangs_ = true;
  fail("the worker hangs: one of its threads has given no sign of life for two seconds");
}

void Broker::loop() {
  std::vector<pollfd> ends;
  for (const auto& link : links_) ends.push_back({link.socket.descriptor(), POLLIN, 0});
  ends.push_back({-1, POLLIN, 0});  // of watch_, which changes
  ends.push_back({lookups_ ? lookups_->descriptor() : -1, POLLIN, 0});
  ends.push_back({engine_ ? engine_->descriptor() : -1, POLLIN, 0});
  ends.push_back({setup_.control.descriptor(), POLLIN, 0});
  ends.push_back({signals_->descriptor(), POLLIN, 0});
  auto beat_due = Clock::now();
  while (!ending_) {
    for (std::size_t i = 0; i < links_.size(); ++i)
      ends[i].events = links_[i].wants_room() ? POLLOUT : POLLIN;
    ends[links_.size()].fd = watch_ ? watch_->descriptor() : -1;
    const int ready = ::poll(ends.data(), ends.size(), static_cast<int>(kHeartbeat / 1ms));
    if (Clock::now() >= beat_due) {
      beat();
      mind_worker();
      watch_others();
      setup_.control.flush();
      beat_due = Clock::now() + kHeartbeat;
      if (command_.is_over()) end({command_.status(), {}});
      if (Clock::now() >= tell_due_) report_health();
    }
    if (ready <= 0) continue;
    for (std::size_t i = 0; i < links_.size(); ++i) {
      if (ends[i].revents & (POLLIN | POLLOUT)) serve(links_[i]);
      // The worker closes its ends when it dies; its status comes with SIGCHLD.
      if (ends[i].revents & (POLLHUP | POLLERR)) ends[i].fd = -1;
    }
    if (ends[links_.size()].revents) look_at_rules();
    if (ends[ends.size() - 4].revents) serve_lookups();
    if (ends[ends.size() - 3].revents) serve_engine();
    if (ends[ends.size() - 2].revents) read_control();
    if (ends.back().revents) read_signals();
  }
}

void Broker::serve(Link& link) {
  // A few at a time, so that heartbeats and signals are never starved.
  flush(link);
  for (int i = 0; i < 64 && !link.wants_room(); ++i) {
    const ssize_t n = link.socket.receive(buffer_, MessageSocket::Wait::no);
    if (n <= 0) break;
    heard({buffer_.data(), static_cast<std::size_t>(n)}, link);
  }
  flush(link);
}

/// A context that takes what had to wait for it lives, though nothing of it is read meanwhile.
void Broker::flush(Link& link) {
  if (link.unsent.flush(link.socket))
    heartbeats_.heard(static_cast<std::size_t>(&link - links_.data()));
}

/// What a connection waits for.
void Broker::send(Link& link, std::string message, base::UniqueFd with) {
  if (!link.unsent.push(std::move(message), LinkQueue::Kind::needed, std::move(with)))
    ++unanswered_;
}

void Broker::serve_lookups() {
  for (auto& found : lookups_->take()) answer(std::move(found));
  for (auto& link : links_) flush(link);
}

void Broker::answer(OwnerLookups::Found found) {
  Ruling ruling{std::move(found.owner), {}};
  if (!ruling.owner.in_time) ++not_in_time_;
  const auto& [key, to] = found.asked;
  ruling.verdict = setup_.policy.judge({ruling.owner, key.destination}, own_pids_);
  notice(ruling);
  unknown_owners().notice(ruling, key);
  passed_programs_.notice(ruling);
  Link& link = links_[to.link];
  auto message = message_about(key, ruling, wire::Answer::Kind::answer, to.question, link);
  send(link, std::move(message.bytes), std::move(message.with));
}

std::optional<pfctl::OriginalTuple> Broker::original_of(const base::Endpoint& peer,
                                                        const base::Endpoint& local) {
  const auto original = natlook_->lookup(peer, local);
  if (original && *original) return *original;
  const base::Error unknown{
      "the kernel does not know where the connection of " + base::to_string(peer) + " wanted to go",
      ENOENT};
  if (const auto line = errors_.about(original ? unknown : original.error())) log(*line);
  return {};
}

void Broker::heard(std::string_view bytes, Link& link) {
  heartbeats_.heard(static_cast<std::size_t>(&link - links_.data()));
  if (wire::Connected connected; bytes.size() == sizeof connected) {
    std::memcpy(&connected, bytes.data(), sizeof connected);
    if (engine_) engine_->connected(connected.token, connected.error);
  } else if (const auto asking =
                 question_in(bytes, {setup_.target->v4(), setup_.target->v6(),
                                     setup_.rules.listener_v4, setup_.rules.listener_v6})) {
    asked(*asking, link);
  }
}

/// Where did it want to go -> who is it -> what now. The answer goes at once, or comes from the
/// engine or the lookups.
void Broker::asked(const Asking& asking, Link& link) {
  const auto original = original_of(asking.peer, asking.local);
  const bool tried = original && std::ranges::find(tried_, original->destination) != tried_.end();
  if (tried) arrived_ = original->destination;
  if (!original || tried) return send(link, answer_of_nobody(asking.id));
  const FlowKey key{original->source, original->destination};
  if (!was_diverted(*original, asking))
    return send(link, answer_about(key, {}, own_pids_, wire::Answer::Kind::answer, asking.id));
  const PendingQuestion to{static_cast<std::size_t>(&link - links_.data()), asking.id};
  if (engine_ && engine_->accepted(key, to)) return;
  if (auto owner = lookups_->cached(key)) return answer({{key, to}, std::move(*owner)});
  lookups_->ask({key, to});
}

void Broker::notice(const Ruling& ruling) {
  seen_ = seen_ || !passes_unseen(ruling);
}

/// What the packet engine wants the worker to do or to know.
void Broker::serve_engine() {
  // Each may take a socket in a program's place: a burst of them must not look like a broker that
  // hangs.
  std::size_t performed = 0;
  for (const auto& effect : engine_->take_requests()) {
    perform(effect);
    if (++performed % kBeatEvery == 0) beat();
  }
  for (auto& link : links_) flush(link);
}

void Broker::perform(const Effect& effect) {
  using Kind = wire::Answer::Kind;
  Link& any = links_[next_link_++ % links_.size()];
  if (const auto* ahead = std::get_if<ConnectAhead>(&effect)) {
    notice(ahead->ruling);
    const Kind kind = ahead->again ? Kind::connect_again : Kind::connect;
    auto message = message_about(ahead->key, ahead->ruling, kind, ahead->token, any);
    // The program's first packet comes again: nobody has answered it.
    if (!any.unsent.push(std::move(message.bytes), LinkQueue::Kind::needed,
                         std::move(message.with)))
      engine_->connected(ahead->token, ETIMEDOUT);
  } else if (const auto* reply = std::get_if<Reply>(&effect)) {
    notice(reply->ruling);
    Link& link = links_[reply->to.link];
    auto message = message_about(reply->key, reply->ruling, Kind::answer, reply->to.question, link,
                                 reply->token);
    send(link, std::move(message.bytes), std::move(message.with));
  } else if (const auto* shown = std::get_if<Show>(&effect)) {
    notice(shown->ruling);
    auto message = answer_about(shown->key, shown->ruling, own_pids_, Kind::show, 0);
    if (!any.unsent.push(std::move(message), LinkQueue::Kind::lossy)) ++unshown_;
  } else if (const auto* quic = std::get_if<QuicRefused>(&effect)) {
    notice(quic->ruling);
    auto message = answer_about(quic->key, quic->ruling, own_pids_, Kind::quic_refused, 0);
    if (!any.unsent.push(std::move(message), LinkQueue::Kind::lossy)) ++unshown_;
  } else if (const auto* copy = std::get_if<DnsDatagram>(&effect)) {
    // One context sees both question and answer.
    Link& one = links_[FlowKeyHash{}(copy->key) % links_.size()];
    if (!one.unsent.push(answer_of(*copy), LinkQueue::Kind::lossy)) ++unshown_;
  }
}

void Broker::read_control() {
  for (;;) {
    const ssize_t n = setup_.control.receive(buffer_, MessageSocket::Wait::no);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
      const auto status = wait_for_worker(kWorkerEnd);
      fail(status ? describe_exit(*status) : "the worker hangs");
      return;
    }
    const std::string text(buffer_.data() + 1, static_cast<std::size_t>(n) - 1);
    switch (static_cast<wire::Control>(buffer_[0])) {
      case wire::Control::ready:
        ready_ = true;
        break;
      case wire::Control::quit:
        end({text.empty() ? 0 : 1, text});
        break;
      case wire::Control::loop:
        unload();
        end({1, fmt::format("a connection of osproxy's own came back in ({}): another rule on "
                            "this machine diverts it to our listener; the rules are taken out",
                            text.substr(0, 200))});
        break;
      case wire::Control::renew:
        send_intermediate();
        break;
      default:
        break;
    }
  }
}

void Broker::send_intermediate() {
  if (ready_ && Clock::now() - intermediate_made_ < kIntermediateEvery) return;
  intermediate_made_ = Clock::now();
  setup_.guard.pause();
  const auto pem = setup_.make_intermediate();
  setup_.guard.beat();
  if (!pem) {
    ready_ ? log(pem.error().text) : end({1, pem.error().text});
    return;
  }
  (void)setup_.control.send(wire::encode(wire::Control::intermediate, *pem),
                            MessageSocket::Wait::no);
}

void Broker::read_signals() {
  for (const int number : signals_->take()) {
    if (number == SIGCHLD) {
      reap();
    } else if (number == SIGTSTP) {
      suspend();
    } else if (command_.pid() != 0) {
      command_.forward(number);
    } else if (is_end_signal(number)) {
      end({command_.status(), {}});
    }
  }
}

/// Only those that are known: what another thread has started (pfctl) is waited for there. The
/// first process of a container has other children as well, which nobody else waits for.
void Broker::reap() {
  const bool first = ::getpid() == 1;
  for (const pid_t known : {command_.pid(), setup_.worker, setup_.guard.pid()}) {
    if (known == 0 && !first) continue;
    int status = 0;
    for (pid_t pid = 0; (pid = ::waitpid(first ? -1 : known, &status, WNOHANG | WUNTRACED)) > 0;)
      child_changed(pid, status);
  }
}

void Broker::child_changed(pid_t pid, int status) {
  if (pid == command_.pid()) {
    WIFSTOPPED(status) ? suspend() : command_ended(status);
  } else if (pid == setup_.worker && WIFSTOPPED(status)) {
    worker_hangs_ = true;
    fail("the worker was stopped");
  } else if (pid == setup_.worker) {
    worker_gone_ = true;
    fail(describe_exit(status));
  } else if (pid == setup_.guard.pid() && !WIFSTOPPED(status) && is_intercepting()) {
    fail("the guard died");
  }
}

/// Ctrl-Z: as long as we are stopped nobody answers for new connections, so none is diverted; the
/// worker still carries those that are.
void Broker::suspend() {
  stop_diverting();
  setup_.guard.pause();
  command_.take_terminal_back();
  ::raise(SIGSTOP);
  if (auto diverts = divert_again(); !diverts) end({1, diverts.error().text});
  command_.go_on();
}

void Broker::command_ended(int status) {
  for (const auto& line : command_.ended(status)) log(line);
  if (command_.is_over()) end({command_.status(), {}});
}

void Broker::log(std::string_view line) {
  if (worker_gone_ || worker_hangs_) return setup_.say(line);
  (void)setup_.control.send(wire::encode(wire::Control::log, line), MessageSocket::Wait::no);
}

/// Something that a run cannot do without is gone.
void Broker::fail(std::string_view what) {
  end({1,
       fmt::format("{}; {}", what, loaded_ ? "the rules are taken out" : "nothing was diverted")});
}

/// All that was counted since the start, when it has changed since it was told.
void Broker::report_health() {
  tell_due_ = Clock::now() + kTellCheck;
  std::vector<std::string> lines;
  if (engine_) lines.push_back(engine_->health_report());
  lines.push_back(errors_.summary());
  lines.push_back(no_sockets_.summary());
  lines.push_back(unknown_owners().summary());
  if (not_in_time_ > 0)
    lines.push_back(
        fmt::format("accepted connections whose program was not found in time: {}", not_in_time_));
  if (unshown_ > 0) {
    lines.push_back(
        fmt::format("flows of DNS and of passed connections that "
                    "are missing because the worker was too slow: {}",
                    unshown_));
  }
  if (unanswered_ > 0)
    lines.push_back(
        fmt::format("connections closed because the worker was too slow: {}", unanswered_));
  std::erase(lines, "");
  std::string health_report = fmt::format("{}", fmt::join(lines, "; "));
  if (health_report == told_) return;
  log(health_report);
  told_ = std::move(health_report);
  tell_due_ = Clock::now() + kTellEvery;
}

/// The first reason to end is the one that counts.
void Broker::end(Ending ending) {
  if (!ending_) ending_ = std::move(ending);
}

/// New connections go their own way at once. The table itself goes last: with it the kernel forgets
/// how to translate the connections that are still open, and their ends would reach nobody.
void Broker::finish() {
  watch_.reset();
  stop_diverting();
  if (worker_hangs_) ::kill(setup_.worker, SIGKILL);
  // What CMD did last: its last question to a name server may have been answered a moment ago.
  if (engine_) engine_->catch_up();
  if (engine_) serve_engine();
  if (!seen_ && ending_->error.empty() && loaded_) {
    const auto& passed = engine_ ? engine_->passed_programs() : passed_programs_;
    log(setup_.nothing_seen(setup_.rules, passed.list()));
  }
  report_health();
  (void)setup_.control.send(
      wire::encode(wire::Control::stop, command_.was_released() ? kCommandGraceMs : "0"),
      MessageSocket::Wait::no);
  if (!wait_for_worker(kWorkerEnd + (command_.was_released() ? 2s : 0s))) {
    ::kill(setup_.worker, SIGKILL);
    // One that is in the kernel's hands (a file system that does not answer) does not end of it.
    if (!wait_for_worker(kWorkerEnd))
      setup_.say(fmt::format(
          "the worker (pid {}) cannot be ended: connections that it carries hang", setup_.worker));
  }
  setup_.guard.pause();
  loaded_.reset();
  engine_.reset();
  lookups_.reset();
  setup_.target.reset();
  command_.kill();
}

/// Interception has ended before CMD: osproxy is to CMD's caller what CMD would be.
void Broker::wait_for_command() {
  if (!command_.was_released() || command_.pid() == 0) return;
  if (!ending_->error.empty())
    setup_.say(ending_->error + "; the command goes on without interception");
  ending_.reset();
  while (!ending_) {
    pollfd signal{signals_->descriptor(), POLLIN, 0};
    if (::poll(&signal, 1, static_cast<int>(kHeartbeat / 1ms)) > 0) read_signals();
    if (command_.is_over()) end({command_.status(), {}});
  }
}

/// Its wait status; empty when it still runs after `limit`. Heartbeats and questions go on
/// meanwhile.
std::optional<int> Broker::wait_for_worker(Clock::duration limit) {
  const auto deadline = Clock::now() + limit;
  while (!worker_gone_) {
    int status = 0;
    if (::waitpid(setup_.worker, &status, WNOHANG) != 0) {
      worker_gone_ = true;
      return status;
    }
    if (Clock::now() >= deadline) return std::nullopt;
    for (auto& link : links_) serve(link);
    setup_.control.flush();
    if (lookups_) serve_lookups();
    if (engine_) serve_engine();
    beat();
    ::usleep(2'000);
  }
  return 0;
}

}  // namespace divert
