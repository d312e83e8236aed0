// The path of a cgroup v2, by the number that the kernel knows it by.
#pragma once

#include <cstdint>
#include <string>

#include "base/fd.h"

namespace procmap {

class CgroupPaths {
 public:
  /// Finds where cgroup v2 is mounted; without one every path is empty.
  CgroupPaths();

  /// As in /proc/PID/cgroup ("/user.slice/x"); empty when it is gone or cannot be looked up
  /// (CAP_DAC_READ_SEARCH).
  [[nodiscard]] std::string path_of(std::uint64_t id) const;

 private:
  std::string mount_;
  base::UniqueFd root_;
};

}  // namespace procmap
