// The broker's loop: the start and the end of a run, and what keeps it alive in between.
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

#include "divert/broker/program_socket.h"
#include "divert/link/wire.h"

namespace divert {
namespace {

using namespace std::chrono_literals;

constexpr auto kHeartbeat = 200ms;
constexpr auto kWorkerStartTimeout = 20s;
constexpr auto kWorkerEndTimeout = 3s;
/// What goes wrong in a run that goes on is reported soon, but not again and again.
constexpr auto kReportCheck = 1s;
constexpr auto kReportEvery = 60s;
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

/// What is said of a worker that ended before it was told to. What led to it is logged above, if it
/// could say so.
std::string describe_exit(int status) {
  if (!WIFSIGNALED(status)) return "the worker ended";
  return fmt::format("the worker was killed by signal {} ({})", WTERMSIG(status),
                     ::strsignal(WTERMSIG(status)));
}

}  // namespace

Broker::Broker(BrokerSetup setup)
    : setup_(std::move(setup)),
      loader_(loader_setup(), setup_.policy, loader_hooks()),
      links_(std::move(setup_.links), setup_.policy,
             {::getpid(), setup_.guard.pid(), setup_.worker}, loader_,
             [this](std::string_view line) { log(line); }),
      command_(std::move(setup_.command), setup_.wait_for_descendants),
      buffer_(wire::kMaxMessage) {}

Broker::~Broker() = default;

RuleLoaderSetup Broker::loader_setup() {
  if (has_program_sockets()) setup_.rules.own_mark = setup_.mark_bit;
  return {.rules = setup_.rules,
          .target = std::move(*setup_.target),
          .engine = setup_.engine,
          .packet_ports = setup_.packet_ports,
          .mark_bit = setup_.mark_bit,
          .queues = queue_count(),
          .block_quic = setup_.block_quic,
          .own_pids = {::getpid(), setup_.guard.pid(), setup_.worker}};
}

RuleLoaderHooks Broker::loader_hooks() {
  return {.pause = [this] { setup_.guard.pause(); },
          .resume = [this] { setup_.guard.beat(); },
          .log = [this](std::string_view line) { log(line); },
          .serve = [this] { links_.serve_all(); }};
}

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
  if (auto opened = links_.open(); !opened) return opened;
  send_intermediate();
  wait_for_ready_worker();
  if (ending_) return {};
  if (!ready_) return base::failure("the worker did not start within 20 seconds");
  if (auto held = hold_command(); !held) return held;
  if (auto started = links_.start_lookups(); !started) return started;
  if (auto started = start_rules(); !started) return started;
  release_command();
  return {};
}

void Broker::wait_for_ready_worker() {
  const auto deadline = Clock::now() + kWorkerStartTimeout;
  while (!ready_ && !ending_ && Clock::now() < deadline) {
    pollfd ends[] = {{setup_.control.descriptor(), POLLIN, 0}, {signals_->descriptor(), POLLIN, 0}};
    ::poll(ends, 2, static_cast<int>(kHeartbeat / 1ms));
    setup_.guard.beat();
    if (ends[0].revents) read_control();
    if (ends[1].revents) read_signals();
  }
}

base::Result<> Broker::start_rules() {
  auto engine = loader_.start();
  if (!engine && setup_.engine == EngineChoice::packet)
    return base::failure("--engine packet: {}", engine.error().text);
  if (!engine) return engine.error();
  for (auto& note : loader_.watch_others()) engine->notes.push_back(std::move(note));
  log(setup_.first_line(loader_.rules(), engine->name, engine->notes), base::LogLevel::info);
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

/// The guard hears that all is well only if all of it is.
void Broker::beat() {
  PacketEngine* const engine = loader_.engine();
  if (!links_.check_lookups() || (engine && !engine->check_lookups())) {
    fail(
        "searches for the owners of connections hang again and again: perhaps a name service "
        "(nsswitch.conf) does not answer, or `ps` hangs");
  }
  if (engine && !ending_) {
    if (const auto threads = engine->check_threads(); !threads) fail(threads.error().text);
  }
  setup_.guard.beat(engine && !engine->alive() ? Guard::Engine::hangs : Guard::Engine::works);
}

/// A program that is diverted to a context that hangs waits for ever.
void Broker::check_worker() {
  if (!links_.has_hanging_context()) return;
  worker_hangs_ = true;
  fail("the worker hangs: one of its threads has given no sign of life for two seconds");
}

void Broker::check_everything() {
  beat();
  check_worker();
  if (!ending_) {
    if (auto checked = loader_.check_others(); !checked) end({1, checked.error().text});
  }
  setup_.control.flush();
  if (command_.is_over()) end({command_.status(), {}});
  if (Clock::now() >= report_due_) report_health();
}

void Broker::loop() {
  enum Fixed : std::size_t { rules, lookups, engine, control, signals, count };
  std::vector<pollfd> ends(Fixed::count);
  ends[rules] = {-1, POLLIN, 0};  // changes with the rules
  ends[lookups] = {links_.lookups_descriptor(), POLLIN, 0};
  ends[engine] = {loader_.engine() ? loader_.engine()->descriptor() : -1, POLLIN, 0};
  ends[control] = {setup_.control.descriptor(), POLLIN, 0};
  ends[signals] = {signals_->descriptor(), POLLIN, 0};
  for (std::size_t i = 0; i < links_.size(); ++i) ends.push_back({links_.descriptor(i), POLLIN, 0});
  auto check_due = Clock::now();
  while (!ending_) {
    for (std::size_t i = 0; i < links_.size(); ++i) ends[count + i].events = links_.events(i);
    ends[rules].fd = loader_.watch_descriptor();
    const int ready = ::poll(ends.data(), ends.size(), static_cast<int>(kHeartbeat / 1ms));
    if (Clock::now() >= check_due) {
      check_everything();
      check_due = Clock::now() + kHeartbeat;
    }
    if (ready <= 0) continue;
    for (std::size_t i = 0; i < links_.size(); ++i) {
      pollfd& link = ends[count + i];
      if (link.revents & (POLLIN | POLLOUT)) links_.serve(i);
      // The worker closes its ends when it dies; its status comes with SIGCHLD.
      if (link.revents & (POLLHUP | POLLERR)) link.fd = -1;
    }
    if (ends[rules].revents) loader_.look_at_changes();
    if (ends[lookups].revents) links_.serve_lookups();
    if (ends[engine].revents) serve_engine();
    if (ends[control].revents) read_control();
    if (ends[signals].revents) read_signals();
  }
}

void Broker::serve_engine() {
  links_.serve_engine([this] { beat(); });
}

void Broker::read_control() {
  for (;;) {
    const ssize_t n = setup_.control.receive(buffer_, MessageSocket::Wait::no);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
      const auto status = wait_for_worker(kWorkerEndTimeout);
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
        loop_was_seen(text);
        break;
      case wire::Control::renew:
        send_intermediate();
        break;
      default:
        break;
    }
  }
}

