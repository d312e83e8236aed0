// One number for all that osproxy numbers on a machine.
#pragma once

#include <cstdint>

namespace base {

/// "os" in ASCII, 28531. Ports, queues, groups of copies and conntrack zones have it, or one of the
/// next where it is taken.
inline constexpr std::uint16_t kOwnNumber = 0x6f73;

}  // namespace base
