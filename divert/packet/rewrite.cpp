// Offsets are those of RFC 791, RFC 792 and RFC 9293.
#include "divert/packet/rewrite.h"

#include "divert/packet/packet.h"

namespace divert {
namespace {

constexpr std::size_t kIpHeader = 20, kTcpHeader = 20, kIcmpHeader = 8;
constexpr std::size_t kTos = 1, kTotalLength = 2, kTtl = 8, kProtocol = 9, kIpChecksum = 10,
                      kSource = 12, kDestination = 16;
constexpr std::size_t kTcpSequence = 4, kTcpAcknowledgement = 8, kTcpDataOffset = 12,
                      kTcpFlags = 13, kTcpChecksum = 16;
constexpr std::uint8_t kTcp = 6, kIcmp = 1;
constexpr std::uint8_t kSyn = 0x02, kReset = 0x04, kAcknowledge = 0x10;
constexpr std::uint8_t kUnreachable = 3;
constexpr std::uint8_t kUsualTtl = 64;

std::uint16_t word_at(std::string_view bytes, std::size_t offset) {
  return static_cast<std::uint16_t>(static_cast<std::uint8_t>(bytes[offset]) << 8 |
                                    static_cast<std::uint8_t>(bytes[offset + 1]));
}

void put_word(std::span<char> bytes, std::size_t offset, std::uint16_t value) {
  bytes[offset] = static_cast<char>(value >> 8);
  bytes[offset + 1] = static_cast<char>(value & 0xff);
}

void put_long(std::span<char> bytes, std::size_t offset, std::uint32_t value) {
  put_word(bytes, offset, static_cast<std::uint16_t>(value >> 16));
  put_word(bytes, offset + 2, static_cast<std::uint16_t>(value & 0xffff));
}

/// Size of the IPv4 header; 0: `packet` does not begin with a whole one.
std::size_t ip_header_size(std::string_view packet) {
  if (packet.size() < kIpHeader || static_cast<std::uint8_t>(packet[0]) >> 4 != 4) return 0;
  const std::size_t size = (static_cast<std::uint8_t>(packet[0]) & 0x0fU) * 4;
  return size >= kIpHeader && size <= packet.size() ? size : 0;
}

/// An IPv4 header without options for `size` bytes of `protocol`, from the destination of `packet`
/// to its source.
std::string answer_header(std::string_view packet, std::uint8_t protocol, std::size_t size) {
  std::string header(kIpHeader, '\0');
  header[0] = 0x45;
  put_word(header, kTotalLength, static_cast<std::uint16_t>(kIpHeader + size));
  header[kTtl] = kUsualTtl;
  header[kProtocol] = static_cast<char>(protocol);
  header.replace(kSource, 4, packet.substr(kDestination, 4));
  header.replace(kDestination, 4, packet.substr(kSource, 4));
  put_word(header, kIpChecksum, checksum(header));
  return header;
}

}  // namespace

std::uint16_t checksum(std::string_view bytes, std::uint32_t start) {
  std::uint64_t sum = start;
  for (std::size_t i = 0; i + 1 < bytes.size(); i += 2) sum += word_at(bytes, i);
  if (bytes.size() % 2 != 0)
    sum += static_cast<std::uint32_t>(static_cast<std::uint8_t>(bytes.back())) << 8;
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(~sum);
}

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
  std::string tcp(kTcpHeader, '\0');
  put_word(tcp, 0, head->key.destination.port());
  put_word(tcp, 2, head->key.source.port());
  put_long(tcp, kTcpSequence, 0);
  put_long(tcp, kTcpAcknowledgement, head->sequence + 1);
  tcp[kTcpDataOffset] = kTcpHeader / 4 << 4;
  tcp[kTcpFlags] = kReset | kAcknowledge;
  const std::string header = answer_header(packet, kTcp, tcp.size());
  // The pseudo-header: both addresses, the protocol and the length.
  const std::uint32_t pseudo =
      static_cast<std::uint16_t>(~checksum(std::string_view(header).substr(kSource, 8))) +
      std::uint32_t{kTcp} + static_cast<std::uint32_t>(tcp.size());
  put_word(tcp, kTcpChecksum, checksum(tcp, pseudo));
  return header + tcp;
}

std::string unreachable_for(std::string_view packet, std::uint8_t code) {
  constexpr std::size_t kQuoted = 8;
  const std::size_t ip = ip_header_size(packet);
  if (ip == 0 || packet.size() < ip + kQuoted) return {};
  std::string icmp(kIcmpHeader, '\0');
  icmp[0] = static_cast<char>(kUnreachable);
  icmp[1] = static_cast<char>(code);
  icmp += packet.substr(0, ip + kQuoted);
  put_word(icmp, 2, checksum(icmp));
  return answer_header(packet, kIcmp, icmp.size()) + icmp;
}

}  // namespace divert
