// The kernel's socket that answers questions about sockets.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "procmap/sock_diag.h"

namespace procmap {

/// NETLINK_SOCK_DIAG. The kernel answers within the send call, so receiving does not block; the
/// time limit is for a kernel that does not answer at all.
class DiagSocketFd {
 public:
  [[nodiscard]] static base::Result<DiagSocketFd> open();

  /// The socket with exactly these two ends; UDP: the one that would receive from the other end.
  [[nodiscard]] std::optional<DiagSocket> exact(Family family, const SocketQuery& sought);

  /// All TCP sockets. Empty on failure, with errno.
  [[nodiscard]] std::optional<std::vector<DiagSocket>> dump(Family family);

 private:
  explicit DiagSocketFd(base::UniqueFd fd) : fd_(std::move(fd)), buffer_(32 << 10) {}

  template <class Take>
  bool exchange(const std::string& request, Take take);

  base::UniqueFd fd_;
  std::vector<char> buffer_;
  std::uint32_t sequence_ = 0;
};

}  // namespace procmap
