// Original destinations from pf: one ioctl per connection on a descriptor kept open. Reading
// suffices. macOS wants root at every call, FreeBSD only at open(2): so the broker asks.
#include <cerrno>

#include <fcntl.h>
#include <sys/ioctl.h>

#include "pfctl/native_dialect.h"
#include "pfctl/natlook.h"
#include "pfctl/natlook_layout.h"

namespace pfctl {

base::Result<Natlook> Natlook::open() {
  base::UniqueFd device(::open("/dev/pf", O_RDONLY | O_CLOEXEC));
  if (device) return Natlook(std::move(device));
  if (errno == ENOENT)
    return base::Error{"there is no /dev/pf; load the packet filter (kldload pf)", ENOENT};
  if (errno == EACCES || errno == EPERM)
    return base::Error{"cannot open /dev/pf; run as root", errno};
  return base::os_error("cannot open /dev/pf", errno);
}

base::Result<std::optional<OriginalTuple>> Natlook::lookup(const base::Endpoint& peer,
                                                           const base::Endpoint& local) {
  const auto call = [this](std::uint32_t request, unsigned char* room) {
    return ::ioctl(socket_.get(), static_cast<unsigned long>(request), room) == 0 ? 0 : errno;
  };
  return ask_natlook(natlook_layout(native_dialect()), peer, local, call);
}

}  // namespace pfctl
