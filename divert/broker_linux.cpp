// The broker's loop. Every question is answered from the kernel's tables and /proc within microseconds;
// nothing here waits for the network or for the worker.
#include <array>
#include <cerrno>
#include <cstring>

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "divert/broker.h"
#include "divert/wire.h"

namespace divert {
namespace {

using namespace std::chrono_literals;

constexpr auto kHeartbeat = 200ms;
constexpr auto kWorkerStart = 20s;
constexpr auto kWorkerEnd = 3s;
/// What intercepted connections of an ended CMD get to finish their flows.
constexpr std::string_view kCommandGraceMs = "2000";

constexpr std::array kEndSignals{SIGINT, SIGTERM, SIGHUP, SIGQUIT};
constexpr std::array kForwardedSignals{SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH, SIGCONT};

sigset_t watched_signals() {
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, SIGCHLD);
  ::sigaddset(&set, SIGTSTP);
  for (const int number : kForwardedSignals) ::sigaddset(&set, number);
  return set;
}

bool is_end_signal(int number) {
  return std::ranges::find(kEndSignals, number) != kEndSignals.end();
}

int exit_status(int status) {
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/// What is said of a worker that ended before it was told to. What led to it stands above, if it could say
/// so.
std::string obituary(int status) {
  if (!WIFSIGNALED(status)) return "the worker ended; the rules are taken out";
  return fmt::format("the worker was killed by signal {} ({}); the rules are taken out", WTERMSIG(status),
                     ::sigdescr_np(WTERMSIG(status)));
}

}  // namespace

Broker::Broker(BrokerSetup setup) : setup_(std::move(setup)), buffer_(wire::kMaxMessage) {
  own_pids_ = {::getpid(), setup_.guard.pid(), setup_.worker};
  for (auto& socket : setup_.links) links_.push_back({std::move(socket), {}});
}

Broker::~Broker() = default;

Ending Broker::run() {
  if (auto opened = open(); !opened) end({1, opened.error().text});
  loop();
  finish();
  terminal_.take_back();
  return *ending_;
}

base::Result<> Broker::open() {
  const sigset_t set = watched_signals();
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  signals_ = base::UniqueFd{::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)};
  if (!signals_) return base::os_error("cannot watch signals", errno);
  auto natlook = pfctl::Natlook::open();
  if (!natlook) return natlook.error();
  natlook_ = std::move(*natlook);
  auto attributor = procmap::Attributor::open();
  if (!attributor) return attributor.error();
  attributor_ = std::move(*attributor);
  send_intermediate();
  const auto deadline = Clock::now() + kWorkerStart;
  while (!ready_ && !ending_ && Clock::now() < deadline) {
    pollfd ends[] = {{setup_.control.get(), POLLIN, 0}, {signals_.get(), POLLIN, 0}};
    ::poll(ends, 2, static_cast<int>(kHeartbeat / 1ms));
    setup_.guard.beat();
    if (ends[0].revents) read_control();
    if (ends[1].revents) read_signals();
  }
  if (ending_) return {};
  if (!ready_) return base::failure("the worker did not start within 20 seconds");
  if (auto loaded = load(); !loaded) return loaded.error();
  log(setup_.first_line);
  return setup_.command ? start_command() : base::Result<>{};
}

base::Result<> Broker::load() {
  auto loaded = pfctl::load_rules(setup_.rules);
  if (!loaded && setup_.rules.cgroup) {
    // A kernel that cannot match cgroups: then the policy sorts CMD's connections out at accept.
    setup_.rules.cgroup.reset();
    loaded = pfctl::load_rules(setup_.rules);
  }
  if (!loaded) return loaded.error();
  loaded_ = std::move(*loaded);
  return {};
}

base::Result<> Broker::start_command() {
  auto held = HeldCommand::start(*setup_.command);
  if (!held) return held.error();
  command_ = held->pid();
  had_command_ = true;
  setup_.policy.capture = Capture{setup_.cgroup.id, process_id_of(command_)};
  terminal_.give_to(command_);
  if (auto released = held->release(); !released) {
    end({released.error().os_code == ENOENT ? 127 : 126, released.error().text});
  }
  return {};
}

