// Sockets that are registered files of an io_uring ("direct descriptors"): no process has a number
// for them.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "procmap/proc_linux.h"

namespace procmap {

/// Not thread-safe. A ring that no process has open under a number
/// (IORING_SETUP_REGISTERED_FD_ONLY) is not found.
class Rings {
 public:
  using Clock = std::chrono::steady_clock;
  struct Ring {
    pid_t pid = 0;
    int descriptor = -1;  ///< the ring's own number in the process
  };

  explicit Rings(const Proc& proc) : proc_(proc) {}

  /// The ring that holds the socket `inode`, among those that held one lately.
  [[nodiscard]] std::optional<Ring> find_lately(std::uint32_t inode, Clock::time_point deadline);
  /// The same among all; looks at every descriptor of every process. `in_time` becomes false when
  /// it gave up at `deadline`.
  [[nodiscard]] std::optional<Ring> find(std::uint32_t inode, Clock::time_point deadline,
                                         bool& in_time);

  /// The sockets that are registered with `ring`, by inode. No attempt begins after `deadline`; the
  /// kernel may take a tenth of a second for one, of a ring with a million registered files.
  [[nodiscard]] std::vector<std::uint32_t> sockets_of(const Ring& ring,
                                                      Clock::time_point deadline) const;

 private:
  [[nodiscard]] bool holds(const Ring& ring, std::uint32_t inode, Clock::time_point deadline) const;
  void remember(const Ring& ring);

  const Proc& proc_;
  std::deque<Ring> lately_;  ///< newest first
};

}  // namespace procmap
