// One nfnetlink message under construction: a netlink message with struct nfgenmsg behind its
// header (linux/netfilter/nfnetlink.h).
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "base/netlink.h"

namespace pfctl {

inline constexpr std::size_t kNfgenmsg = 4;  ///< its size

class NetlinkMessage : public base::netlink::Writer {
 public:
  /// `type`: subsystem and message. `family` and `resource`: of the nfgenmsg.
  NetlinkMessage(std::uint16_t type, std::uint16_t flags, std::uint32_t sequence,
                 std::uint8_t family, std::uint16_t resource)
      : Writer(type, flags, sequence) {
    const char extra[kNfgenmsg] = {static_cast<char>(family), 0 /* NFNETLINK_V0 */,
                                   static_cast<char>(resource >> 8),
                                   static_cast<char>(resource & 0xff)};
    append({extra, sizeof extra});
  }
};

/// The bytes of a number, in the host's order.
template <class Number>
std::array<unsigned char, sizeof(Number)> raw(Number value) {
  return std::bit_cast<std::array<unsigned char, sizeof(Number)>>(value);
}

}  // namespace pfctl
