// SO_NWRITE, see getsockopt(2).
#include <sys/socket.h>

#include "divert/worker/send_queue.h"

namespace divert {

std::size_t unacknowledged(int fd) {
  int bytes = 0;
  socklen_t size = sizeof bytes;
  return ::getsockopt(fd, SOL_SOCKET, SO_NWRITE, &bytes, &size) == 0
             ? static_cast<std::size_t>(bytes)
             : 0;
}

std::size_t unsent(int fd) {
  return unacknowledged(fd);
}

}  // namespace divert
