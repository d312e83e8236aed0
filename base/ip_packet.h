// IP packets that we make: IPv4 (RFC 791), IPv6 (RFC 8200), TCP (RFC 9293), UDP (RFC 768) and the
// Internet checksum (RFC 1071). Complete: a reader that checks lengths and checksums accepts them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/network.h"

namespace base {

/// The one's complement sum of the 16-bit words of `bytes` (RFC 1071), unfolded and in memory
/// order: the byte order does not matter to it. An odd last byte is padded with zero.
std::uint64_t sum_words(std::string_view bytes, std::uint64_t sum = 0);
/// Writes the checksum that belongs to `sum` at `offset` of `bytes`, where zeros were summed.
void store_checksum(std::span<char> bytes, std::size_t offset, std::uint64_t sum);
/// The checksum of `bytes` as a number, to be written in network byte order; 0 over bytes that hold
/// their own.
std::uint16_t checksum(std::string_view bytes);

void append_byte(std::string& out, std::uint8_t value);
/// In network byte order.
void append_word(std::string& out, std::uint16_t value);
void append_long(std::string& out, std::uint32_t value);

inline constexpr std::uint8_t kProtocolIcmp = 1, kProtocolTcp = 6, kProtocolUdp = 17;

/// An IPv4 header without options (20 bytes, TTL 64, "don't fragment") for `payload` bytes of
/// `protocol`.
void append_ipv4_header(std::string& out, const boost::asio::ip::address_v4& source,
                        const boost::asio::ip::address_v4& destination, std::uint8_t protocol,
                        std::size_t payload);

struct TcpSegment {
  Endpoint source;
  Endpoint destination;
  std::uint32_t sequence = 0;
  std::uint32_t acknowledgement = 0;
  std::uint8_t flags = 0;  ///< FIN 1, SYN 2, RST 4, PSH 8, ACK 16
  std::uint16_t window = 0;
  std::string_view options{};  ///< a multiple of 4 bytes
  std::string_view payload{};
};

/// The IP packet that carries `segment`: version 4 when both addresses are IPv4 or mapped to IPv6,
/// else 6.
void append_tcp_packet(std::string& out, const TcpSegment& segment);

/// The IP packet that carries `payload` in a datagram; its version as that of append_tcp_packet().
void append_udp_packet(std::string& out, const Endpoint& source, const Endpoint& destination,
                       std::string_view payload);

}  // namespace base
