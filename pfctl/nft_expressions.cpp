// The expressions are those that nft(8) 1.0.6 makes of the rule's text, or it could not print it back.
// Attribute names are the kernel's (linux/netfilter/nf_tables.h).
#include "pfctl/nft_expressions.h"

#include <cstddef>
#include <span>
#include <tuple>

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_tuple_common.h>
#include <linux/netfilter/nf_nat.h>
#include <linux/netfilter/nf_tables.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>

namespace pfctl {
namespace {

using Bytes = std::span<const unsigned char>;

// The expressions of one rule; each is NAME and its attributes in a list element.
class Expressions {
 public:
  explicit Expressions(NetlinkMessage& message) : message_(message) {}

  void meta(std::uint32_t key) {
    expression("meta", [&] {
      message_.number(NFTA_META_KEY, key);
      message_.number(NFTA_META_DREG, NFT_REG_1);
    });
  }
  void cgroup_at(std::uint32_t level) {
    expression("socket", [&] {
      message_.number(NFTA_SOCKET_KEY, NFT_SOCKET_CGROUPV2);
      message_.number(NFTA_SOCKET_DREG, NFT_REG_1);
      message_.number(NFTA_SOCKET_LEVEL, level);
    });
  }
  void equals(Bytes value) {
    expression("cmp", [&] {
      message_.number(NFTA_CMP_SREG, NFT_REG_1);
      message_.number(NFTA_CMP_OP, NFT_CMP_EQ);
      data(NFTA_CMP_DATA, value);
    });
  }
  void payload(std::uint32_t base, std::size_t offset, std::size_t length) {
    expression("payload", [&] {
      message_.number(NFTA_PAYLOAD_DREG, NFT_REG_1);
      message_.number(NFTA_PAYLOAD_BASE, base);
      message_.number(NFTA_PAYLOAD_OFFSET, static_cast<std::uint32_t>(offset));
      message_.number(NFTA_PAYLOAD_LEN, static_cast<std::uint32_t>(length));
    });
  }
  void masked(Bytes mask) {
    const std::array<unsigned char, 16> zero{};
    expression("bitwise", [&] {
      message_.number(NFTA_BITWISE_SREG, NFT_REG_1);
      message_.number(NFTA_BITWISE_DREG, NFT_REG_1);
      message_.number(NFTA_BITWISE_LEN, static_cast<std::uint32_t>(mask.size()));
      data(NFTA_BITWISE_MASK, mask);
      data(NFTA_BITWISE_XOR, Bytes{zero}.first(mask.size()));
    });
  }
  void destination_type() {
    expression("fib", [&] {
      message_.number(NFTA_FIB_FLAGS, NFTA_FIB_F_DADDR);
      message_.number(NFTA_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE);
      message_.number(NFTA_FIB_DREG, NFT_REG_1);
    });
  }
  void in_set(std::uint32_t set_id) {
    expression("lookup", [&] {
      message_.number(NFTA_LOOKUP_SREG, NFT_REG_1);
      message_.text(NFTA_LOOKUP_SET, kSetName);
      message_.number(NFTA_LOOKUP_SET_ID, set_id);
    });
  }
  void zone_of_original(std::uint16_t zone) {
    expression("immediate", [&] {
      message_.number(NFTA_IMMEDIATE_DREG, NFT_REG_1);
      data(NFTA_IMMEDIATE_DATA, raw(zone));
    });
    expression("ct", [&] {
      message_.number(NFTA_CT_KEY, NFT_CT_ZONE);
      message_.number(NFTA_CT_SREG, NFT_REG_1);
      message_.bytes(NFTA_CT_DIRECTION, raw(static_cast<unsigned char>(IP_CT_DIR_ORIGINAL)));
    });
  }
  void return_verdict() {
    expression("immediate", [&] {
      message_.number(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
      message_.nest(NFTA_IMMEDIATE_DATA, [&] {
        message_.nest(NFTA_DATA_VERDICT,
                      [&] { message_.number(NFTA_VERDICT_CODE, static_cast<std::uint32_t>(NFT_RETURN)); });
      });
    });
  }
  void redirect_to(std::uint16_t port) {
    expression("immediate", [&] {
      message_.number(NFTA_IMMEDIATE_DREG, NFT_REG_1);
      data(NFTA_IMMEDIATE_DATA, raw(htons(port)));
    });
    expression("redir", [&] {
      message_.number(NFTA_REDIR_REG_PROTO_MIN, NFT_REG_1);
      message_.number(NFTA_REDIR_FLAGS, NF_NAT_RANGE_PROTO_SPECIFIED);
    });
  }

 private:
  template <class Body>
  void expression(const char* name, Body body) {
    message_.nest(NFTA_LIST_ELEM, [&] {
      message_.text(NFTA_EXPR_NAME, name);
      message_.nest(NFTA_EXPR_DATA, body);
    });
  }
  void data(std::uint16_t type, Bytes value) {
    message_.nest(type, [&] { message_.bytes(NFTA_DATA_VALUE, value); });
  }

  NetlinkMessage& message_;
};

void put_family(Expressions& out, bool ipv4) {
  out.meta(NFT_META_NFPROTO);
  out.equals(raw(static_cast<unsigned char>(ipv4 ? NFPROTO_IPV4 : NFPROTO_IPV6)));
}

template <class Address>
void put_network(Expressions& out, std::size_t offset, const Address& address, unsigned prefix) {
  const auto bytes = address.to_bytes();
  out.payload(NFT_PAYLOAD_NETWORK_HEADER, offset, bytes.size());
  if (prefix < 8 * bytes.size()) {
    std::array<unsigned char, std::tuple_size_v<decltype(bytes)>> mask{};
    for (unsigned bit = 0; bit < prefix; ++bit) mask[bit / 8] |= static_cast<unsigned char>(0x80U >> bit % 8);
    out.masked(mask);
  }
  out.equals(bytes);
}

void put_destination(Expressions& out, const base::Network& network) {
  put_family(out, network.address.is_v4());
  if (network.address.is_v4()) {
    put_network(out, offsetof(iphdr, daddr), network.address.to_v4(), network.prefix);
  } else {
    put_network(out, offsetof(ip6_hdr, ip6_dst), network.address.to_v6(), network.prefix);
  }
}

void put_ports(Expressions& out, const std::vector<base::PortRange>& ports, std::uint32_t set) {
  out.meta(NFT_META_L4PROTO);
  out.equals(raw(static_cast<unsigned char>(IPPROTO_TCP)));
  if (ports.empty()) return;
  out.payload(NFT_PAYLOAD_TRANSPORT_HEADER, offsetof(tcphdr, th_dport), sizeof(std::uint16_t));
  if (set) {
    out.in_set(set);
  } else {
    out.equals(raw(htons(ports[0].first)));
  }
}

}  // namespace

void put_expressions(NetlinkMessage& message, const NftRule& rule, const RuleSets& sets) {
  Expressions out(message);
  if (rule.group) {
    out.meta(NFT_META_SKGID);
    out.equals(raw(*rule.group));
  }
  if (rule.cgroup) {
    out.cgroup_at(rule.cgroup->level);
    out.equals(raw(rule.cgroup->id));
  }
  if (sets.types) {
    out.destination_type();
    out.in_set(sets.types);
  }
  if (rule.family) put_family(out, *rule.family == Family::ipv4);
  if (rule.destination) put_destination(out, *rule.destination);
  if (rule.tcp) put_ports(out, rule.ports, sets.ports);
  if (rule.own_zone) {
    out.zone_of_original(kZone);
  } else if (rule.redirect_to) {
    out.redirect_to(rule.redirect_to);
  } else {
    out.return_verdict();
  }
}

}  // namespace pfctl
