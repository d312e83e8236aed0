// kqueue(2) tells of the end of a process that was registered while it lived, once, and even before
// it is waited for. There is no call that kills by such a handle: the number is used
// only while no end was told. Between the two another process could get the number only if the
// kernel gave out all others first.
#include <cerrno>

#include <signal.h>
#include <sys/event.h>
#include <sys/time.h>
#include <sys/types.h>

#include "divert/process/process_handle.h"

namespace divert {

WatchedProcess::WatchedProcess(pid_t pid) : pid_(pid), handle_(::kqueue()) {
  struct kevent end {};
  EV_SET(&end, pid, EVFILT_PROC, EV_ADD, NOTE_EXIT, 0, nullptr);
  // ESRCH: there is no such process.
  if (handle_ && ::kevent(handle_.get(), &end, 1, nullptr, 0, nullptr) != 0) handle_.reset();
}

bool WatchedProcess::wait(std::chrono::milliseconds limit) {
  if (!handle_) return true;
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(limit);
  const timespec patience{static_cast<time_t>(seconds.count()),
                          static_cast<long>(std::chrono::nanoseconds{limit - seconds}.count())};
  struct kevent end {};
  int told = 0;
  do {
    told = ::kevent(handle_.get(), nullptr, 0, &end, 1, &patience);
  } while (told < 0 && errno == EINTR);
  if (told <= 0) return false;
  handle_.reset();
  return true;
}

void WatchedProcess::kill() {
  if (!wait(std::chrono::milliseconds{0})) ::kill(pid_, SIGKILL);
}

}  // namespace divert
