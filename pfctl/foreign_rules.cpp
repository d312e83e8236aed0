// Dumps of nf_tables chains (linux/netfilter/nf_tables.h) and of routing policy rules
// (linux/fib_rules.h).
#include "pfctl/foreign_rules.h"

#include <linux/fib_rules.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include "base/netlink.h"
#include "pfctl/netlink_dump.h"
#include "pfctl/netlink_message.h"
#include "pfctl/ruleset.h"

namespace pfctl {
namespace {

using base::netlink::Attribute;
using base::netlink::for_each_attribute;
using base::netlink::Message;
using base::netlink::text_of;

void read_chain(const Message& message, std::vector<OutputChain>& chains) {
  if (message.body.size() < kNfgenmsg) return;
  const std::string family = nft_family_name(static_cast<std::uint8_t>(message.body[0]));
  OutputChain chain;
  bool in_output = false;
  const auto attributes = base::netlink::behind_struct(message.body, kNfgenmsg);
  for_each_attribute(attributes, [&](const Attribute& attribute) {
    switch (attribute.type) {
      case NFTA_CHAIN_TABLE:
        chain.table = text_of(attribute.value);
        break;
      case NFTA_CHAIN_NAME:
        chain.name = text_of(attribute.value);
        break;
      case NFTA_CHAIN_TYPE:
        chain.type = text_of(attribute.value);
        break;
      case NFTA_CHAIN_HOOK:
        for_each_attribute(attribute.value, [&](const Attribute& inner) {
          const std::uint32_t value = base::netlink::network_number(inner.value);
          if (inner.type == NFTA_HOOK_HOOKNUM) in_output = value == NF_INET_LOCAL_OUT;
          if (inner.type == NFTA_HOOK_PRIORITY) chain.priority = static_cast<std::int32_t>(value);
        });
        break;
      default:
        break;
    }
  });
  const bool ours = family == "inet" && chain.table == kTableName;
  if (!in_output || family.empty() || ours) return;
  chain.table = family + " " + chain.table;
  chains.push_back(std::move(chain));
}

void read_rule(const Message& message, std::vector<MarkRule>& rules) {
  MarkRule rule;
  bool looks_at_marks = false;
  const auto attributes = base::netlink::behind_struct(message.body, sizeof(fib_rule_hdr));
  for_each_attribute(attributes, [&](const Attribute& attribute) {
    const std::uint32_t value = base::netlink::host_number(attribute.value);
    switch (attribute.type) {
      case FRA_PRIORITY:
        rule.priority = value;
        break;
      case FRA_FWMARK:
        rule.mark = value;
        looks_at_marks = true;
        break;
      case FRA_FWMASK:
        rule.mask = value;
        break;
      default:
        break;
    }
  });
  if (looks_at_marks) rules.push_back(rule);
}

}  // namespace

const char* nft_family_name(std::uint8_t family) {
  switch (family) {
    case NFPROTO_IPV4:
      return "ip";
    case NFPROTO_IPV6:
      return "ip6";
    case NFPROTO_INET:
      return "inet";
    default:
      return "";
  }
}

base::Result<bool> read_chain_dump(std::string_view bytes, std::vector<OutputChain>& chains) {
  return read_dump(bytes, chains, read_chain);
}

base::Result<bool> read_rule_dump(std::string_view bytes, std::vector<MarkRule>& rules) {
  return read_dump(bytes, rules, read_rule);
}

}  // namespace pfctl
