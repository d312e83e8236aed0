// Attribute by attribute (linux/netfilter/nfnetlink_conntrack.h): a connection is CTA_TUPLE_ORIG {
// CTA_TUPLE_IP, CTA_TUPLE_PROTO }, CTA_MARK and much that is not looked at. Lengths are checked
// before anything is read.
#include "pfctl/ctnetlink.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <optional>

#include <arpa/inet.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>

#include "base/netlink.h"
#include "pfctl/netlink_message.h"

namespace pfctl {
namespace {

using Address4 = boost::asio::ip::address_v4;
using Address6 = boost::asio::ip::address_v6;
using Kind = ConntrackAnswer::Kind;

constexpr std::uint16_t kGet = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET;
constexpr std::uint16_t kNew = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW;

using base::netlink::Attribute;
using base::netlink::for_each_attribute;
using base::netlink::Message;

void put_address(NetlinkMessage& message, std::uint16_t type4, std::uint16_t type6,
                 const base::Address& address) {
  if (address.is_v4()) {
    message.bytes(type4, address.to_v4().to_bytes());
  } else {
    message.bytes(type6, address.to_v6().to_bytes());
  }
}

template <std::size_t Size>
std::optional<std::array<unsigned char, Size>> payload(const Attribute& attribute) {
  if (attribute.value.size() != Size) return {};
  std::array<unsigned char, Size> bytes;
  std::memcpy(bytes.data(), attribute.value.data(), Size);
  return bytes;
}

std::optional<base::Address> address4(const Attribute& attribute) {
  const auto bytes = payload<4>(attribute);
  return bytes ? std::optional<base::Address>{Address4{*bytes}} : std::nullopt;
}

std::optional<base::Address> address6(const Attribute& attribute) {
  const auto bytes = payload<16>(attribute);
  return bytes ? std::optional<base::Address>{Address6{*bytes}} : std::nullopt;
}

std::optional<std::uint16_t> port(const Attribute& attribute) {
  const auto bytes = payload<2>(attribute);
  return bytes ? std::optional<std::uint16_t>{static_cast<std::uint16_t>((*bytes)[0] << 8 |
                                                                         (*bytes)[1])}
               : std::nullopt;
}

struct Tuple {
  std::optional<base::Address> source, destination;
  std::optional<std::uint16_t> source_port, destination_port;
  bool tcp = false;
};

void read_addresses(std::string_view nest, Tuple& tuple) {
  for_each_attribute(nest, [&](const Attribute& attribute) {
    switch (attribute.type) {
      case CTA_IP_V4_SRC:
        tuple.source = address4(attribute);
        break;
      case CTA_IP_V4_DST:
        tuple.destination = address4(attribute);
        break;
      case CTA_IP_V6_SRC:
        tuple.source = address6(attribute);
        break;
      case CTA_IP_V6_DST:
        tuple.destination = address6(attribute);
        break;
      default:
        break;
    }
  });
}

void read_ports(std::string_view nest, Tuple& tuple) {
  for_each_attribute(nest, [&](const Attribute& attribute) {
    switch (attribute.type) {
      case CTA_PROTO_NUM:
        tuple.tcp = payload<1>(attribute) == std::array<unsigned char, 1>{IPPROTO_TCP};
        break;
      case CTA_PROTO_SRC_PORT:
        tuple.source_port = port(attribute);
        break;
      case CTA_PROTO_DST_PORT:
        tuple.destination_port = port(attribute);
        break;
      default:
        break;
    }
  });
}

Tuple read_tuple(std::string_view nest) {
  Tuple tuple;
  for_each_attribute(nest, [&](const Attribute& attribute) {
    if (attribute.type == CTA_TUPLE_IP) read_addresses(attribute.value, tuple);
    if (attribute.type == CTA_TUPLE_PROTO) read_ports(attribute.value, tuple);
  });
  return tuple;
}

ConntrackAnswer read_connection(const Message& message) {
  ConntrackAnswer answer;
  if (message.body.size() < kNfgenmsg) return answer;
  Tuple tuple;
  const auto attributes = base::netlink::behind_struct(message.body, kNfgenmsg);
  for_each_attribute(attributes, [&](const Attribute& attribute) {
    if (attribute.type == CTA_TUPLE_ORIG) tuple = read_tuple(attribute.value);
    if (attribute.type != CTA_MARK) return;
    answer.original.mark = base::netlink::network_number(attribute.value);
  });
  if (!tuple.tcp || !tuple.source || !tuple.destination || !tuple.source_port ||
      !tuple.destination_port) {
    return answer;
  }
  answer.original.source = {*tuple.source, *tuple.source_port};
  answer.original.destination = {*tuple.destination, *tuple.destination_port};
  answer.kind = Kind::found;
  return answer;
}

ConntrackAnswer read_error(const Message& message) {
  const auto error = message.error();
  if (!error || *error == 0) return {};
  return {*error == ENOENT ? Kind::unknown : Kind::refused, {}, *error};
}

}  // namespace

std::string encode_conntrack_query(std::uint32_t sequence, const base::Endpoint& source,
                                   const base::Endpoint& destination) {
  NetlinkMessage query(kGet, 0, sequence, source.address().is_v4() ? AF_INET : AF_INET6, 0);
  query.nest(CTA_TUPLE_REPLY, [&] {
    query.nest(CTA_TUPLE_IP, [&] {
      put_address(query, CTA_IP_V4_SRC, CTA_IP_V6_SRC, source.address());
      put_address(query, CTA_IP_V4_DST, CTA_IP_V6_DST, destination.address());
    });
    query.nest(CTA_TUPLE_PROTO, [&] {
      query.bytes(CTA_PROTO_NUM, raw(std::uint8_t{IPPROTO_TCP}));
      query.bytes(CTA_PROTO_SRC_PORT, raw(htons(source.port())));
      query.bytes(CTA_PROTO_DST_PORT, raw(htons(destination.port())));
    });
  });
  return query.view();
}

ConntrackAnswer decode_conntrack_answer(std::string_view bytes, std::uint32_t sequence) {
  const auto message = base::netlink::take_message(bytes);
  if (!message) return {};
  if (message->sequence != sequence) return {Kind::foreign, {}, 0};
  if (message->type == base::netlink::kError) return read_error(*message);
  if (message->type == kNew) return read_connection(*message);
  return {Kind::foreign, {}, 0};
}

}  // namespace pfctl
