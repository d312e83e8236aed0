// nf_tables in netlink form, built with libmnl: libnftnl and libnftables are GPL-2 and cannot be linked with
// OpenSSL 3. Attribute names are the kernel's (linux/netfilter/nf_tables.h); the expressions of each rule are
// those that nft(8) 1.0.6 makes of the rule's text, or nft could not print it back.
#include "pfctl/nft_messages.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <span>

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_nat.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>

#include "pfctl/nft_rules.h"

namespace pfctl {
namespace {

using Bytes = std::span<const unsigned char>;

// nft's own numbers of key types, without which it cannot print a set's elements as it should.
constexpr std::uint32_t kKeyInetService = 13;
constexpr std::uint32_t kKeyFibAddrType = 38;
constexpr unsigned char kUserDataKeyByteOrder = 0;
enum class ByteOrder : std::uint32_t { host = 1, big_endian = 2 };

// All sets are anonymous: the kernel puts a number in place of %d.
constexpr const char* kSetName = "__set%d";
constexpr std::size_t kElementsPerMessage = 200;
constexpr std::size_t kRoom = 8 << 10;

// A message under construction. Every message that is built here is far smaller than the room: the only list
// that grows with the ruleset is cut into kElementsPerMessage.
class Message {
 public:
  Message(std::uint16_t type, std::uint16_t flags, std::uint32_t sequence, std::uint8_t family,
          std::uint16_t resource)
      : header_(mnl_nlmsg_put_header(room_.data())) {
    header_->nlmsg_type = type;
    header_->nlmsg_flags = NLM_F_REQUEST | flags;
    header_->nlmsg_seq = sequence;
    auto* extra = static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(header_, sizeof(nfgenmsg)));
    extra->nfgen_family = family;
    extra->version = NFNETLINK_V0;
    extra->res_id = htons(resource);
  }
  Message(const Message&) = delete;
  Message& operator=(const Message&) = delete;

  void text(std::uint16_t type, const char* value) { mnl_attr_put_strz(header_, type, value); }
  void number(std::uint16_t type, std::uint32_t value) { mnl_attr_put_u32(header_, type, htonl(value)); }
  void bytes(std::uint16_t type, Bytes value) { mnl_attr_put(header_, type, value.size(), value.data()); }

  template <class Body>
  void nest(std::uint16_t type, Body body) {
    nlattr* start = mnl_attr_nest_start(header_, type);
    body();
    mnl_attr_nest_end(header_, start);
  }

  [[nodiscard]] std::string_view view() const { return {room_.data(), header_->nlmsg_len}; }

 private:
  alignas(nlmsghdr) std::array<char, kRoom> room_{};  // zeroed: libmnl leaves the padding as it is
  nlmsghdr* header_;
};

template <class Number>
auto raw(Number value) {
  return std::bit_cast<std::array<unsigned char, sizeof value>>(value);
}

std::uint16_t nft_type(std::uint16_t message) {
  return NFNL_SUBSYS_NFTABLES << 8 | message;
}

// The expressions of one rule; each is NAME and its attributes in a list element.
class Expressions {
 public:
  explicit Expressions(Message& message) : message_(message) {}

