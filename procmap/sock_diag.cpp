// Layouts from linux/sock_diag.h and linux/inet_diag.h, written out by offset so
// that they compile everywhere. Integers are in host byte order unless said otherwise; ports and
// addresses are in network order.
#include "procmap/sock_diag.h"

#include <array>
#include <cstring>

#include <fmt/format.h>

#include "base/netlink.h"

namespace procmap {
namespace {

namespace ip = boost::asio::ip;

namespace netlink = base::netlink;
using netlink::number_at;

constexpr std::uint16_t kByFamily = 20;  // SOCK_DIAG_BY_FAMILY
constexpr std::uint8_t kAfInet = 2, kAfInet6 = 10, kTcp = 6, kUdp = 17;
constexpr std::uint16_t kAttributeMark = 15;    // INET_DIAG_MARK
constexpr std::uint16_t kAttributeCgroup = 21;  // INET_DIAG_CGROUP_ID
constexpr std::uint32_t kAllStates = ~0U;

constexpr std::size_t kRequestBody = 56;  // struct inet_diag_req_v2
constexpr std::size_t kMessageBody = 72;  // struct inet_diag_msg
constexpr std::size_t kIdOffset = 8;      // struct inet_diag_sockid in the request
constexpr std::size_t kMessageId = 4;     // and in the message

template <class Number>
void put(std::string& bytes, std::size_t offset, Number value) {
  std::memcpy(bytes.data() + offset, &value, sizeof value);
}

/// struct inet_diag_req_v2.
std::string request_body(Family family) {
  std::string body(kRequestBody, '\0');
  put(body, 0, family == Family::v4 ? kAfInet : kAfInet6);
  put(body, 1, kTcp);
  put(body, 4, kAllStates);
  return body;
}

std::string request(std::uint16_t flags, std::uint32_t sequence, std::string_view body) {
  netlink::Writer message(kByFamily, flags, sequence);
  message.append(body);
  return message.view();
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
  netlink::for_each_attribute(attributes, [&](const netlink::Attribute& attribute) {
    const auto& [type, value] = attribute;
    if (type == kAttributeCgroup && value.size() == sizeof(std::uint64_t))
      facts.cgroup_id = number_at<std::uint64_t>(value, 0);
    if (type == kAttributeMark && value.size() == sizeof(std::uint32_t))
      facts.mark = number_at<std::uint32_t>(value, 0);
  });
}

DiagSocket read_socket(std::string_view body) {
  DiagSocket socket;
  const auto family = static_cast<std::uint8_t>(body[0]);
  socket.state = static_cast<std::uint8_t>(body[1]);
  socket.local = {get_address(body, kMessageId + 4, family), get_port(body, kMessageId)};
  socket.remote = {get_address(body, kMessageId + 20, family), get_port(body, kMessageId + 2)};
  socket.facts.interface = number_at<std::uint32_t>(body, kMessageId + 36);
  socket.facts.uid = number_at<std::uint32_t>(body, 64);
  socket.facts.inode = number_at<std::uint32_t>(body, 68);
  socket.facts.uid_known = socket.facts.inode != 0;
  read_attributes(body.substr(kMessageBody), socket.facts);
  return socket;
}

}  // namespace

std::string encode_exact_query(Family family, const SocketQuery& sought, std::uint32_t sequence) {
  std::string body = request_body(family);
  // udp_dump_one() of the kernel looks from the other end ("swapped for historical reasons").
  const bool udp = sought.transport == Transport::udp;
  if (udp) put(body, 1, kUdp);
  const auto& [first, second] = udp ? std::tie(sought.destination, sought.source)
                                    : std::tie(sought.source, sought.destination);
  put_port(body, kIdOffset, first.port());
  put_port(body, kIdOffset + 2, second.port());
  put_address(body, kIdOffset + 4, family, first.address());
  put_address(body, kIdOffset + 20, family, second.address());
  put(body, kIdOffset + 36, sought.interface);
  put(body, kIdOffset + 40, ~std::uint64_t{0});  // INET_DIAG_NOCOOKIE
  return request(0, sequence, body);
}

std::string encode_dump_query(Family family, std::uint32_t sequence) {
  return request(netlink::kDump, sequence, request_body(family));
}

std::optional<DiagReply> decode_reply(std::string_view& bytes) {
  const auto message = netlink::take_message(bytes);
  if (!message) return std::nullopt;
  DiagReply reply;
  reply.sequence = message->sequence;
  if (message->type == netlink::kDone) {
    reply.kind = DiagReply::Kind::done;
  } else if (message->type == kByFamily) {
    if (message->body.size() < kMessageBody) return std::nullopt;
    reply.kind = DiagReply::Kind::socket;
    reply.socket = read_socket(message->body);
  } else if (message->type == netlink::kError) {
    const auto error = message->error();
    if (!error) return std::nullopt;
    reply.error = *error;
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
