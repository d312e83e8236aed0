// Layouts from linux/netlink.h, linux/sock_diag.h and linux/inet_diag.h, written out by offset so
// that they compile everywhere. Integers are in host byte order unless said otherwise; ports and
// addresses are in network order.
#include "procmap/sock_diag.h"

#include <array>
#include <cstring>

#include <fmt/format.h>

namespace procmap {
namespace {

namespace ip = boost::asio::ip;

constexpr std::uint16_t kDone = 3;       // NLMSG_DONE
constexpr std::uint16_t kError = 2;      // NLMSG_ERROR
constexpr std::uint16_t kByFamily = 20;  // SOCK_DIAG_BY_FAMILY
constexpr std::uint16_t kRequest = 0x1;  // NLM_F_REQUEST
constexpr std::uint16_t kDump = 0x300;   // NLM_F_DUMP
constexpr std::uint8_t kAfInet = 2, kAfInet6 = 10, kTcp = 6, kUdp = 17;
constexpr std::uint16_t kAttributeMark = 15;    // INET_DIAG_MARK
constexpr std::uint16_t kAttributeCgroup = 21;  // INET_DIAG_CGROUP_ID
constexpr std::uint32_t kAllStates = ~0U;

constexpr std::size_t kHeader = 16;       // struct nlmsghdr
constexpr std::size_t kRequestBody = 56;  // struct inet_diag_req_v2
constexpr std::size_t kMessageBody = 72;  // struct inet_diag_msg
constexpr std::size_t kIdOffset = 8;      // struct inet_diag_sockid in the request
constexpr std::size_t kMessageId = 4;     // and in the message

template <class Number>
void put(std::string& bytes, std::size_t offset, Number value) {
  std::memcpy(bytes.data() + offset, &value, sizeof value);
}

template <class Number>
Number get(std::string_view bytes, std::size_t offset) {
  Number value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

std::string request(Family family, std::uint16_t flags, std::uint32_t sequence) {
  std::string bytes(kHeader + kRequestBody, '\0');
  put(bytes, 0, static_cast<std::uint32_t>(bytes.size()));
  put(bytes, 4, kByFamily);
  put(bytes, 6, static_cast<std::uint16_t>(kRequest | flags));
  put(bytes, 8, sequence);
  put(bytes, kHeader, family == Family::v4 ? kAfInet : kAfInet6);
  put(bytes, kHeader + 1, kTcp);
  put(bytes, kHeader + 4, kAllStates);
  return bytes;
}

void put_port(std::string& bytes, std::size_t offset, std::uint16_t port) {
  bytes[offset] = static_cast<char>(port >> 8);
  bytes[offset + 1] = static_cast<char>(port & 0xff);
}

void put_address(std::string& bytes, std::size_t offset, Family family,
                 const ip::address& address) {
  if (family == Family::v4) {
    const auto raw = address.to_v4().to_bytes();
    std::memcpy(bytes.data() + offset, raw.data(), raw.size());
    return;
  }
  const auto raw =
      (address.is_v6() ? address.to_v6() : ip::make_address_v6(ip::v4_mapped, address.to_v4()))
          .to_bytes();
  std::memcpy(bytes.data() + offset, raw.data(), raw.size());
}

ip::address get_address(std::string_view bytes, std::size_t offset, std::uint8_t family) {
  if (family == kAfInet) {
    ip::address_v4::bytes_type raw;
    std::memcpy(raw.data(), bytes.data() + offset, raw.size());
    return ip::address_v4{raw};
  }
  ip::address_v6::bytes_type raw;
  std::memcpy(raw.data(), bytes.data() + offset, raw.size());
  return base::unmapped(ip::address_v6{raw});
}

std::uint16_t get_port(std::string_view bytes, std::size_t offset) {
  return static_cast<std::uint16_t>(static_cast<unsigned char>(bytes[offset]) << 8 |
                                    static_cast<unsigned char>(bytes[offset + 1]));
}

void read_attributes(std::string_view attributes, SocketFacts& facts) {
  while (attributes.size() >= 4) {
    const auto size = get<std::uint16_t>(attributes, 0);
    const auto type = get<std::uint16_t>(attributes, 2);
    if (size < 4 || size > attributes.size()) return;
    if (type == kAttributeCgroup && size == 4 + sizeof(std::uint64_t))
      facts.cgroup_id = get<std::uint64_t>(attributes, 4);
    if (type == kAttributeMark && size == 4 + sizeof(std::uint32_t))
      facts.mark = get<std::uint32_t>(attributes, 4);
    attributes.remove_prefix(std::min<std::size_t>(attributes.size(), (size + 3U) & ~3U));
  }
}

DiagSocket read_socket(std::string_view body) {
  DiagSocket socket;
  const auto family = static_cast<std::uint8_t>(body[0]);
  socket.state = static_cast<std::uint8_t>(body[1]);
  socket.local = {get_address(body, kMessageId + 4, family), get_port(body, kMessageId)};
  socket.remote = {get_address(body, kMessageId + 20, family), get_port(body, kMessageId + 2)};
  socket.facts.interface = get<std::uint32_t>(body, kMessageId + 36);
  socket.facts.uid = get<std::uint32_t>(body, 64);
  socket.facts.inode = get<std::uint32_t>(body, 68);
  socket.facts.uid_known = socket.facts.inode != 0;
  read_attributes(body.substr(kMessageBody), socket.facts);
  return socket;
}

}  // namespace

std::string encode_exact_query(Family family, const SocketQuery& sought, std::uint32_t sequence) {
  std::string bytes = request(family, 0, sequence);
  // udp_dump_one() of the kernel looks from the other end ("swapped for historical reasons").
  const bool udp = sought.transport == Transport::udp;
  if (udp) put(bytes, kHeader + 1, kUdp);
  const auto& [first, second] = udp ? std::tie(sought.destination, sought.source)
                                    : std::tie(sought.source, sought.destination);
  const std::size_t id = kHeader + kIdOffset;
  put_port(bytes, id, first.port());
  put_port(bytes, id + 2, second.port());
  put_address(bytes, id + 4, family, first.address());
  put_address(bytes, id + 20, family, second.address());
  put(bytes, id + 36, sought.interface);
  put(bytes, id + 40, ~std::uint64_t{0});  // INET_DIAG_NOCOOKIE
  return bytes;
}

std::string encode_dump_query(Family family, std::uint32_t sequence) {
  return request(family, kDump, sequence);
}

std::optional<DiagReply> decode_reply(std::string_view& bytes) {
  if (bytes.size() < kHeader) return std::nullopt;
  const auto size = get<std::uint32_t>(bytes, 0);
  if (size < kHeader || size > bytes.size()) return std::nullopt;
  const auto type = get<std::uint16_t>(bytes, 4);
  const auto body = bytes.substr(kHeader, size - kHeader);
  DiagReply reply;
  reply.sequence = get<std::uint32_t>(bytes, 8);
  bytes.remove_prefix(std::min<std::size_t>(bytes.size(), (size + 3U) & ~3U));
  if (type == kDone) {
    reply.kind = DiagReply::Kind::done;
  } else if (type == kByFamily) {
    if (body.size() < kMessageBody) return std::nullopt;
    reply.kind = DiagReply::Kind::socket;
    reply.socket = read_socket(body);
  } else if (type == kError) {
    if (body.size() < sizeof(std::int32_t)) return std::nullopt;
    reply.error = base::netlink_errno(get<std::int32_t>(body, 0));
  }
  return reply;
}

std::string state_name(std::uint8_t state) {
  constexpr std::array<std::string_view, 13> kNames{
      "",       "ESTAB",      "SYN-SENT", "SYN-RECV", "FIN-WAIT-1", "FIN-WAIT-2",  "TIME-WAIT",
      "UNCONN", "CLOSE-WAIT", "LAST-ACK", "LISTEN",   "CLOSING",    "NEW-SYN-RECV"};
  return state > 0 && state < kNames.size() ? std::string(kNames[state]) : fmt::format("{}", state);
}

}  // namespace procmap
