// Which processes there are.
#pragma once

#include <vector>

#include <sys/types.h>

namespace procmap {

/// The numbers of all processes that the caller may see, in no order.
[[nodiscard]] std::vector<pid_t> live_processes();

}  // namespace procmap
