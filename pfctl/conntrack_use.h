// How full connection tracking is.
#pragma once

#include <cstdint>
#include <optional>

namespace pfctl {

struct ConntrackUse {
  std::uint64_t count = 0;
  std::uint64_t limit = 0;

  /// Four fifths: beyond the limit the kernel drops all new connections.
  [[nodiscard]] bool nearly_full() const { return count * 5 >= limit * 4; }
};

/// Of this network namespace (count) and this machine (limit); empty: the kernel has no connection
/// tracking.
[[nodiscard]] std::optional<ConntrackUse> conntrack_use();

}  // namespace pfctl