void Broker::loop() {
  std::vector<pollfd> ends;
  for (const auto& link : links_) ends.push_back({link.socket.get(), POLLIN, 0});
  ends.push_back({setup_.control.get(), POLLIN, 0});
  ends.push_back({signals_.get(), POLLIN, 0});
  auto beat_due = Clock::now();
  while (!ending_) {
    for (std::size_t i = 0; i < links_.size(); ++i)
      ends[i].events = links_[i].unsent.empty() ? POLLIN : POLLOUT;
    const int ready = ::poll(ends.data(), ends.size(), static_cast<int>(kHeartbeat / 1ms));
    if (Clock::now() >= beat_due) {
      setup_.guard.beat();
      beat_due = Clock::now() + kHeartbeat;
      watch_descendants();
    }
    if (ready <= 0) continue;
    for (std::size_t i = 0; i < links_.size(); ++i) {
      if (ends[i].revents & (POLLIN | POLLOUT)) serve(links_[i]);
      // The worker closes its ends when it dies; its status comes with SIGCHLD.
      if (ends[i].revents & (POLLHUP | POLLERR)) ends[i].fd = -1;
    }
    if (ends[ends.size() - 2].revents) read_control();
    if (ends.back().revents) read_signals();
  }
}

void Broker::serve(Link& link) {
  // A few at a time, so that heartbeats and signals are never starved.
  for (int i = 0; i < 64; ++i) {
    if (link.unsent.empty()) {
      const ssize_t n = ::recv(link.socket.get(), buffer_.data(), buffer_.size(), MSG_DONTWAIT);
      if (n <= 0) return;
      link.unsent = answer({buffer_.data(), static_cast<std::size_t>(n)});
      if (link.unsent.empty()) continue;
    }
    const ssize_t n =
        ::send(link.socket.get(), link.unsent.data(), link.unsent.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    link.unsent.clear();
  }
}

/// Where did it want to go -> who is it -> what now. Empty for a question that is none.
std::string Broker::answer(std::string_view bytes) {
  wire::Question question;
  if (bytes.size() != sizeof question) return {};
  std::memcpy(&question, bytes.data(), sizeof question);
  const auto peer = wire::unpack(question.peer);
  const auto local = wire::unpack(question.local);
  if (!peer || !local) return {};
  wire::Answer reply;
  reply.id = question.id;
  const auto original = natlook_->lookup(*peer, *local);
  if (!original || !*original) return wire::encode(reply);
  reply.source = (*original)->source;
  reply.destination = (*original)->destination;
  const procmap::Owner owner = attributor_->owner_of(*reply.source, *reply.destination);
  reply.process = owner.process;
  reply.own = owner.process && std::ranges::find(own_pids_, owner.process->id.pid) != own_pids_.end();
  reply.verdict = setup_.policy.judge({owner, *reply.destination}, own_pids_);
  return wire::encode(reply);
}

void Broker::read_control() {
  for (;;) {
    const ssize_t n = ::recv(setup_.control.get(), buffer_.data(), buffer_.size(), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) {
      const auto status = wait_for_worker(kWorkerEnd);
      end({1, status ? obituary(*status) : "the worker hangs; the rules are taken out"});
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
        loaded_.reset();
        end({1, fmt::format("a connection of osproxy's own came back in ({}): another rule on this machine "
                            "diverts it to "
                            "our listener; the rules are taken out",
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
  const auto pem = setup_.make_intermediate();
  if (!pem) {
    ready_ ? log(pem.error().text) : end({1, pem.error().text});
    return;
  }
  const std::string message = wire::encode(wire::Control::intermediate, *pem);
  (void)!::send(setup_.control.get(), message.data(), message.size(), MSG_NOSIGNAL);
}

void Broker::read_signals() {
  signalfd_siginfo info;
  while (::read(signals_.get(), &info, sizeof info) == sizeof info) {
    const int number = static_cast<int>(info.ssi_signo);
    if (number == SIGCHLD) {
      reap();
    } else if (number == SIGTSTP) {
      suspend();
    } else if (command_ != 0) {
      forward(number);
    } else if (is_end_signal(number)) {
      end({command_status_, {}});
    }
  }
}

/// What a terminal would send to the whole foreground group goes to CMD's group.
void Broker::forward(int number) const {
  const bool to_group = number != SIGTERM && number != SIGUSR1 && number != SIGUSR2;
  ::kill(to_group ? -command_ : command_, number);
}

void Broker::reap() {
  int status = 0;
  for (pid_t pid = 0; (pid = ::waitpid(-1, &status, WNOHANG | WUNTRACED)) > 0;) {
    if (pid == command_) {
      WIFSTOPPED(status) ? suspend() : command_ended(status);
    } else if (pid == setup_.worker && !WIFSTOPPED(status)) {
      worker_gone_ = true;
      end({1, obituary(status)});
    } else if (pid == setup_.guard.pid() && !WIFSTOPPED(status)) {
      end({1, "the guard died; the rules are taken out"});
    }
  }
}

/// When the kernel refuses the small change the whole table goes: better cut connections than lost ones.
void Broker::stop_diverting() {
  if (loaded_ && !loaded_->stop_diverting()) loaded_.reset();
}

/// Ctrl-Z: as long as we are stopped nobody answers for diverted connections, so the rules go out and come
/// back.
void Broker::suspend() {
  loaded_.reset();
  setup_.guard.pause();
  terminal_.take_back();
  ::raise(SIGSTOP);
  setup_.guard.beat();
  loaded_.reset();
  if (auto loaded = load(); !loaded) end({1, loaded.error().text});
  if (command_ == 0) return;
  terminal_.give_to(command_);
  ::kill(-command_, SIGCONT);
}

void Broker::command_ended(int status) {
  command_ = 0;
  command_status_ = exit_status(status);
  terminal_.take_back();
  const auto left = processes_in(setup_.cgroup).size();
  if (left > 0 && setup_.wait_for_descendants) {
    log(fmt::format("{} ended; waiting for {} of its descendants (--wait), Ctrl-C ends it now",
                    setup_.command->argv.front(), left));
    return;
  }
  if (left > 0) {
    log(fmt::format("{} ended; {} of its descendants go on without interception (--wait stays with them)",
                    setup_.command->argv.front(), left));
  }
  end({command_status_, {}});
}

void Broker::watch_descendants() {
  if (had_command_ && command_ == 0 && processes_in(setup_.cgroup).empty()) end({command_status_, {}});
}

void Broker::log(std::string_view line) const {
  const std::string message = wire::encode(wire::Control::log, line);
  (void)!::send(setup_.control.get(), message.data(), message.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

/// The first reason to end is the one that counts.
void Broker::end(Ending ending) {
  if (!ending_) ending_ = std::move(ending);
}

/// New connections go their own way at once. The table itself goes last: with it the kernel forgets how to
/// translate the connections that are still open, and their ends would reach nobody.
void Broker::finish() {
  stop_diverting();
  const std::string stop = wire::encode(wire::Control::stop, had_command_ ? kCommandGraceMs : "0");
  (void)!::send(setup_.control.get(), stop.data(), stop.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (!wait_for_worker(kWorkerEnd + (had_command_ ? 2s : 0s))) {
    ::kill(setup_.worker, SIGKILL);
    ::waitpid(setup_.worker, nullptr, 0);
  }
  loaded_.reset();
  setup_.guard.dismiss();
}

/// Its wait status; empty when it still runs after `limit`. Heartbeats and questions go on meanwhile.
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
    setup_.guard.beat();
    ::usleep(2'000);
  }
  return 0;
}

}  // namespace divert
