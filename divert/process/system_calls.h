// The system calls of the worker, as a program for Linux's seccomp(2).
#pragma once

#include <cstdint>
#include <vector>

namespace divert {

/// As the kernel's struct sock_filter.
struct FilterInstruction {
  std::uint16_t code;
  std::uint8_t if_true;
  std::uint8_t if_false;
  std::uint32_t value;
};

/// Allows what the worker does, by call and, where that decides, by argument; everything else fails
/// with EPERM, and with ENOSYS where the C library has another way then. `process`: the only one
/// that may be signalled. Empty: none was written for this processor.
[[nodiscard]] std::vector<FilterInstruction> system_call_filter(int process);

}  // namespace divert
