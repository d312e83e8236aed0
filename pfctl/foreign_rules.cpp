// Dumps of nf_tables chains (linux/netfilter/nf_tables.h) and of routing policy rules
// (linux/fib_rules.h).
#include "pfctl/foreign_rules.h"

#include <arpa/inet.h>
#include <linux/fib_rules.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include "pfctl/netlink_bounds.h"
#include "pfctl/netlink_dump.h"
#include "pfctl/ruleset.h"

namespace pfctl {
namespace {

void read_chain(const nlmsghdr* header, std::vector<OutputChain>& chains) {
  if (mnl_nlmsg_get_payload_len(header) < sizeof(nfgenmsg)) return;
  const auto* extra = static_cast<const nfgenmsg*>(mnl_nlmsg_get_payload(header));
  const std::string family = nft_family_name(extra->nfgen_family);
  OutputChain chain;
  bool in_output = false;
  for_each_in_message(header, sizeof(nfgenmsg), [&](const nlattr* attribute) {
    switch (mnl_attr_get_type(attribute)) {
      case NFTA_CHAIN_TABLE:
        chain.table = text_of(attribute);
        break;
      case NFTA_CHAIN_NAME:
        chain.name = text_of(attribute);
        break;
      case NFTA_CHAIN_TYPE:
        chain.type = text_of(attribute);
        break;
      case NFTA_CHAIN_HOOK:
        for_each_nested(attribute, [&](const nlattr* inner) {
          const std::uint32_t value = ntohl(number_of(inner));
          if (mnl_attr_get_type(inner) == NFTA_HOOK_HOOKNUM) in_output = value == NF_INET_LOCAL_OUT;
          if (mnl_attr_get_type(inner) == NFTA_HOOK_PRIORITY)
            chain.priority = static_cast<std::int32_t>(value);
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

void read_rule(const nlmsghdr* header, std::vector<MarkRule>& rules) {
  MarkRule rule;
  bool looks_at_marks = false;
  for_each_in_message(header, sizeof(fib_rule_hdr), [&](const nlattr* attribute) {
    const std::uint32_t value = number_of(attribute);
    switch (mnl_attr_get_type(attribute)) {
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
