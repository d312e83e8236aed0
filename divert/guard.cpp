// The guard process. By watched.h, a signal can never reach a process that only inherited the number.
#include "divert/guard.h"

#include <cerrno>
#include <chrono>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "divert/signals.h"
#include "divert/watched.h"

namespace divert {
namespace {

constexpr int kSilenceMs = 1000;
constexpr int kWorkerGraceMs = 300;
/// The pipe of a dying broker may close before its lock on pf's journal does.
constexpr std::chrono::seconds kBrokerEnd{1};
/// For a guard that has nothing left to do; a stopped one never ends by itself.
constexpr int kDismissalMs = 500;
constexpr int kDismissalStepMs = 2;

enum class Beat : char { alive = 'b', paused = 'p', dismissed = 'd' };

/// The worker ends by itself when the broker has gone; a stopped or hanging one is killed.
void end_worker(WatchedProcess& worker) {
  if (!worker.wait(std::chrono::milliseconds{kWorkerGraceMs})) worker.kill();
}

[[noreturn]] void run_guard(int pipe, const Journal& journal) {
  ::setsid();
  restore_signals();
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGTSTP}) ::signal(number, SIG_IGN);
  // The pipe becomes 0 and everything else is closed: the guard holds no listener, link or rule of the
  // broker's.
  ::dup2(pipe, 0);
  base::close_from(1);
  // 1 and 2, so that nothing else gets these numbers, which a program that helps to undo things writes to.
  for (int i = 0; i < 2; ++i) (void)!::open("/dev/null", O_RDWR);
  WatchedProcess broker{journal.broker.pid};
  WatchedProcess worker{journal.worker};
  int patience = kSilenceMs;
  for (;;) {
    pollfd readable{0, POLLIN, 0};
    const int ready = ::poll(&readable, 1, patience);
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0) {
      broker.kill();
      patience = -1;
      continue;
    }
    char beats[256];
    const ssize_t n = ::read(0, beats, sizeof beats);
    if (n <= 0) break;
    if (beats[n - 1] == static_cast<char>(Beat::dismissed)) ::_exit(0);
    patience = beats[n - 1] == static_cast<char>(Beat::paused) ? -1 : kSilenceMs;
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

void Guard::beat() {
  send(pipe_, Beat::alive);
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
