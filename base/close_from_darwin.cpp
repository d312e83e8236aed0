// macOS has neither close_range(2) nor closefrom(2), but it lists what a process has open. The limit of
// descriptors says nothing: it can be "unlimited", and can have been lowered below a descriptor in use.
#include <algorithm>
#include <vector>

#include <libproc.h>
#include <unistd.h>

#include "base/fd.h"

namespace base {
namespace {

/// Descriptors that nobody else opens between the two questions: there is no other thread.
constexpr int kRoom = 64;

}  // namespace

void close_from(int first) {
  const int needed = ::proc_pidinfo(::getpid(), PROC_PIDLISTFDS, 0, nullptr, 0);
  std::vector<proc_fdinfo> open(static_cast<std::size_t>(std::max(needed, 0)) / sizeof(proc_fdinfo) + kRoom);
  const int size = static_cast<int>(open.size() * sizeof(proc_fdinfo));
  const int filled = ::proc_pidinfo(::getpid(), PROC_PIDLISTFDS, 0, open.data(), size);
  open.resize(static_cast<std::size_t>(std::max(filled, 0)) / sizeof(proc_fdinfo));
  for (const auto& descriptor : open) {
    if (descriptor.proc_fd >= first) ::close(descriptor.proc_fd);
  }
}

}  // namespace base
