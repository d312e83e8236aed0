// A buffered writer that survives what shells do to stdout: short writes, signals, O_NONBLOCK.
#include "mitm/format/output.h"

#include <cerrno>
#include <string_view>

#include <poll.h>
#include <unistd.h>

namespace mitm::format {
namespace {

constexpr std::size_t kLarge = 256U << 10U;

base::Result<> wait_writable(int fd) {
  pollfd waiting{fd, POLLOUT, 0};
  if (::poll(&waiting, 1, -1) < 0 && errno != EINTR) return base::os_error("cannot write", errno);
  return {};
}

}  // namespace

base::Result<> Output::write_if_large() {
  return buffer_.size() < kLarge ? base::Result<>{} : flush();
}

base::Result<> Output::flush() {
  std::string_view rest = buffer_;
  while (!rest.empty()) {
    const ssize_t n = ::write(fd_.get(), rest.data(), rest.size());
    if (n >= 0) {
      rest.remove_prefix(static_cast<std::size_t>(n));
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      if (auto ready = wait_writable(fd_.get()); !ready) return ready;
    } else if (errno != EINTR) {
      return base::os_error("cannot write", errno);
    }
  }
  buffer_.clear();
  if (buffer_.capacity() > 4 * kLarge) buffer_.shrink_to_fit();
  return {};
}

}  // namespace mitm::format
