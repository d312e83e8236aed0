// pidfd_open(2), Linux 5.3.
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "divert/process/process_handle.h"

namespace divert {

WatchedProcess::WatchedProcess(pid_t pid)
    : pid_(pid), handle_(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))) {}

bool WatchedProcess::wait(std::chrono::milliseconds limit) {
  pollfd ended{handle_.get(), POLLIN, 0};
  return !handle_ || ::poll(&ended, 1, static_cast<int>(limit.count())) != 0;
}

void WatchedProcess::kill() {
  if (handle_) ::syscall(SYS_pidfd_send_signal, handle_.get(), SIGKILL, nullptr, 0);
}

}  // namespace divert
