// SIOCOUTQ and SIOCOUTQNSD, see tcp(7).
#include <linux/sockios.h>
#include <sys/ioctl.h>

#include "divert/worker/send_queue.h"

namespace divert {

std::size_t unacknowledged(int fd) {
  int bytes = 0;
  return ::ioctl(fd, SIOCOUTQ, &bytes) == 0 ? static_cast<std::size_t>(bytes) : 0;
}

std::size_t unsent(int fd) {
  int bytes = 0;
  return ::ioctl(fd, SIOCOUTQNSD, &bytes) == 0 ? static_cast<std::size_t>(bytes) : 0;
}

}  // namespace divert
