// A connection that is made to try loaded rules.
#pragma once

#include <cstdint>
#include <functional>

#include "base/error.h"

namespace pfctl {

/// What became of a connection that was made to try the rules.
enum class ProbeResult : std::uint8_t {
  reached,   ///< at our listener
  missed,    ///< it did not
  no_route,  ///< it never left: this machine has no way to anywhere
};

/// Makes such a connection, of this family, from a process whose connections are to be diverted.
/// Blocking.
using Probe = std::function<base::Result<ProbeResult>(bool ipv6)>;

}  // namespace pfctl
