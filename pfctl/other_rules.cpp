// Dumps of nf_tables rules (linux/netfilter/nf_tables.h) and of iptables' tables, as far as they
// matter.
#include "pfctl/other_rules.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <optional>
#include <set>
#include <utility>

#include <fmt/format.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nf_tables_compat.h>
#include <linux/netfilter/nfnetlink.h>

#include "base/netlink.h"
#include "pfctl/netlink_dump.h"
#include "pfctl/netlink_message.h"
#include "pfctl/nft_rules.h"
#include "pfctl/ruleset.h"

namespace pfctl {
namespace {

using base::netlink::Attribute;
using base::netlink::for_each_attribute;
using base::netlink::Message;
using base::netlink::text_of;

constexpr std::uint16_t kNoTracking = 1;  // XT_CT_NOTRACK of linux/netfilter/xt_CT.h

/// One expression: its name, and of its data the attributes 1 and 2, where keys and names stand.
struct Expression {
  std::string name;
  std::uint32_t first = 0;
  std::string text;
  std::uint16_t flags = 0;  ///< at the beginning of a target's own data
  std::string jumps_to;     ///< of a verdict, a chain

  explicit Expression(std::string_view element) {
    for_each_attribute(element, [&](const Attribute& attribute) {
      if (attribute.type == NFTA_EXPR_NAME) name = text_of(attribute.value);
      if (attribute.type != NFTA_EXPR_DATA) return;
      if (name == "immediate") return read_verdict(attribute.value);
      for_each_attribute(attribute.value, [&](const Attribute& data) {
        static_assert(NFTA_MATCH_NAME == 1 && NFTA_TARGET_NAME == 1 && NFTA_SOCKET_KEY == 1);
        if (data.type == NFTA_META_KEY) meta_key = base::netlink::network_number(data.value);
        if (data.type == NFTA_TARGET_INFO && data.value.size() >= sizeof flags)
          std::memcpy(&flags, data.value.data(), sizeof flags);
        if (data.type != NFTA_MATCH_NAME) return;
        first = base::netlink::network_number(data.value);
        text = text_of(data.value);
      });
    });
  }

  [[nodiscard]] bool asks_for_cgroup() const {
    if (name == "socket") return first == NFT_SOCKET_CGROUPV2;
    if (name == "meta") return meta_key == NFT_META_CGROUP;
    return name == "match" && text == "cgroup";
  }
  [[nodiscard]] bool untracks() const {
    if (name == "target") return text == "NOTRACK" || (text == "CT" && (flags & kNoTracking) != 0);
    return name == "notrack";
  }

 private:
  void read_verdict(std::string_view immediate) {
    for_each_attribute(immediate, [&](const Attribute& value) {
      if (value.type != NFTA_IMMEDIATE_DATA) return;
      for_each_attribute(value.value, [&](const Attribute& data) {
        if (data.type != NFTA_DATA_VERDICT) return;
        for_each_attribute(data.value, [&](const Attribute& part) {
          if (part.type == NFTA_VERDICT_CHAIN) jumps_to = text_of(part.value);
        });
      });
    });
  }