void Broker::loop_was_seen(std::string_view which) {
  loader_.unload();
  end({1, fmt::format("a connection of osproxy's own came back in ({}): another rule on this "
                      "machine diverts it to our listener; the rules are taken out",
                      which.substr(0, 200))});
}

void Broker::send_intermediate() {
  if (ready_ && Clock::now() - intermediate_made_ < kIntermediateEvery) return;
  intermediate_made_ = Clock::now();
  setup_.guard.pause();
  const auto pem = setup_.make_intermediate();
  setup_.guard.beat();
  if (!pem) {
    ready_ ? log(pem.error().text, base::LogLevel::error) : end({1, pem.error().text});
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
/// first process of a container has other children as well, which only it can wait for.
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
  } else if (pid == setup_.guard.pid() && !WIFSTOPPED(status) && loader_.is_open()) {
    fail("the guard died");
  }
}

/// Ctrl-Z: while we are stopped no new connection can be answered for, so none is diverted; the
/// worker still carries those that are.
void Broker::suspend() {
  loader_.stop_diverting();
  setup_.guard.pause();
  command_.take_terminal_back();
  ::raise(SIGSTOP);
  if (auto diverts = loader_.divert_again(); !diverts) end({1, diverts.error().text});
  command_.go_on();
}

void Broker::command_ended(int status) {
  for (const auto& line : command_.ended(status)) log(line, base::LogLevel::info);
  if (command_.is_over()) end({command_.status(), {}});
}

void Broker::log(std::string_view line, base::LogLevel level) {
  const bool taken = !worker_gone_ && !worker_hangs_ &&
                     setup_.control.send(wire::encode(wire::LogMessage{level, line}),
                                         MessageSocket::Wait::no) == 0;
  if (!taken) setup_.say(line);
}

/// Something that a run cannot do without is gone.
void Broker::fail(std::string_view what) {
  end({1, fmt::format("{}; {}", what,
                      loader_.is_loaded() ? "the rules are taken out" : "nothing was diverted")});
}

/// All that was counted since the start, when it has changed since it was reported.
void Broker::report_health() {
  report_due_ = Clock::now() + kReportCheck;
  auto lines = links_.health_report();
  if (auto* engine = loader_.engine()) lines.insert(lines.begin(), engine->health_report());
  std::erase(lines, "");
  std::string health = fmt::format("{}", fmt::join(lines, "; "));
  if (health == health_) return;
  log(health);
  health_ = std::move(health);
  report_due_ = Clock::now() + kReportEvery;
}

/// The first reason to end is the one that counts.
void Broker::end(Ending ending) {
  if (!ending_) ending_ = std::move(ending);
}

/// New connections go their own way at once. The table itself goes last: with it the kernel forgets
/// how to translate the connections that are still open, and their ends would not arrive.
void Broker::finish() {
  loader_.stop_watching();
  loader_.stop_diverting();
  if (worker_hangs_) ::kill(setup_.worker, SIGKILL);
  // What CMD did last: its last question to a name server may have been answered a moment ago.
  if (auto* engine = loader_.engine()) engine->catch_up();
  serve_engine();
  if (!links_.has_seen_any() && ending_->error.empty() && loader_.is_loaded())
    log(setup_.nothing_seen(loader_.rules(), links_.passed_programs()), base::LogLevel::info);
  report_health();
  end_worker();
  loader_.close();
  links_.stop_lookups();
  command_.kill();
}

void Broker::end_worker() {
  const bool released = command_.was_released();
  (void)setup_.control.send(wire::encode(wire::Control::stop, released ? kCommandGraceMs : "0"),
                            MessageSocket::Wait::no);
  if (wait_for_worker(kWorkerEndTimeout + (released ? 2s : 0s))) return;
  ::kill(setup_.worker, SIGKILL);
  // One that is in the kernel's hands (a file system that does not answer) does not end of it.
  if (!wait_for_worker(kWorkerEndTimeout))
    setup_.say(fmt::format("the worker (pid {}) cannot be ended: connections that it carries hang",
                           setup_.worker));
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
    links_.serve_all();
    setup_.control.flush();
    links_.serve_lookups();
    serve_engine();
    beat();
    ::usleep(2'000);
  }
  return 0;
}

}  // namespace divert
