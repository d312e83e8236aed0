// The expressions are those that nft(8) 1.0.6 makes of the rule's text, or it could not print it
// back. Attribute names are the kernel's (linux/netfilter/nf_tables.h).
#include "pfctl/nft_expressions.h"

#include <cstddef>
#include <cstring>
#include <span>
#include <tuple>

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_conntrack_tuple_common.h>
#include <linux/netfilter/nf_nat.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nf_tables_compat.h>
#include <linux/netfilter/x_tables.h>
#include <linux/netfilter/xt_NFQUEUE.h>
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
  void equals(Bytes value) { compare(NFT_CMP_EQ, value); }
  void differs_from(Bytes value) { compare(NFT_CMP_NEQ, value); }
  void is_at_least(Bytes value) { compare(NFT_CMP_GTE, value); }
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
  void tracking_state() {
    expression("ct", [&] {
      message_.number(NFTA_CT_KEY, NFT_CT_STATE);
      message_.number(NFTA_CT_DREG, NFT_REG_1);
    });
  }
  void tracking_direction() {
    expression("ct", [&] {
      message_.number(NFTA_CT_KEY, NFT_CT_DIRECTION);
      message_.number(NFTA_CT_DREG, NFT_REG_1);
    });
  }
  void limit(const Limit& limit) {
    expression("limit", [&] {
      message_.big_number(NFTA_LIMIT_RATE, limit.per_second);
      message_.big_number(NFTA_LIMIT_UNIT, 1);  // second
      message_.number(NFTA_LIMIT_BURST, limit.burst);
      message_.number(NFTA_LIMIT_TYPE, NFT_LIMIT_PKTS);
      message_.number(NFTA_LIMIT_FLAGS, 0);
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
  void original_zone() {
    expression("ct", [&] {
      message_.number(NFTA_CT_KEY, NFT_CT_ZONE);
      message_.number(NFTA_CT_DREG, NFT_REG_1);
      message_.bytes(NFTA_CT_DIRECTION, raw(static_cast<unsigned char>(IP_CT_DIR_ORIGINAL)));
    });
  }
  void clear_in_mark(std::uint32_t bits) {
    meta(NFT_META_MARK);
    masked(raw(~bits));
    expression("meta", [&] {
      message_.number(NFTA_META_KEY, NFT_META_MARK);
      message_.number(NFTA_META_SREG, NFT_REG_1);
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
  void verdict(int code, const char* chain = nullptr) {
    expression("immediate", [&] {
      message_.number(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
      message_.nest(NFTA_IMMEDIATE_DATA, [&] {
        message_.nest(NFTA_DATA_VERDICT, [&] {
          message_.number(NFTA_VERDICT_CODE, static_cast<std::uint32_t>(code));
          if (chain) message_.text(NFTA_VERDICT_CHAIN, chain);
        });
      });
    });
  }
  void reject(std::uint32_t type, unsigned char code) {
    expression("reject", [&] {
      message_.number(NFTA_REJECT_TYPE, type);
      message_.bytes(NFTA_REJECT_ICMP_CODE, raw(code));
    });
  }
  void queue(const Queueing& queueing) {
    const std::uint16_t flags = queueing.count == 1
                                    ? NFT_QUEUE_FLAG_BYPASS
                                    : NFT_QUEUE_FLAG_BYPASS | NFT_QUEUE_FLAG_CPU_FANOUT;
    expression("queue", [&] {
      message_.bytes(NFTA_QUEUE_NUM, raw(htons(queueing.first)));
      message_.bytes(NFTA_QUEUE_TOTAL, raw(htons(queueing.count)));
      message_.bytes(NFTA_QUEUE_FLAGS, raw(htons(flags)));
    });
  }
  void log_to(std::uint16_t group) {
    expression("log", [&] {
      message_.bytes(NFTA_LOG_GROUP, raw(htons(group)));
      message_.number(NFTA_LOG_SNAPLEN, kCopyBytes);
      message_.bytes(NFTA_LOG_QTHRESHOLD, raw(htons(1)));
    });
  }
  /// The xtables target, through nft_compat.
  void queue_target(const Queueing& queueing) {
    constexpr std::uint32_t kRevision = 3;
    const xt_NFQ_info_v3 info{
        queueing.first, queueing.count,
        static_cast<std::uint16_t>(queueing.count == 1 ? NFQ_FLAG_BYPASS
                                                       : NFQ_FLAG_BYPASS | NFQ_FLAG_CPU_FANOUT)};
    std::array<unsigned char, XT_ALIGN(sizeof info)> bytes{};
    std::memcpy(bytes.data(), &info, sizeof info);
    expression("target", [&] {
      message_.text(NFTA_TARGET_NAME, "NFQUEUE");
      message_.number(NFTA_TARGET_REV, kRevision);
      message_.bytes(NFTA_TARGET_INFO, bytes);
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
  void compare(std::uint32_t operation, Bytes value) {
    expression("cmp", [&] {
      message_.number(NFTA_CMP_SREG, NFT_REG_1);
      message_.number(NFTA_CMP_OP, operation);
      data(NFTA_CMP_DATA, value);
    });
  }
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
    for (unsigned bit = 0; bit < prefix; ++bit)
      mask[bit / 8] |= static_cast<unsigned char>(0x80U >> bit % 8);
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

void put_protocol(Expressions& out, unsigned char protocol) {
  out.meta(NFT_META_L4PROTO);
  out.equals(raw(protocol));
}

constexpr std::size_t kUdpLength = 4, kUdpHeader = 8;

void put_long_header(Expressions& out) {
  constexpr unsigned char kLong = 0x80;
  out.payload(NFT_PAYLOAD_TRANSPORT_HEADER, kUdpLength, sizeof kQuicLength);
  out.is_at_least(raw(htons(kQuicLength)));
  out.payload(NFT_PAYLOAD_TRANSPORT_HEADER, kUdpHeader, 1);
  out.masked(raw(kLong));
  out.equals(raw(kLong));
}

void put_quic_versions(Expressions& out, const QuicVersions& versions) {
  const auto bytes = raw(htonl(versions.first));
  out.payload(NFT_PAYLOAD_TRANSPORT_HEADER, kUdpHeader + 1, versions.bits / 8);
  out.equals(Bytes{bytes}.first(versions.bits / 8));
}

void put_transport(Expressions& out, const NftRule& rule, std::uint32_t set) {
  if (rule.transport == Transport::any) return;
  put_protocol(out, rule.transport == Transport::udp ? IPPROTO_UDP : IPPROTO_TCP);
  if (rule.transport == Transport::syn) {
    constexpr std::size_t kFlags = 13;
    out.payload(NFT_PAYLOAD_TRANSPORT_HEADER, kFlags, 1);
    out.masked(raw(static_cast<unsigned char>(TH_FIN | TH_SYN | TH_RST | TH_ACK)));
    out.equals(raw(static_cast<unsigned char>(TH_SYN)));
  }
  if (rule.source_port) {
    out.payload(NFT_PAYLOAD_TRANSPORT_HEADER, 0, sizeof(std::uint16_t));
    out.equals(raw(htons(rule.source_port)));
  }
  if (!rule.ports.empty()) {
    out.payload(NFT_PAYLOAD_TRANSPORT_HEADER, offsetof(tcphdr, th_dport), sizeof(std::uint16_t));
    set ? out.in_set(set) : out.equals(raw(htons(rule.ports[0].first)));
  }
  if (rule.long_header) put_long_header(out);
}

void put_mark(Expressions& out, const NftRule& rule) {
  if (!rule.mark && !rule.mark_bit) return;
  out.meta(NFT_META_MARK);
  if (rule.mark_bit) out.masked(raw(*rule.mark_bit));
  out.equals(raw(rule.mark ? *rule.mark : *rule.mark_bit));
}

void put_outcome(Expressions& out, const Leave&) {
  out.verdict(NFT_RETURN);
}
void put_outcome(Expressions& out, const ToListener& to) {
  out.redirect_to(to.port);
}
void put_outcome(Expressions& out, const IntoZone& into) {
  out.zone_of_original(kZone);
  if (into.clear_mark) out.clear_in_mark(into.clear_mark);
}
void put_outcome(Expressions& out, const Jump& jump) {
  out.verdict(NFT_JUMP, jump.chain);
}
void put_outcome(Expressions& out, const Hold& hold) {
  hold.in.native ? out.queue(hold.in) : out.queue_target(hold.in);
}
void put_outcome(Expressions& out, const Copy& copy) {
  out.log_to(copy.group);
}
void put_outcome(Expressions& out, const Refuse& refuse) {
  switch (refuse.how) {
    case Refusal::reset:
      return out.reject(NFT_REJECT_TCP_RST, 0);
    case Refusal::no_route:
      return out.reject(NFT_REJECT_ICMPX_UNREACH, NFT_REJECT_ICMPX_NO_ROUTE);
    case Refusal::host_unreachable:
      return out.reject(NFT_REJECT_ICMPX_UNREACH, NFT_REJECT_ICMPX_HOST_UNREACH);
    case Refusal::prohibited:
      return out.reject(NFT_REJECT_ICMPX_UNREACH, NFT_REJECT_ICMPX_ADMIN_PROHIBITED);
    case Refusal::port_unreachable:
      return out.reject(NFT_REJECT_ICMPX_UNREACH, NFT_REJECT_ICMPX_PORT_UNREACH);
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
  put_transport(out, rule, sets.ports);
  put_mark(out, rule);
  if (rule.cpu) {
    out.meta(NFT_META_CPU);
    out.equals(raw(*rule.cpu));
  }
  if (rule.own_zone) {
    out.original_zone();
    out.equals(raw(kZone));
  }
  if (rule.untracked_yet) {
    constexpr std::uint32_t kNew = NF_CT_STATE_BIT(IP_CT_NEW);
    out.tracking_state();
    out.masked(raw(kNew));
    out.differs_from(raw(std::uint32_t{0}));
  }
  if (rule.reply) {
    constexpr std::uint32_t kEstablished = NF_CT_STATE_BIT(IP_CT_ESTABLISHED);
    out.tracking_state();
    out.masked(raw(kEstablished));
    out.differs_from(raw(std::uint32_t{0}));
    out.tracking_direction();
    out.equals(raw(static_cast<unsigned char>(IP_CT_DIR_REPLY)));
  }
  if (rule.quic_versions) put_quic_versions(out, *rule.quic_versions);
  if (rule.limit) out.limit(*rule.limit);
  std::visit([&](const auto& outcome) { put_outcome(out, outcome); }, rule.outcome);
}

}  // namespace pfctl
