// What a process was given by execve(2).
#pragma once

#include <string>
#include <vector>

#include <sys/types.h>

namespace procmap {

struct ExecArguments {
  std::string exe;  ///< full path; empty when it cannot be read
  std::vector<std::string> argv;
  /// NAME=VALUE as they were at the start: what the process has changed since is not seen.
  std::vector<std::string> environment;
};

/// Of `pid`, with the caller's rights. What cannot be read is empty: so is the environment on
/// macOS, which hides that of its own programs (sudo is one) from all.
[[nodiscard]] ExecArguments exec_arguments(pid_t pid);

}  // namespace procmap
