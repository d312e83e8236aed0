// Attribute by attribute (linux/netfilter/nfnetlink_conntrack.h): a connection is CTA_TUPLE_ORIG {
// CTA_TUPLE_IP, CTA_TUPLE_PROTO }, CTA_MARK and much that is not looked at. Lengths are checked
// before anything is read.
#include "pfctl/ctnetlink.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>

#include "pfctl/netlink_bounds.h"

namespace pfctl {
namespace {

using Address4 = boost::asio::ip::address_v4;
using Address6 = boost::asio::ip::address_v6;
using Kind = ConntrackAnswer::Kind;

constexpr std::uint16_t kGet = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET;
constexpr std::uint16_t kNew = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW;

void put_address(nlmsghdr* header, std::uint16_t type4, std::uint16_t type6,
                 const base::Address& address) {
  if (address.is_v4()) {
    const auto bytes = address.to_v4().to_bytes();
    mnl_attr_put(header, type4, bytes.size(), bytes.data());
  } else {
    const auto bytes = address.to_v6().to_bytes();
    mnl_attr_put(header, type6, bytes.size(), bytes.data());
  }
}

template <std::size_t Size>
std::optional<std::array<unsigned char, Size>> payload(const nlattr* attribute) {
  if (mnl_attr_get_payload_len(attribute) != Size) return {};
  std::array<unsigned char, Size> bytes;
  std::memcpy(bytes.data(), mnl_attr_get_payload(attribute), Size);
  return bytes;
}

std::optional<base::Address> address4(const nlattr* attribute) {
  const auto bytes = payload<4>(attribute);
  return bytes ? std::optional<base::Address>{Address4{*bytes}} : std::nullopt;
}

std::optional<base::Address> address6(const nlattr* attribute) {
  const auto bytes = payload<16>(attribute);
  return bytes ? std::optional<base::Address>{Address6{*bytes}} : std::nullopt;
}

std::optional<std::uint16_t> port(const nlattr* attribute) {
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

void read_addresses(const nlattr* nest, Tuple& tuple) {
  for_each_nested(nest, [&](const nlattr* attribute) {
    switch (mnl_attr_get_type(attribute)) {
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

void read_ports(const nlattr* nest, Tuple& tuple) {
  for_each_nested(nest, [&](const nlattr* attribute) {
    switch (mnl_attr_get_type(attribute)) {
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

Tuple read_tuple(const nlattr* nest) {
  Tuple tuple;
  for_each_nested(nest, [&](const nlattr* attribute) {
    if (mnl_attr_get_type(attribute) == CTA_TUPLE_IP) read_addresses(attribute, tuple);
    if (mnl_attr_get_type(attribute) == CTA_TUPLE_PROTO) read_ports(attribute, tuple);
  });
  return tuple;
}

ConntrackAnswer read_connection(const nlmsghdr* header) {
  ConntrackAnswer answer;
  if (mnl_nlmsg_get_payload_len(header) < sizeof(nfgenmsg)) return answer;
  Tuple tuple;
  for_each_in_message(header, sizeof(nfgenmsg), [&](const nlattr* attribute) {
    if (mnl_attr_get_type(attribute) == CTA_TUPLE_ORIG) tuple = read_tuple(attribute);
    if (mnl_attr_get_type(attribute) != CTA_MARK) return;
    if (const auto mark = payload<4>(attribute)) {
      std::memcpy(&answer.original.mark, mark->data(), sizeof answer.original.mark);
      answer.original.mark = ntohl(answer.original.mark);
    }
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

ConntrackAnswer read_error(const nlmsghdr* header) {
  std::int32_t error = 0;
  if (mnl_nlmsg_get_payload_len(header) < sizeof error) return {};
  std::memcpy(&error, mnl_nlmsg_get_payload(header), sizeof error);
  if (error == 0) return {};
  return {error == -ENOENT ? Kind::unknown : Kind::refused, {}, base::netlink_errno(error)};
}

}  // namespace

ConntrackQuery encode_conntrack_query(std::uint32_t sequence, const base::Endpoint& source,
                                      const base::Endpoint& destination) {
  ConntrackQuery query;
  nlmsghdr* header = mnl_nlmsg_put_header(query.room.data());
  header->nlmsg_type = kGet;
  header->nlmsg_flags = NLM_F_REQUEST;
  header->nlmsg_seq = sequence;
  auto* extra = static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(header, sizeof(nfgenmsg)));
  extra->nfgen_family = source.address().is_v4() ? AF_INET : AF_INET6;
  extra->version = NFNETLINK_V0;
  nlattr* tuple = mnl_attr_nest_start(header, CTA_TUPLE_REPLY);
  nlattr* addresses = mnl_attr_nest_start(header, CTA_TUPLE_IP);
  put_address(header, CTA_IP_V4_SRC, CTA_IP_V6_SRC, source.address());
  put_address(header, CTA_IP_V4_DST, CTA_IP_V6_DST, destination.address());
  mnl_attr_nest_end(header, addresses);
  nlattr* ports = mnl_attr_nest_start(header, CTA_TUPLE_PROTO);
  mnl_attr_put_u8(header, CTA_PROTO_NUM, IPPROTO_TCP);
  mnl_attr_put_u16(header, CTA_PROTO_SRC_PORT, htons(source.port()));
  mnl_attr_put_u16(header, CTA_PROTO_DST_PORT, htons(destination.port()));
  mnl_attr_nest_end(header, ports);
  mnl_attr_nest_end(header, tuple);
  query.size = header->nlmsg_len;
  return query;
}

ConntrackAnswer decode_conntrack_answer(std::string_view bytes, std::uint32_t sequence) {
  const nlmsghdr* header = first_message(bytes);
  if (!header) return {};
  if (header->nlmsg_seq != sequence) return {Kind::foreign, {}, 0};
  if (header->nlmsg_type == NLMSG_ERROR) return read_error(header);
  if (header->nlmsg_type == kNew) return read_connection(header);
  return {Kind::foreign, {}, 0};
}

}  // namespace pfctl
