#include "base/ip_packet.h"

#include <cstring>

#include <arpa/inet.h>

namespace base {
namespace {

namespace ip = boost::asio::ip;

constexpr std::uint8_t kHopLimit = 64;
constexpr std::size_t kIpv4Header = 20, kTcpHeader = 20, kTcpChecksum = 16;
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
  const Address source = unmapped(segment.source.address());
  const Address destination = unmapped(segment.destination.address());
  const std::size_t size = kTcpHeader + segment.options.size() + segment.payload.size();
  std::size_t addresses = 0;
  if (source.is_v4() && destination.is_v4()) {
    append_ipv4_header(out, source.to_v4(), destination.to_v4(), kProtocolTcp, size);
    addresses = 8;
  } else {
    append_ipv6_header(out, as_v6(source), as_v6(destination), kProtocolTcp, size);
    addresses = 32;
  }
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
  // Both addresses end the IP header and are even in size: the pseudo-header's sum goes on into the
  // segment.
  const std::uint64_t pseudo = htons(kProtocolTcp) + htons(static_cast<std::uint16_t>(size));
  store_checksum(out, tcp + kTcpChecksum,
                 sum_words(std::string_view(out).substr(tcp - addresses), pseudo));
}

}  // namespace base
