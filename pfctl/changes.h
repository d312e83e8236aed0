// Whether others may have changed the packet filter since it was looked at last.
#pragma once

#include <vector>

#include "base/error.h"
#include "base/fd.h"

namespace pfctl {

/// Linux: the kernel tells of nf_tables, devices and routing rules, not of legacy iptables. pf
/// tells nothing.
class Changes {
 public:
  /// Errors: the kernel does not tell.
  [[nodiscard]] static base::Result<Changes> open();

  /// Takes in what was told; never blocks. True: something may have changed. pf: always.
  [[nodiscard]] bool take();

 private:
  explicit Changes(std::vector<base::UniqueFd> sockets) : sockets_(std::move(sockets)) {}
  std::vector<base::UniqueFd> sockets_;
};

}  // namespace pfctl
