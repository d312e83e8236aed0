// Headers of a packet that is held for a verdict, as bytes. Pure: shared by all packet sources.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>

#include "base/network.h"

namespace divert {

/// The two ends of a connection that is about to begin, as its program sees them.
struct FlowKey {
  base::Endpoint source;
  base::Endpoint destination;
  bool udp = false;

  bool operator==(const FlowKey&) const = default;
};

struct FlowKeyHash {
  std::size_t operator()(const FlowKey& key) const noexcept;
};

struct PacketHead {
  FlowKey key;
  std::uint32_t sequence =
      0;  ///< TCP; tells a retransmission from a new connection with the same ports
  std::uint8_t flags = 0;    ///< TCP: FIN 1, SYN 2, RST 4, ACK 16
  std::string_view payload;  ///< UDP, as far as it is there
};

/// `bytes` begin with an IPv4 (RFC 791) or IPv6 (RFC 8200) header and may end anywhere behind the
/// ports. IPv6 extension headers are passed over. Empty: cut short before the ports (TCP: before
/// the flags), a fragment other than the first, neither TCP (RFC 9293) nor UDP (RFC 768), or
/// lengths that contradict each other.
[[nodiscard]] std::optional<PacketHead> parse_packet(std::string_view bytes);

}  // namespace divert
