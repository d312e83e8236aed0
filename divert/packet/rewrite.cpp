// Offsets are those of RFC 791, RFC 792 and RFC 9293.
#include "divert/packet/rewrite.h"

#include "base/ip_packet.h"
#include "divert/packet/packet.h"

namespace divert {
namespace {

constexpr std::size_t kIpHeader = 20, kIcmpHeader = 8, kIcmpChecksum = 2;
constexpr std::size_t kTos = 1, kIpChecksum = 10, kSource = 12, kDestination = 16;
constexpr std::uint8_t kSyn = 0x02, kReset = 0x04, kAcknowledge = 0x10;
constexpr std::uint8_t kUnreachable = 3;

std::uint16_t word_at(std::string_view bytes, std::size_t offset) {
  return static_cast<std::uint16_t>(static_cast<std::uint8_t>(bytes[offset]) << 8 |
                                    static_cast<std::uint8_t>(bytes[offset + 1]));
}

void put_word(std::span<char> bytes, std::size_t offset, std::uint16_t value) {
  bytes[offset] = static_cast<char>(value >> 8);
  bytes[offset + 1] = static_cast<char>(value & 0xff);
}

/// Size of the IPv4 header; 0: `packet` does not begin with a whole one.
std::size_t ip_header_size(std::string_view packet) {
  if (packet.size() < kIpHeader || static_cast<std::uint8_t>(packet[0]) >> 4 != 4) return 0;
  const std::size_t size = (static_cast<std::uint8_t>(packet[0]) & 0x0fU) * 4;
  return size >= kIpHeader && size <= packet.size() ? size : 0;
}

boost::asio::ip::address_v4 address_at(std::string_view packet, std::size_t offset) {
  boost::asio::ip::address_v4::bytes_type bytes;
  packet.copy(reinterpret_cast<char*>(bytes.data()), bytes.size(), offset);
  return boost::asio::ip::address_v4{bytes};
}

}  // namespace

bool set_tos(std::span<char> packet, std::uint8_t tos) {
  const std::string_view bytes{packet.data(), packet.size()};
  if (ip_header_size(bytes) == 0) return false;
  const std::uint16_t before = word_at(bytes, 0);
  packet[kTos] = static_cast<char>(tos);
  // HC' = ~(~HC + ~m + m')
  std::uint32_t sum = static_cast<std::uint16_t>(~word_at(bytes, kIpChecksum));
  sum += static_cast<std::uint16_t>(~before);
  sum += word_at(bytes, 0);
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  put_word(packet, kIpChecksum, static_cast<std::uint16_t>(~sum));
  return true;
}

std::string reset_for(std::string_view packet) {
  const std::size_t ip = ip_header_size(packet);
  const auto head = parse_packet(packet);
  if (ip == 0 || !head || head->key.udp || (head->flags & (kSyn | kReset | kAcknowledge)) != kSyn)
    return {};
  std::string answer;
  base::append_tcp_packet(answer, {.source = head->key.destination,
                                   .destination = head->key.source,
                                   .acknowledgement = head->sequence + 1,
                                   .flags = kReset | kAcknowledge});
  return answer;
}

std::string unreachable_for(std::string_view packet, std::uint8_t code) {
  constexpr std::size_t kQuoted = 8;
  const std::size_t ip = ip_header_size(packet);
  if (ip == 0 || packet.size() < ip + kQuoted) return {};
  std::string icmp(kIcmpHeader, '\0');
  icmp[0] = static_cast<char>(kUnreachable);
  icmp[1] = static_cast<char>(code);
  icmp += packet.substr(0, ip + kQuoted);
  base::store_checksum(icmp, kIcmpChecksum, base::sum_words(icmp));
  std::string answer;
  base::append_ipv4_header(answer, address_at(packet, kDestination), address_at(packet, kSource),
                           base::kProtocolIcmp, icmp.size());
  return answer + icmp;
}

}  // namespace divert
