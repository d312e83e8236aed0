// sysctl KERN_PROCARGS2 of macOS, as bytes.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace procmap {

struct ProcessArguments {
  std::string exec_path;  ///< as it was given to execve(2): may be relative
  std::vector<std::string> argv;
};

/// Empty when not even the path is whole. Arguments are read as far as they are there: the kernel
/// cuts what does not fit the caller's room. An empty argv[0] cannot be told from the padding
/// before it and is lost.
std::optional<ProcessArguments> parse_procargs(std::string_view bytes);

}  // namespace procmap
