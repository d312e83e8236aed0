#include "base/ip_packet.h"

#include <cstring>

#include <arpa/inet.h>

namespace base {
namespace {

namespace ip = boost::asio::ip;

constexpr std::uint8_t kHopLimit = 64;
constexpr std::size_t kIpv4Header = 20, kTcpHeader = 20, kTcpChecksum = 16;
constexpr std::size_t kUdpHeader = 8, kUdpChecksum = 6;
constexpr std::size_t kIpv4Checksum = 10;

template <class Bytes>
void append(std::string& out, const Bytes& bytes) {
  out.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

std::uint16_t folded(std::uint64_t sum) {
  while (sum > 0xffff) sum = (sum & 0xffffU) + (sum >> 16U);
  return static_cast<std::uint16_t>(~sum);
}

void append_ipv6_header(std::string& out, const ip::address_v6& source,
                        const ip::address_v6& destination, std::uint8_t protocol,
                        std::size_t payload) {
  append_long(out, 0x60000000);
  append_word(out, static_cast<std::uint16_t>(payload));
  append_byte(out, protocol);
  append_byte(out, kHopLimit);
  append(out, source.to_bytes());
  append(out, destination.to_bytes());
}

ip::address_v6 as_v6(const Address& address) {
  return address.is_v6() ? address.to_v6() : ip::make_address_v6(ip::v4_mapped, address.to_v4());
}

/// Returns the size of both addresses together, which end the header.
std::size_t append_ip_header(std::string& out, const Endpoint& from, const Endpoint& to,
                             std::uint8_t protocol, std::size_t payload) {
  const Address source = unmapped(from.address());
  const Address destination = unmapped(to.address());
  if (source.is_v4() && destination.is_v4()) {
    append_ipv4_header(out, source.to_v4(), destination.to_v4(), protocol, payload);
    return 8;
  }
  append_ipv6_header(out, as_v6(source), as_v6(destination), protocol, payload);
  return 32;
}

/// For what stands from `start` on to the end. Both addresses stand before it and are even in size:
/// the pseudo-header's sum goes on into what follows.
void store_transport_checksum(std::string& out, std::size_t start, std::size_t addresses,
                              std::uint8_t protocol, std::size_t offset) {
  const std::uint64_t pseudo =
      htons(protocol) + htons(static_cast<std::uint16_t>(out.size() - start));
  store_checksum(out, start + offset,
                 sum_words(std::string_view(out).substr(start - addresses), pseudo));
}

}  // namespace

std::uint64_t sum_words(std::string_view bytes, std::uint64_t sum) {
  while (bytes.size() >= 4) {
    std::uint32_t words = 0;
    std::memcpy(&words, bytes.data(), sizeof words);
    sum += words;
    bytes.remove_prefix(sizeof words);
  }
  std::uint32_t last = 0;
  std::memcpy(&last, bytes.data(), bytes.size());
  return sum + last;
}

void store_checksum(std::span<char> bytes, std::size_t offset, std::uint64_t sum) {
  const std::uint16_t checksum = folded(sum);
  std::memcpy(bytes.data() + offset, &checksum, sizeof checksum);
}

std::uint16_t checksum(std::string_view bytes) {
  return ntohs(folded(sum_words(bytes)));
}

void append_byte(std::string& out, std::uint8_t value) {
  out += static_cast<char>(value);
}

void append_word(std::string& out, std::uint16_t value) {
  append_byte(out, static_cast<std::uint8_t>(value >> 8U));
  append_byte(out, static_cast<std::uint8_t>(value));
}

void append_long(std::string& out, std::uint32_t value) {
  append_word(out, static_cast<std::uint16_t>(value >> 16U));
  append_word(out, static_cast<std::uint16_t>(value));
}

void append_ipv4_header(std::string& out, const ip::address_v4& source,
                        const ip::address_v4& destination, std::uint8_t protocol,
                        std::size_t payload) {
  const std::size_t start = out.size();
  append_word(out, 0x4500);  // version, header of 5 words, no service class
  append_word(out, static_cast<std::uint16_t>(kIpv4Header + payload));
  append_long(out, 0x00004000);  // identification 0: do not fragment (RFC 6864)
  append_byte(out, kHopLimit);
  append_byte(out, protocol);
  append_word(out, 0);
  append(out, source.to_bytes());
  append(out, destination.to_bytes());
  store_checksum(out, start + kIpv4Checksum, sum_words(std::string_view(out).substr(start)));
}

void append_tcp_packet(std::string& out, const TcpSegment& segment) {
  const std::size_t size = kTcpHeader + segment.options.size() + segment.payload.size();
  const std::size_t addresses =
      append_ip_header(out, segment.source, segment.destination, kProtocolTcp, size);
  const std::size_t tcp = out.size();
  append_word(out, segment.source.port());
  append_word(out, segment.destination.port());
  append_long(out, segment.sequence);
  append_long(out, segment.acknowledgement);
  append_byte(out, static_cast<std::uint8_t>((kTcpHeader + segment.options.size()) / 4 << 4U));
  append_byte(out, segment.flags);
  append_word(out, segment.window);
  append_long(out, 0);  // checksum, urgent pointer
  out.append(segment.options).append(segment.payload);
  store_transport_checksum(out, tcp, addresses, kProtocolTcp, kTcpChecksum);
}

void append_udp_packet(std::string& out, const Endpoint& source, const Endpoint& destination,
                       std::string_view payload) {
  const std::size_t size = kUdpHeader + payload.size();
  const std::size_t addresses = append_ip_header(out, source, destination, kProtocolUdp, size);
  const std::size_t udp = out.size();
  append_word(out, source.port());
  append_word(out, destination.port());
  append_word(out, static_cast<std::uint16_t>(size));
  append_word(out, 0);  // checksum
  out.append(payload);
  store_transport_checksum(out, udp, addresses, kProtocolUdp, kUdpChecksum);
  // A checksum of zero would say that there is none.
  if (out.compare(udp + kUdpChecksum, 2, std::string_view("\0\0", 2)) == 0)
    out.replace(udp + kUdpChecksum, 2, "\xff\xff");
}

}  // namespace base
