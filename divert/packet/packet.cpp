// Offsets are those of the RFCs. All numbers on the wire are in network byte order.
#include "divert/packet/packet.h"

#include <cstring>

#include <boost/container_hash/hash.hpp>

namespace divert {
namespace {

namespace ip = boost::asio::ip;

constexpr std::uint8_t kTcp = 6, kUdp = 17;
constexpr std::uint8_t kHopByHop = 0, kRouting = 43, kFragment = 44, kAuthentication = 51,
                       kDestination = 60, kMobility = 135, kHostIdentity = 139, kShim6 = 140;
constexpr std::size_t kIpv4Header = 20, kIpv6Header = 40;
/// Of TCP, up to the flags; of UDP, the ports.
constexpr std::size_t kTcpNeeded = 14, kUdpNeeded = 4, kUdpHeader = 8;
/// More extension headers than any sane packet has.
constexpr int kMaxExtensions = 16;

std::uint8_t byte_at(std::string_view bytes, std::size_t offset) {
  return static_cast<std::uint8_t>(bytes[offset]);
}

std::uint16_t word_at(std::string_view bytes, std::size_t offset) {
  return static_cast<std::uint16_t>(byte_at(bytes, offset) << 8 | byte_at(bytes, offset + 1));
}

template <class Address>
Address address_at(std::string_view bytes, std::size_t offset) {
  typename Address::bytes_type raw;
  std::memcpy(raw.data(), bytes.data() + offset, raw.size());
  return Address{raw};
}

/// What is behind the IP header and its extensions.
struct Payload {
  std::uint8_t protocol = 0;
  std::string_view bytes;
};

std::optional<PacketHead> transport(const Payload& payload, const base::Address& source,
                                    const base::Address& destination) {
  const std::string_view bytes = payload.bytes;
  const bool udp = payload.protocol == kUdp;
  if (!udp && payload.protocol != kTcp) return std::nullopt;
  if (bytes.size() < (udp ? kUdpNeeded : kTcpNeeded)) return std::nullopt;
  PacketHead head;
  head.key = {{source, word_at(bytes, 0)}, {destination, word_at(bytes, 2)}, udp};
  if (udp && bytes.size() >= kUdpHeader) head.payload = bytes.substr(kUdpHeader);
  if (!udp) {
    head.sequence = static_cast<std::uint32_t>(word_at(bytes, 4)) << 16 | word_at(bytes, 6);
    head.flags = byte_at(bytes, 13);
  }
  return head;
}

std::optional<PacketHead> parse_ipv4(std::string_view bytes) {
  if (bytes.size() < kIpv4Header) return std::nullopt;
  const std::size_t header = (byte_at(bytes, 0) & 0x0fU) * 4;
  const bool later_fragment = (word_at(bytes, 6) & 0x1fffU) != 0;
  if (header < kIpv4Header || header > bytes.size() || later_fragment) return std::nullopt;
  return transport({byte_at(bytes, 9), bytes.substr(header)}, address_at<ip::address_v4>(bytes, 12),
                   address_at<ip::address_v4>(bytes, 16));
}

/// Length of the extension header at the start of `bytes` (at least 8 of them); 0: not a known
/// `kind`.
std::size_t extension_length(std::uint8_t kind, std::string_view bytes) {
  switch (kind) {
    case kHopByHop:
    case kRouting:
    case kDestination:
    case kMobility:
    case kHostIdentity:
    case kShim6:
      return (byte_at(bytes, 1) + 1U) * 8;
    case kAuthentication:
      return (byte_at(bytes, 1) + 2U) * 4;
    case kFragment:
      return 8;
    default:
      return 0;
  }
}

std::optional<PacketHead> parse_ipv6(std::string_view bytes) {
  if (bytes.size() < kIpv6Header) return std::nullopt;
  Payload payload{byte_at(bytes, 6), bytes.substr(kIpv6Header)};
  for (int i = 0; i < kMaxExtensions; ++i) {
    if (payload.protocol == kTcp || payload.protocol == kUdp) break;
    if (payload.bytes.size() < 8) return std::nullopt;
    const std::size_t length = extension_length(payload.protocol, payload.bytes);
    if (length == 0 || length > payload.bytes.size()) return std::nullopt;
    const bool later_fragment =
        payload.protocol == kFragment && (word_at(payload.bytes, 2) & 0xfff8U) != 0;
    if (later_fragment) return std::nullopt;
    payload = {byte_at(payload.bytes, 0), payload.bytes.substr(length)};
  }
  return transport(payload, address_at<ip::address_v6>(bytes, 8),
                   address_at<ip::address_v6>(bytes, 24));
}

void combine(std::size_t& seed, const base::Endpoint& endpoint) {
  const auto add = [&](const auto& raw) { boost::hash_range(seed, raw.begin(), raw.end()); };
  endpoint.address().is_v4() ? add(endpoint.address().to_v4().to_bytes())
                             : add(endpoint.address().to_v6().to_bytes());
  boost::hash_combine(seed, endpoint.port());
}

}  // namespace

std::size_t FlowKeyHash::operator()(const FlowKey& key) const noexcept {
  std::size_t seed = key.udp ? 1 : 0;
  combine(seed, key.source);
  combine(seed, key.destination);
  return seed;
}

std::optional<PacketHead> parse_packet(std::string_view bytes) {
  if (bytes.empty()) return std::nullopt;
  switch (byte_at(bytes, 0) >> 4) {
    case 4:
      return parse_ipv4(bytes);
    case 6:
      return parse_ipv6(bytes);
    default:
      return std::nullopt;
  }
}

}  // namespace divert
