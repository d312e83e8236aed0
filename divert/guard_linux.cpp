// pidfds, so that a signal can never reach a process that only inherited the number.
#include <cerrno>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "divert/guard.h"

namespace divert {
namespace {

constexpr int kSilenceMs = 1000;
constexpr int kWorkerGraceMs = 300;

enum class Beat : char { alive = 'b', paused = 'p', dismissed = 'd' };

base::UniqueFd pidfd_of(pid_t pid) {
  return base::UniqueFd{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))};
}

void kill_by(const base::UniqueFd& pidfd) {
  if (pidfd) ::syscall(SYS_pidfd_send_signal, pidfd.get(), SIGKILL, nullptr, 0);
}

/// The worker ends by itself when the broker has gone; a stopped or hanging one is killed.
void end_worker(const base::UniqueFd& worker) {
  pollfd ended{worker.get(), POLLIN, 0};
  if (worker && ::poll(&ended, 1, kWorkerGraceMs) == 0) kill_by(worker);
}

[[noreturn]] void run_guard(int pipe, const Journal& journal) {
  ::setsid();
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGTSTP}) ::signal(number, SIG_IGN);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  // The pipe becomes 0 and everything else is closed: the guard holds no listener, link or rule of the
  // broker's.
  ::dup2(pipe, 0);
  ::close_range(1, ~0U, 0);
  const base::UniqueFd broker = pidfd_of(journal.broker.pid);
  const base::UniqueFd worker = pidfd_of(journal.worker);
  int patience = kSilenceMs;
  for (;;) {
    pollfd readable{0, POLLIN, 0};
    const int ready = ::poll(&readable, 1, patience);
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0) {
      kill_by(broker);
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
  undo(journal);
  ::_exit(0);
}

void send(const base::UniqueFd& pipe, Beat beat) {
  const char letter = static_cast<char>(beat);
  (void)!::write(pipe.get(), &letter, 1);
}

}  // namespace

base::Result<Guard> Guard::start(const Journal& journal) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
    return base::os_error("cannot make the guard's pipe", errno);
  base::UniqueFd in{ends[0]}, out{ends[1]};
  const pid_t pid = ::fork();
  if (pid < 0) return base::os_error("cannot start the guard", errno);
  if (pid == 0) {
    out.reset();
    run_guard(in.get(), journal);
  }
  Guard guard;
  guard.pid_ = pid;
  guard.pipe_ = std::move(out);
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
  pipe_.reset();
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

}  // namespace divert
