// macOS has neither close_range(2) nor closefrom(2), but it lists what a process has open. The
// limit of descriptors says nothing: it can be "unlimited", and can have been lowered below a
// descriptor in use.
#include <algorithm>
#include <vector>

#include <libproc.h>
#include <unistd.h>

#include "base/fd.h"

namespace base {
namespace {

constexpr std::size_t kRoom = 64;

/// What can be inherited. The others are the system's own, and closing a guarded one of those kills
/// the process.
bool is_ours(const proc_fdinfo& descriptor) {
  const auto type = descriptor.proc_fdtype;
  return type == PROX_FDTYPE_VNODE || type == PROX_FDTYPE_SOCKET || type == PROX_FDTYPE_PIPE ||
         type == PROX_FDTYPE_PSHM || type == PROX_FDTYPE_PSEM;
}

}  // namespace

void close_from(int first) {
  const int needed = ::proc_pidinfo(::getpid(), PROC_PIDLISTFDS, 0, nullptr, 0);
  std::vector<proc_fdinfo> open(
      static_cast<std::size_t>(std::max(needed, 0)) / sizeof(proc_fdinfo) + kRoom);
  const int size = static_cast<int>(open.size() * sizeof(proc_fdinfo));
  const int filled = ::proc_pidinfo(::getpid(), PROC_PIDLISTFDS, 0, open.data(), size);
  open.resize(static_cast<std::size_t>(std::max(filled, 0)) / sizeof(proc_fdinfo));
  for (const auto& descriptor : open) {
    if (descriptor.proc_fd >= first && is_ours(descriptor)) ::close(descriptor.proc_fd);
  }
}

}  // namespace base