  std::uint32_t meta_key = ~0U;
};

void read_rule(const Message& message, std::vector<OtherRule>& rules) {
  if (message.body.size() < kNfgenmsg) return;
  const auto family_number = static_cast<std::uint8_t>(message.body[0]);
  const std::string_view family = nft_family_name(family_number);
  if (family.empty()) return;
  OtherRule rule;
  const auto attributes = base::netlink::behind_struct(message.body, kNfgenmsg);
  for_each_attribute(attributes, [&](const Attribute& attribute) {
    if (attribute.type == NFTA_RULE_TABLE) rule.table = text_of(attribute.value);
    if (attribute.type == NFTA_RULE_CHAIN) rule.chain = text_of(attribute.value);
    if (attribute.type != NFTA_RULE_EXPRESSIONS) return;
    for_each_attribute(attribute.value, [&](const Attribute& element) {
      const Expression expression{element.value};
      rule.by_cgroup = rule.by_cgroup || expression.asks_for_cgroup();
      rule.untracks = rule.untracks || expression.untracks();
      if (!expression.jumps_to.empty()) rule.jumps.push_back(expression.jumps_to);
    });
  });
  const bool ours = family_number == NFPROTO_INET && rule.table == kTableName;
  if (ours || (!rule.by_cgroup && !rule.untracks && rule.jumps.empty())) return;
  rule.table = fmt::format("{} {}", family, rule.table);
  rules.push_back(std::move(rule));
}

/// Where the parts of an entry stand, and those of a match and a target (struct xt_entry_match).
struct EntryLayout {
  std::size_t target_offset, next_offset, matches;
};
constexpr EntryLayout kEntry4{88, 90, 112}, kEntry6{140, 142, 168};
constexpr std::size_t kMatchName = 2, kMatchNameSize = 29, kMatchHead = 32;

std::uint16_t short_at(std::string_view bytes, std::size_t offset) {
  std::uint16_t value = 0;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

std::string_view extension_name(std::string_view extension) {
  const auto name = extension.substr(kMatchName, kMatchNameSize);
  return name.substr(0, name.find('\0'));
}

/// What matters of one entry.
struct Entry {
  std::size_t at = 0;  ///< among the entries of the table
  bool by_cgroup = false;
  bool untracks = false;
  bool begins_chain = false;             ///< one that a user has made
  std::optional<std::uint32_t> jumps{};  ///< to the entry there

  [[nodiscard]] bool operator<(std::size_t offset) const { return at < offset; }
};

void read_entry(std::string_view entry, const EntryLayout& layout, Entry& rule) {
  const std::size_t target = short_at(entry, layout.target_offset);
  for (std::size_t at = layout.matches; at + kMatchHead <= target && target <= entry.size();) {
    const std::size_t size = short_at(entry, at);
    if (size < kMatchHead) return;
    if (extension_name(entry.substr(at)) == "cgroup") rule.by_cgroup = true;
    at += size;
  }
  if (target + kMatchHead > entry.size()) return;
  const auto name = extension_name(entry.substr(target));
  const bool has_flags = target + kMatchHead + sizeof(std::uint16_t) <= entry.size();
  const std::uint16_t flags = has_flags ? short_at(entry, target + kMatchHead) : 0;
  rule.untracks = name == "NOTRACK" || (name == "CT" && (flags & kNoTracking) != 0);
  rule.begins_chain = name == "ERROR";
  std::int32_t verdict = -1;
  if (name.empty() && target + kMatchHead + sizeof verdict <= entry.size())
    std::memcpy(&verdict, entry.data() + target + kMatchHead, sizeof verdict);
  // A rule without a target jumps to the next one.
  if (verdict >= 0 && static_cast<std::size_t>(verdict) != rule.at + entry.size())
    rule.jumps = static_cast<std::uint32_t>(verdict);
}

std::vector<Entry> entries_in(std::string_view bytes, const EntryLayout& layout) {
  std::vector<Entry> found;
  for (std::size_t at = 0; bytes.size() - at >= layout.matches;) {
    const std::size_t size = short_at(bytes.substr(at), layout.next_offset);
    if (size < layout.matches || size > bytes.size() - at) break;
    Entry entry;
    entry.at = at;
    read_entry(bytes.substr(at, size), layout, entry);
    found.push_back(entry);
    at += size;
  }
  return found;
}

/// Where the entries stand that a packet can come to that begins in `chain`.
std::set<std::size_t> reached_from(const XtablesChain& chain, const std::vector<Entry>& entries) {
  std::set<std::size_t> reached;
  std::vector<std::size_t> starts{chain.first};
  while (!starts.empty()) {
    const std::size_t start = starts.back();
    starts.pop_back();
    const bool built_in = start >= chain.first && start <= chain.last;
    for (auto each = std::lower_bound(entries.begin(), entries.end(), start); each != entries.end();
         ++each) {
      if (each->begins_chain || (built_in && each->at > chain.last)) break;
      if (!reached.insert(each->at).second) break;
      if (each->jumps) starts.push_back(*each->jumps);
    }
  }
  return reached;
}

/// Chains of nf_tables that a packet of this machine's can come to: table and name.
std::set<std::pair<std::string, std::string>> reached_chains(const OtherRules& others) {
  std::set<std::pair<std::string, std::string>> reached;
  for (const auto& chain : others.chains) reached.emplace(chain.table, chain.name);
  for (std::size_t before = 0; before != reached.size();) {
    before = reached.size();
    for (const auto& rule : others.rules) {
      if (reached.count({rule.table, rule.chain}) == 0) continue;
      for (const auto& name : rule.jumps) reached.emplace(rule.table, name);
    }
  }
  return reached;
}

}  // namespace

base::Result<bool> read_other_rule_dump(std::string_view bytes, std::vector<OtherRule>& rules) {
  return read_dump(bytes, rules, read_rule);
}

void read_xtables_entries(std::string_view entries, bool ipv6, const std::string& table,
                          const std::optional<XtablesChain>& output,
                          std::vector<OtherRule>& rules) {
  const auto all = entries_in(entries, ipv6 ? kEntry6 : kEntry4);
  const auto reached = output ? reached_from(*output, all) : std::set<std::size_t>{};
  for (const auto& entry : all) {
    OtherRule rule{table, {}};
    rule.by_cgroup = entry.by_cgroup;
    rule.untracks = entry.untracks && reached.count(entry.at) > 0;
    if (rule.by_cgroup || rule.untracks) rules.push_back(std::move(rule));
  }
}

std::vector<std::string> conflicts(const OtherRules& others, const Ruleset& ruleset) {
  std::set<std::string> lines;
  // Of two redirects the first one wins.
  for (const auto& chain : others.chains) {
    // The guard's own table translates nothing.
    if (chain.table.starts_with("inet osproxy_guard")) continue;
    if (chain.type != "nat" || chain.priority > kDivertPriority) continue;
    lines.insert(
        fmt::format("{} {} (priority {}) translates before osproxy: what it redirects is not seen",
                    chain.table, chain.name, chain.priority));
  }
  const auto reached = reached_chains(others);
  for (const auto& rule : others.rules) {
    if (rule.by_cgroup) {
      lines.insert(fmt::format(
          "rules by cgroup in {} judge osproxy's cgroup where it connects in a program's place",
          rule.table));
    }
    if (rule.untracks && (rule.chain.empty() || reached.count({rule.table, rule.chain}) > 0)) {
      lines.insert(fmt::format(
          "{} takes packets out of connection tracking: those are not intercepted", rule.table));
    }
  }
  const std::uint32_t marks =
      ruleset.own_mark | (ruleset.queueing ? ruleset.queueing->mark_bit : 0);
  for (const auto& rule : others.routing) {
    if ((rule.mask & marks) == 0) continue;
    lines.insert(fmt::format(
        "`ip rule` {} looks at the bit {:#x} of packet marks, which osproxy sets (--mark)",
        rule.priority, marks));
  }
  if (others.loopback_down) lines.insert("the device lo is down: nothing can be intercepted");
  return {lines.begin(), lines.end()};
}

}  // namespace pfctl
