// FIONWRITE, see sys/filio.h.
#include <sys/filio.h>
#include <sys/ioctl.h>

#include "divert/worker/send_queue.h"

namespace divert {

std::size_t unacknowledged(int fd) {
  int bytes = 0;
  return ::ioctl(fd, FIONWRITE, &bytes) == 0 ? static_cast<std::size_t>(bytes) : 0;
}

std::size_t unsent(int fd) {
  return unacknowledged(fd);
}

}  // namespace divert
