// IPv4, IPv6 and TCP headers (RFC 791, 8200, 9293) of packets that were never sent: they are
// complete, so that a reader that checks lengths and checksums finds nothing to complain of.
#include <cstring>

#include <arpa/inet.h>

#include "mitm/format/synthetic_tcp_stream.h"

namespace mitm::format {
namespace {

constexpr std::uint8_t kTcpProtocol = 6;
constexpr std::uint8_t kHopLimit = 64;
constexpr std::uint16_t kWindow = 65535;

void put8(std::string& out, std::uint8_t value) {
  out += static_cast<char>(value);
}

void put16(std::string& out, std::uint16_t value) {
  put8(out, static_cast<std::uint8_t>(value >> 8U));
  put8(out, static_cast<std::uint8_t>(value));
}

void put32(std::string& out, std::uint32_t value) {
  put16(out, static_cast<std::uint16_t>(value >> 16U));
  put16(out, static_cast<std::uint16_t>(value));
}

template <class Bytes>
void put(std::string& out, const Bytes& bytes) {
  out.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

/// One's complement sum of 16-bit words in memory order (RFC 1071: byte order does not matter to
/// it).
std::uint64_t sum_words(std::string_view bytes, std::uint64_t sum = 0) {
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

/// Stores the checksum that makes `sum` come out right at `at`, where zeros stood.
void store_checksum(std::string& out, std::size_t at, std::uint64_t sum) {
  while (sum > 0xffff) sum = (sum & 0xffffU) + (sum >> 16U);
  const auto checksum = static_cast<std::uint16_t>(~sum);
  std::memcpy(out.data() + at, &checksum, sizeof checksum);
}

void put_ipv4(std::string& out, const boost::asio::ip::address_v4& from,
              const boost::asio::ip::address_v4& to, std::size_t tcp_size) {
  put16(out, 0x4500);  // version, header of 5 words, no service class
  put16(out, static_cast<std::uint16_t>(20 + tcp_size));
  put32(out, 0x00004000);  // identification 0: do not fragment (RFC 6864)
  put8(out, kHopLimit);
  put8(out, kTcpProtocol);
  put16(out, 0);
  put(out, from.to_bytes());
  put(out, to.to_bytes());
  store_checksum(out, 10, sum_words(out));
}

void put_ipv6(std::string& out, const boost::asio::ip::address_v6& from,
              const boost::asio::ip::address_v6& to, std::size_t tcp_size) {
  put32(out, 0x60000000);
  put16(out, static_cast<std::uint16_t>(tcp_size));
  put8(out, kTcpProtocol);
  put8(out, kHopLimit);
  put(out, from.to_bytes());
  put(out, to.to_bytes());
}

/// The options of a SYN: the segment size we use, and windows of up to 1 GiB.
std::string syn_options() {
  std::string options;
  put16(options, 0x0204);
  put16(options, Conversation::kMaxPayload);
  put32(options, 0x0103030e);
  return options;
}

void put_tcp(std::string& out, const Segment& segment, std::uint16_t from, std::uint16_t to,
             std::string_view options) {
  put16(out, from);
  put16(out, to);
  put32(out, segment.seq);
  put32(out, segment.ack);
  put8(out, static_cast<std::uint8_t>((20 + options.size()) / 4 << 4U));
  put8(out, segment.flags);
  put16(out, kWindow);
  put32(out, 0);  // checksum, urgent pointer
  put(out, options);
  put(out, segment.payload);
}

boost::asio::ip::address_v6 as_v6(const base::Address& address) {
  namespace ip = boost::asio::ip;
  return address.is_v6() ? address.to_v6() : ip::make_address_v6(ip::v4_mapped, address.to_v4());
}

}  // namespace

void render_packet(const Segment& segment, const base::Endpoint& client,
                   const base::Endpoint& server, std::string& out) {
  const bool request = segment.direction == flow::Direction::request;
  const base::Endpoint& source = request ? client : server;
  const base::Endpoint& target = request ? server : client;
  const base::Address from = base::unmapped(source.address());
  const base::Address to = base::unmapped(target.address());
  const std::string options = (segment.flags & kSyn) != 0 ? syn_options() : std::string();
  const std::size_t tcp_size = 20 + options.size() + segment.payload.size();

  out.clear();
  std::size_t addresses = 0;
  if (from.is_v4() && to.is_v4()) {
    put_ipv4(out, from.to_v4(), to.to_v4(), tcp_size);
    addresses = 8;
  } else {
    put_ipv6(out, as_v6(from), as_v6(to), tcp_size);
    addresses = 32;
  }
  const std::size_t tcp = out.size();
  put_tcp(out, segment, source.port(), target.port(), options);
  // Both addresses end the IP header and are even in size: the pseudo-header's sum goes on into the
  // segment.
  const std::uint64_t pseudo = htons(kTcpProtocol) + htons(static_cast<std::uint16_t>(tcp_size));
  store_checksum(out, tcp + 16, sum_words(std::string_view(out).substr(tcp - addresses), pseudo));
}

}  // namespace mitm::format
