// A diverted connection as the program sees it.
#pragma once

#include <cstdint>

#include "base/network.h"

namespace pfctl {

/// Both ends as the program that opened the connection sees them.
struct OriginalTuple {
  base::Endpoint source;
  base::Endpoint destination;
  std::uint32_t mark = 0;  ///< connection mark (Linux)
};

}  // namespace pfctl
