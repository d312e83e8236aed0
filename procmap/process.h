// What osproxy knows of a process.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include <sys/types.h>

#include "base/error.h"

namespace procmap {

/// A pid alone is reused; together with the start time it names one process for ever.
struct ProcessId {
  pid_t pid = 0;
  std::uint64_t start_ticks = 0;  ///< unit and origin are the system's: for comparing only

  bool operator==(const ProcessId&) const = default;
};

/// One link of the parent chain.
struct Ancestor {
  ProcessId id;
  std::string exe;                            ///< empty when it could not be read
  std::vector<std::string> other_names = {};  ///< as in ProcessFacts
};

/// Read once per process and kept; strings are bytes as the kernel gives them, not necessarily
/// UTF-8.
struct ProcessFacts {
  ProcessId id;
  pid_t ppid = 0;
  uid_t uid = 0;              ///< effective
  gid_t gid = 0;              ///< effective
  std::vector<gid_t> groups;  ///< supplementary, where they are looked at (Linux)
  std::string name;  ///< base name of exe; the kernel's comm when exe cannot be read (kernel
                     ///< threads, zombies)
  std::string exe;   ///< full path, " (deleted)" removed; empty when it cannot be read
  std::vector<std::string> argv;
  std::vector<std::string> other_names;  ///< names_in_arguments() of them
  std::string user;                      ///< login name, or the uid in decimal
  std::string group;                     ///< group name, or the gid in decimal
  std::string cgroup;  ///< cgroup v2 path, for example /user.slice/...; empty without cgroup v2
  /// Parent first, up to pid 1. A parent that has ended since is still listed when it was seen
  /// while it lived.
  std::vector<Ancestor> ancestors;
  std::chrono::system_clock::time_point start_time;
  std::uint64_t image = 0;  ///< differs after each execve(2) of the process
};

}  // namespace procmap
