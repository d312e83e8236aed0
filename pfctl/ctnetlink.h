// Conntrack over netlink, as bytes: the question for a connection by its reply tuple, and the
// answer. No kernel needed.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/network.h"
#include "pfctl/original_tuple.h"

namespace pfctl {

/// Asks for the TCP connection whose replies go from `source` to `destination`; both of one family,
/// not v4-mapped.
std::string encode_conntrack_query(std::uint32_t sequence, const base::Endpoint& source,
                                   const base::Endpoint& destination);

struct ConntrackAnswer {
  enum class Kind : std::uint8_t {
    found,
    unknown,    ///< no such connection
    refused,    ///< with the kernel's errno
    foreign,    ///< an answer to another question (one that came too late)
    malformed,  ///< cut short, or not a TCP connection's tuple
  };

  Kind kind = Kind::malformed;
  OriginalTuple original;  ///< when found
  int error = 0;           ///< when refused
};

/// `bytes`: one datagram.
ConntrackAnswer decode_conntrack_answer(std::string_view bytes, std::uint32_t sequence);

}  // namespace pfctl
