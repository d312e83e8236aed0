// The guard process. By watched.h, a signal can never reach a process that only inherited the
// number.
#include "divert/broker/guard.h"

#include <cerrno>
#include <chrono>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/subprocess.h"
#include "base/text.h"
#include "divert/link/heartbeats.h"
#include "divert/process/process_handle.h"
#include "divert/process/signals.h"
#include "pfctl/loader.h"

namespace divert {
namespace {

using Milliseconds = std::chrono::milliseconds;

/// Between two rounds of waiting for heartbeats.
constexpr int kRoundMs = 250;
constexpr Milliseconds kWorkerGrace{300};
constexpr Milliseconds kWorkerEnd{1000};  ///< of one that was killed
/// The pipe of a dying broker may close before its lock on pf's journal does.
constexpr std::chrono::seconds kBrokerEnd{1};
/// For a guard that has nothing left to do; a stopped one never ends by itself.
constexpr int kDismissalMs = 500;
constexpr int kDismissalStepMs = 2;

/// A child that writes a line to a terminal or pipe that may take nothing gets this long.
constexpr unsigned kSpeechSeconds = 2;

enum class Beat : char { alive = 'b', engine_hangs = 'e', paused = 'p', dismissed = 'd' };

/// Descriptors of the guard: the pipe, twice nothing (programs that help to undo things write
/// there), and the standard error that the broker had.
constexpr int kPipe = 0;
constexpr int kVoice = 3;

/// The worker ends by itself when the broker has gone; a stopped or hanging one is killed. Its end
/// resets what it carries: before that nothing may be forgotten that those resets need.
void end_worker(WatchedProcess& worker) {
  if (worker.wait(kWorkerGrace)) return;
  worker.kill();
  (void)worker.wait(kWorkerEnd);
}

/// By a child: standard error may be a terminal that is stopped or a pipe that is not read.
void say(std::string_view line) {
  const pid_t pid = ::fork();
  if (pid != 0) return;
  ::alarm(kSpeechSeconds);
  ::dup2(kVoice, STDERR_FILENO);
  ::close(kPipe);
  base::close_from(kVoice);
  (void)base::write_all(STDERR_FILENO, fmt::format("osproxy: {}\n", base::printable(line)));
  ::_exit(0);
}

void arrange_descriptors(int pipe) {
  const bool voice = ::dup2(pipe, kPipe) == kPipe && ::dup2(STDERR_FILENO, kVoice) == kVoice;
  // Everything else is closed: the guard holds no listener, link or rule of the broker's.
  base::close_from(voice ? kVoice + 1 : kVoice);
  for (const int number : {1, 2}) {
    ::close(number);
    (void)!::open("/dev/null", O_RDWR);
  }
  if (voice) (void)base::set_close_on_exec(kVoice);
}

void end_silent(WatchedProcess& broker, pid_t number, bool engine_hangs) {
  broker.kill();
  const auto what = engine_hangs
                        ? "a thread of the main process that receives first packets has hung"
                        : "the main process has given no sign of life";
  say(
      fmt::format("{} for two seconds: it (pid {}) is killed, the rules are taken out, open "
                  "connections are reset",
                  what, number));
}

/// Until the broker has gone. True: it was killed, because it was silent.
bool watch(WatchedProcess& broker, pid_t number) {
  constexpr std::size_t kBroker = 0;
  Heartbeats heartbeats{1};
  Beat last = Beat::alive;
  bool killed = false;
  for (;;) {
    const bool expects = !killed && last != Beat::paused;
    pollfd readable{kPipe, POLLIN, 0};
    const int ready = ::poll(&readable, 1, expects ? kRoundMs : -1);
    if (ready < 0 && errno == EINTR) continue;
    if (ready > 0) {
      char beats[256];
      const ssize_t n = ::read(kPipe, beats, sizeof beats);
      if (n <= 0) return killed;
      last = static_cast<Beat>(beats[n - 1]);
      if (last == Beat::dismissed) ::_exit(0);
    }
    const bool silent = heartbeats.round(std::chrono::steady_clock::now()).has_value();
    if (ready > 0 && last != Beat::engine_hangs) {
      heartbeats.heard(kBroker);
    } else if (silent && expects) {
      killed = true;
      end_silent(broker, number, last == Beat::engine_hangs);
    }
  }
}

[[noreturn]] void run_guard(int pipe, const Journal& journal) {
  ::setsid();
  base::restore_signals();
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGTSTP}) ::signal(number, SIG_IGN);
  arrange_descriptors(pipe);
  WatchedProcess broker{journal.broker.pid};
  WatchedProcess worker{journal.worker};
  // On Linux the rules go with the broker: without them the resets of what the worker carries would
  // not arrive. A kernel that refuses this refuses the rules as well, and says why then.
  const auto translating = pfctl::keep_translating();
  const bool was_said = watch(broker, journal.broker.pid);
  // First the rules: nothing must be diverted to a listener that is gone.
  pfctl::take_rules_out(journal.broker.pid);
  if (!was_said) {
    say(
        fmt::format("the main process (pid {}) was killed or has crashed: the rules are taken "
                    "out, open connections are reset",
                    journal.broker.pid));
  }
  end_worker(worker);
  (void)broker.wait(kBrokerEnd);
  undo(journal);
  ::_exit(0);
}

void send(const base::UniqueFd& pipe, Beat beat) {
  const char letter = static_cast<char>(beat);
  (void)!::write(pipe.get(), &letter, 1);
}

}  // namespace

base::Result<Guard> Guard::start(const Journal& journal) {
  auto pipe = base::make_pipe(base::Blocking::no);
  if (!pipe) return pipe.error();
  const pid_t pid = ::fork();
  if (pid < 0) return base::os_error("cannot start the guard", errno);
  if (pid == 0) {
    pipe->in.reset();
    run_guard(pipe->out.get(), journal);
  }
  Guard guard;
  guard.pid_ = pid;
  guard.pipe_ = std::move(pipe->in);
  return guard;
}

void Guard::beat(Engine engine) {
  send(pipe_, engine == Engine::hangs ? Beat::engine_hangs : Beat::alive);
}

void Guard::pause() {
  send(pipe_, Beat::paused);
}

void Guard::dismiss() {
  send(pipe_, Beat::dismissed);
  for (int waited = 0; ::waitpid(pid_, nullptr, WNOHANG) == 0; waited += kDismissalStepMs) {
    // The pipe is still open: at its end a guard that is continued just now would undo things.
    if (waited >= kDismissalMs) ::kill(pid_, SIGKILL);
    ::usleep(kDismissalStepMs * 1000);
  }
  pipe_.reset();
}

}  // namespace divert
