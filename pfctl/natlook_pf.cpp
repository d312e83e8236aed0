// Original destinations from pf: one ioctl per connection on a descriptor kept open. Reading suffices. macOS
// wants root at every call, FreeBSD only at open(2): so the broker asks.
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
  if (errno == ENOENT) return base::Error{"there is no /dev/pf; load the packet filter (kldload pf)", ENOENT};
  if (errno == EACCES || errno == EPERM) return base::Error{"cannot open /dev/pf; run as root", errno};
  return base::os_error("cannot open /dev/pf", errno);
}

base::Result<std::optional<OriginalTuple>> Natlook::lookup(const base::Endpoint& peer,
                                                           const base::Endpoint& local) {
  const NatlookLayout& layout = natlook_layout(native_dialect());
  const auto question = encode_natlook(layout, peer, local);
  if (!question) return question.error();
  // Twice: the connection can be accepted a moment before its state can be found.
  for (int attempt = 0; attempt < 2; ++attempt) {
    NatlookRequest request = *question;
    if (::ioctl(socket_.get(), static_cast<unsigned long>(layout.request), request.room.data()) == 0) {
      if (auto original = decode_natlook(layout, request.view(), peer)) return original;
      return base::failure("pf's answer about {} is not a TCP connection", base::to_string(peer));
    }
    if (errno != ENOENT) return explain_natlook(errno, peer);
  }
  return std::optional<OriginalTuple>{};
}

}  // namespace pfctl