  void meta(std::uint32_t key) {
    expression("meta", [&] {
      message_.number(NFTA_META_KEY, key);
      message_.number(NFTA_META_DREG, NFT_REG_1);
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

  Message& message_;
};

// An element of a set. In an interval set a range is its first key and, flagged as an end, the key behind its
// last; the stretch in front of the first range has an end of its own.
template <class Key>
struct Element {
  Key key;
  bool interval_end = false;
};

struct SetShape {
  std::uint32_t id;
  std::uint32_t key_type;
  std::uint32_t key_size;
  ByteOrder byte_order;
  std::uint32_t elements;
  bool interval;
};

class BatchBuilder {
 public:
  BatchBuilder() { bracket(NFNL_MSG_BATCH_BEGIN); }

  void add_table() {
    add({Step::Kind::table, {}}, NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL, [](Message& message) {
      message.text(NFTA_TABLE_NAME, kTableName);
      message.number(NFTA_TABLE_FLAGS, NFT_TABLE_F_OWNER);
    });
  }

  void remove_table(std::uint16_t flags) {
    add({Step::Kind::table, {}}, NFT_MSG_DELTABLE, flags,
        [](Message& message) { message.text(NFTA_TABLE_NAME, kTableName); });
  }

  void add_chain() {
    add({Step::Kind::chain, {}}, NFT_MSG_NEWCHAIN, NLM_F_CREATE | NLM_F_EXCL, [](Message& message) {
      message.text(NFTA_CHAIN_TABLE, kTableName);
      message.text(NFTA_CHAIN_NAME, kChainName);
      message.text(NFTA_CHAIN_TYPE, "nat");
      message.number(NFTA_CHAIN_POLICY, NF_ACCEPT);
      message.nest(NFTA_CHAIN_HOOK, [&] {
        message.number(NFTA_HOOK_HOOKNUM, NF_INET_LOCAL_OUT);
        message.number(NFTA_HOOK_PRIORITY, static_cast<std::uint32_t>(kChainPriority));
      });
    });
  }

  void add_rule(const NftRule& rule, std::uint16_t flags) {
    const Step step{Step::Kind::rule, render_nft_rule(rule)};
    const std::uint32_t types = rule.types.empty() ? 0 : add_type_set(step, rule.types);
    const std::uint32_t ports = needs_set(rule.ports) ? add_port_set(step, rule.ports) : 0;
    add(step, NFT_MSG_NEWRULE, NLM_F_CREATE | flags, [&](Message& message) {
      message.text(NFTA_RULE_TABLE, kTableName);
      message.text(NFTA_RULE_CHAIN, kChainName);
      message.nest(NFTA_RULE_EXPRESSIONS, [&] { put_conditions(message, rule, types, ports); });
    });
  }

  Batch finish() && {
    bracket(NFNL_MSG_BATCH_END);
    return std::move(batch_);
  }

 private:
  void bracket(std::uint16_t type) {
    const Message message(type, 0, next(), AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
    append({}, message);
  }

  template <class Body>
  void add(const Step& step, std::uint16_t type, std::uint16_t flags, Body body) {
    Message message(nft_type(type), flags, next(), NFPROTO_INET, 0);
    body(message);
    append(step, message);
  }

  [[nodiscard]] std::uint32_t next() const { return static_cast<std::uint32_t>(batch_.steps.size()); }

  void append(const Step& step, const Message& message) {
    batch_.bytes += message.view();
    batch_.steps.push_back(step);
  }

  static bool needs_set(const std::vector<base::PortRange>& ports) {
    return ports.size() > 1 || (ports.size() == 1 && ports[0].first != ports[0].last);
  }

  void add_set(const Step& step, const SetShape& shape) {
    add(step, NFT_MSG_NEWSET, NLM_F_CREATE, [&](Message& message) {
      message.text(NFTA_SET_TABLE, kTableName);
      message.text(NFTA_SET_NAME, kSetName);
      message.number(NFTA_SET_FLAGS,
                     NFT_SET_ANONYMOUS | NFT_SET_CONSTANT | (shape.interval ? NFT_SET_INTERVAL : 0));
      message.number(NFTA_SET_KEY_TYPE, shape.key_type);
      message.number(NFTA_SET_KEY_LEN, shape.key_size);
      message.number(NFTA_SET_ID, shape.id);
      message.nest(NFTA_SET_DESC, [&] { message.number(NFTA_SET_DESC_SIZE, shape.elements); });
      std::array<unsigned char, 6> order{kUserDataKeyByteOrder, 4};
      std::ranges::copy(raw(shape.byte_order), order.begin() + 2);
      message.bytes(NFTA_SET_USERDATA, order);
    });
  }

  template <class Key>
  void add_elements(const Step& step, std::uint32_t set_id, std::span<const Element<Key>> elements) {
    for (; !elements.empty(); elements = elements.subspan(std::min(elements.size(), kElementsPerMessage))) {
      add(step, NFT_MSG_NEWSETELEM, NLM_F_CREATE, [&](Message& message) {
        message.text(NFTA_SET_ELEM_LIST_TABLE, kTableName);
        message.text(NFTA_SET_ELEM_LIST_SET, kSetName);
        message.number(NFTA_SET_ELEM_LIST_SET_ID, set_id);
        message.nest(NFTA_SET_ELEM_LIST_ELEMENTS, [&] {
          for (const auto& element : elements.first(std::min(elements.size(), kElementsPerMessage))) {
            put_element(message, element);
          }
        });
      });
    }
  }

  template <class Key>
  static void put_element(Message& message, const Element<Key>& element) {
    message.nest(NFTA_LIST_ELEM, [&] {
      if (element.interval_end) message.number(NFTA_SET_ELEM_FLAGS, NFT_SET_ELEM_INTERVAL_END);
      message.nest(NFTA_SET_ELEM_KEY, [&] { message.bytes(NFTA_DATA_VALUE, raw(element.key)); });
    });
  }

  std::uint32_t add_type_set(const Step& step, const std::vector<AddressType>& types) {
    std::vector<Element<std::uint32_t>> elements;
    for (const auto type : types) elements.push_back({static_cast<std::uint32_t>(type)});
    const auto count = static_cast<std::uint32_t>(elements.size());
    add_set(step, {++sets_, kKeyFibAddrType, sizeof(std::uint32_t), ByteOrder::host, count, false});
    add_elements<std::uint32_t>(step, sets_, elements);
    return sets_;
  }

  std::uint32_t add_port_set(const Step& step, const std::vector<base::PortRange>& ports) {
    const bool interval =
        std::ranges::any_of(ports, [](const base::PortRange& range) { return range.first != range.last; });
    std::vector<Element<std::uint16_t>> elements;
    if (interval) elements.push_back({0, true});
    for (const auto& [first, last] : ports) {
      elements.push_back({htons(first)});
      // No key lies behind 65535: that range stays open.
      if (interval && last < 0xffff) elements.push_back({htons(static_cast<std::uint16_t>(last + 1)), true});
    }
    const auto count = static_cast<std::uint32_t>(elements.size());
    add_set(step, {++sets_, kKeyInetService, sizeof(std::uint16_t), ByteOrder::big_endian, count, interval});
    add_elements<std::uint16_t>(step, sets_, elements);
    return sets_;
  }

  static void put_family(Expressions& out, bool ipv4) {
    out.meta(NFT_META_NFPROTO);
    out.equals(raw(static_cast<unsigned char>(ipv4 ? NFPROTO_IPV4 : NFPROTO_IPV6)));
  }

  template <class Address>
  static void put_network(Expressions& out, std::size_t offset, const Address& address, unsigned prefix) {
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

  static void put_destination(Expressions& out, const base::Network& network) {
    put_family(out, network.address.is_v4());
    if (network.address.is_v4()) {
      put_network(out, offsetof(iphdr, daddr), network.address.to_v4(), network.prefix);
    } else {
      put_network(out, offsetof(ip6_hdr, ip6_dst), network.address.to_v6(), network.prefix);
    }
  }

  static void put_conditions(Message& message, const NftRule& rule, std::uint32_t types,
                             std::uint32_t ports) {
    Expressions out(message);
    if (rule.group) {
      out.meta(NFT_META_SKGID);
      out.equals(raw(*rule.group));
    }
    if (types) {
      out.destination_type();
      out.in_set(types);
    }
    if (rule.family) put_family(out, *rule.family == Family::ipv4);
    if (rule.destination) put_destination(out, *rule.destination);
    if (rule.tcp) put_ports(out, rule.ports, ports);
    if (rule.redirect_to) {
      out.redirect_to(rule.redirect_to);
    } else {
      out.return_verdict();
    }
  }

  static void put_ports(Expressions& out, const std::vector<base::PortRange>& ports, std::uint32_t set) {
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

  Batch batch_;
  std::uint32_t sets_ = 0;
};

}  // namespace

Batch install_batch(const Ruleset& ruleset) {
  BatchBuilder builder;
  builder.add_table();
  builder.add_chain();
  const auto rules = nft_rules(ruleset);
  for (const auto& rule : rules) {
    builder.add_rule(rule, NLM_F_APPEND | (&rule == &rules.back() ? NLM_F_ACK : 0));
  }
  return std::move(builder).finish();
}

Batch stop_batch() {
  BatchBuilder builder;
  builder.add_rule({}, NLM_F_ACK);
  return std::move(builder).finish();
}

Batch removal_batch() {
  BatchBuilder builder;
  builder.remove_table(NLM_F_ACK);
  return std::move(builder).finish();
}

std::string table_query(std::uint32_t sequence) {
  Message message(nft_type(NFT_MSG_GETTABLE), 0, sequence, NFPROTO_INET, 0);
  message.text(NFTA_TABLE_NAME, kTableName);
  return std::string(message.view());
}

}  // namespace pfctl
