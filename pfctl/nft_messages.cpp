// nf_tables in netlink form, written by hand: libnftnl and libnftables are GPL-2 and cannot be
// linked with OpenSSL 3. Order and attributes are those that nft(8) 1.0.6 sends.
#include "pfctl/nft_messages.h"

#include <algorithm>
#include <array>
#include <span>

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>

#include "pfctl/netlink_message.h"
#include "pfctl/nft_expressions.h"
#include "pfctl/nft_rules.h"

namespace pfctl {
namespace {

// nft's own numbers of key types, without which it cannot print a set's elements as it should.
constexpr std::uint32_t kKeyInetService = 13;
constexpr std::uint32_t kKeyFibAddrType = 38;
constexpr unsigned char kUserDataKeyByteOrder = 0;
enum class ByteOrder : std::uint32_t { host = 1, big_endian = 2 };

constexpr std::size_t kElementsPerMessage = 200;

std::uint16_t nft_type(std::uint16_t message) {
  return NFNL_SUBSYS_NFTABLES << 8 | message;
}

// An element of a set. In an interval set a range is its first key and, flagged as an end, the key
// behind its last; the stretch in front of the first range has an end of its own.
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
  explicit BatchBuilder(std::string table = kTableName) : table_(std::move(table)) {
    bracket(NFNL_MSG_BATCH_BEGIN);
  }

  void add_table() {
    add({Step::Kind::table, {}}, NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL,
        [&](NetlinkMessage& message) {
          message.text(NFTA_TABLE_NAME, table_.c_str());
          message.number(NFTA_TABLE_FLAGS, NFT_TABLE_F_OWNER);
        });
  }

  void remove_table(std::uint16_t flags) {
    add({Step::Kind::table, {}}, NFT_MSG_DELTABLE, flags,
        [&](NetlinkMessage& message) { message.text(NFTA_TABLE_NAME, table_.c_str()); });
  }

  void add_chain(const NftChain& chain) {
    add({Step::Kind::chain, {}}, NFT_MSG_NEWCHAIN, NLM_F_CREATE | NLM_F_EXCL,
        [&](NetlinkMessage& message) {
          message.text(NFTA_CHAIN_TABLE, table_.c_str());
          message.text(NFTA_CHAIN_NAME, chain.name);
          if (!chain.type) return;
          message.text(NFTA_CHAIN_TYPE, chain.type);
          message.number(NFTA_CHAIN_POLICY, NF_ACCEPT);
          message.nest(NFTA_CHAIN_HOOK, [&] {
            message.number(NFTA_HOOK_HOOKNUM,
                           chain.hook == Hook::output ? NF_INET_LOCAL_OUT : NF_INET_LOCAL_IN);
            message.number(NFTA_HOOK_PRIORITY, static_cast<std::uint32_t>(chain.priority));
          });
        });
  }

  void remove_rules(const char* chain) {
    add({Step::Kind::chain, {}}, NFT_MSG_DELRULE, 0, [&](NetlinkMessage& message) {
      message.text(NFTA_RULE_TABLE, table_.c_str());
      message.text(NFTA_RULE_CHAIN, chain);
    });
  }

  /// In the chain's order; `acknowledged`: the last message of the batch is among them.
  void add_rules(const NftChain& chain, bool acknowledged) {
    for (const auto& rule : chain.rules) {
      const bool last = acknowledged && &rule == &chain.rules.back();
      add_rule(chain.name, rule, NLM_F_APPEND | (last ? NLM_F_ACK : 0));
    }
  }

  void add_rule(const char* chain, const NftRule& rule, std::uint16_t flags) {
    const Step step{Step::Kind::rule, render_nft_rule(rule)};
    const std::uint32_t types = rule.types.empty() ? 0 : add_type_set(step, rule.types);
    const std::uint32_t ports = needs_set(rule.ports) ? add_port_set(step, rule.ports) : 0;
    add(step, NFT_MSG_NEWRULE, NLM_F_CREATE | flags, [&](NetlinkMessage& message) {
      message.text(NFTA_RULE_TABLE, table_.c_str());
      message.text(NFTA_RULE_CHAIN, chain);
      message.nest(NFTA_RULE_EXPRESSIONS, [&] { put_expressions(message, rule, {types, ports}); });
    });
  }

  Batch finish() && {
    bracket(NFNL_MSG_BATCH_END);
    return std::move(batch_);
  }

 private:
  void bracket(std::uint16_t type) {
    const NetlinkMessage message(type, 0, next(), AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
    append({}, message);
  }

  template <class Body>
  void add(const Step& step, std::uint16_t type, std::uint16_t flags, Body body) {
    NetlinkMessage message(nft_type(type), flags, next(), NFPROTO_INET, 0);
    body(message);
    append(step, message);
  }

  [[nodiscard]] std::uint32_t next() const {
    return static_cast<std::uint32_t>(batch_.steps.size());
  }

  void append(const Step& step, const NetlinkMessage& message) {
    batch_.bytes += message.view();
    batch_.steps.push_back(step);
  }

  static bool needs_set(const std::vector<base::PortRange>& ports) {
    return ports.size() > 1 || (ports.size() == 1 && ports[0].first != ports[0].last);
  }

  void add_set(const Step& step, const SetShape& shape) {
    add(step, NFT_MSG_NEWSET, NLM_F_CREATE, [&](NetlinkMessage& message) {
      message.text(NFTA_SET_TABLE, table_.c_str());
      message.text(NFTA_SET_NAME, kSetName);
      message.number(NFTA_SET_FLAGS, NFT_SET_ANONYMOUS | NFT_SET_CONSTANT |
                                         (shape.interval ? NFT_SET_INTERVAL : 0));
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
  void add_elements(const Step& step, std::uint32_t set_id,
                    std::span<const Element<Key>> elements) {
    for (; !elements.empty();
         elements = elements.subspan(std::min(elements.size(), kElementsPerMessage))) {
      add(step, NFT_MSG_NEWSETELEM, NLM_F_CREATE, [&](NetlinkMessage& message) {
        message.text(NFTA_SET_ELEM_LIST_TABLE, table_.c_str());
        message.text(NFTA_SET_ELEM_LIST_SET, kSetName);
        message.number(NFTA_SET_ELEM_LIST_SET_ID, set_id);
        message.nest(NFTA_SET_ELEM_LIST_ELEMENTS, [&] {
          for (const auto& element :
               elements.first(std::min(elements.size(), kElementsPerMessage))) {
            put_element(message, element);
          }
        });
      });
    }
  }

  template <class Key>
  static void put_element(NetlinkMessage& message, const Element<Key>& element) {
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
    const bool interval = std::ranges::any_of(
        ports, [](const base::PortRange& range) { return range.first != range.last; });
    std::vector<Element<std::uint16_t>> elements;
    if (interval) elements.push_back({0, true});
    for (const auto& [first, last] : ports) {
      elements.push_back({htons(first)});
      // No key lies behind 65535: that range stays open.
      if (interval && last < 0xffff)
        elements.push_back({htons(static_cast<std::uint16_t>(last + 1)), true});
    }
    const auto count = static_cast<std::uint32_t>(elements.size());
    add_set(step, {++sets_, kKeyInetService, sizeof(std::uint16_t), ByteOrder::big_endian, count,
                   interval});
    add_elements<std::uint16_t>(step, sets_, elements);
    return sets_;
  }

  std::string table_;
  Batch batch_;
  std::uint32_t sets_ = 0;
};

Batch whole_table(std::string table, const std::vector<NftChain>& chains) {
  BatchBuilder builder{std::move(table)};
  builder.add_table();
  for (const auto& chain : chains) {
    builder.add_chain(chain);
    builder.add_rules(chain, &chain == &chains.back());
  }
  return std::move(builder).finish();
}

}  // namespace

Batch install_batch(const Ruleset& ruleset) {
  return whole_table(kTableName, nft_chains(ruleset));
}

Batch stop_batch(const Ruleset& ruleset) {
  BatchBuilder builder;
  if (ruleset.queueing) builder.add_rule(kJudgeChain, {}, 0);
  builder.add_rule(kDivertChain, {}, NLM_F_ACK);
  return std::move(builder).finish();
}

/// The new rules use connection tracking before the old ones let go of it: what is diverted lives
/// on.
Batch resume_batch(const Ruleset& ruleset) {
  BatchBuilder builder;
  const auto chains = nft_chains(ruleset);
  for (const auto& chain : chains) {
    const std::string_view name = chain.name;
    if (name != kJudgeChain && name != kDivertChain) continue;
    builder.remove_rules(chain.name);
    builder.add_rules(chain, &chain == &chains.back());
  }
  return std::move(builder).finish();
}

Batch removal_batch() {
  BatchBuilder builder;
  builder.remove_table(NLM_F_ACK);
  return std::move(builder).finish();
}

Batch nat_batch(std::string table) {
  NftRule rule;
  rule.untracked_yet = true;
  return whole_table(std::move(table),
                     {{"translate", "nat", kDivertPriority, Hook::output, {std::move(rule)}}});
}

Batch copying_batch(std::string table, std::uint16_t group) {
  return whole_table(std::move(table), copying_chains(group));
}

std::string table_query(std::uint32_t sequence) {
  NetlinkMessage message(nft_type(NFT_MSG_GETTABLE), 0, sequence, NFPROTO_INET, 0);
  message.text(NFTA_TABLE_NAME, kTableName);
  return std::string(message.view());
}

}  // namespace pfctl
