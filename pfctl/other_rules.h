// Rules of others that osproxy gets in conflict with, whatever it does: they are reported to the
// user.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "pfctl/foreign_rules.h"
#include "pfctl/ruleset.h"

namespace pfctl {

/// A rule of another table that does what matters to us.
struct OtherRule {
  std::string table;       ///< with its family and what it is of: "inet filter", "iptables raw"
  std::string chain;       ///< empty: one that the output hook comes to (iptables' own tables)
  bool by_cgroup = false;  ///< asks for the cgroup of a socket
  bool untracks = false;   ///< takes packets out of connection tracking
  std::vector<std::string> jumps{};  ///< chains of the table that it jumps or goes to

  bool operator==(const OtherRule&) const = default;
};

/// A built-in chain of legacy iptables: where among the entries its first and its last one begin,
/// as IPT_SO_GET_INFO tells it (hook_entry, underflow).
struct XtablesChain {
  std::uint32_t first = 0;
  std::uint32_t last = 0;
};

/// What others have done that matters to our rules.
struct OtherRules {
  std::vector<OutputChain> chains;
  std::vector<OtherRule> rules;
  std::vector<MarkRule> routing;
  bool loopback_down = false;
};

/// What is to be told, a line each; sorted, each once. `ruleset`: ours.
[[nodiscard]] std::vector<std::string> conflicts(const OtherRules& others, const Ruleset& ruleset);

/// Everything together, asked of this machine's kernel: nf_tables, the tables of legacy iptables,
/// routing rules, the device lo. Needs CAP_NET_ADMIN. Takes a millisecond, or some hundred with
/// many ten thousand rules.
[[nodiscard]] base::Result<std::vector<std::string>> find_conflicts(const Ruleset& ruleset);

/// One datagram of a dump of rules, as read_chain_dump(); rules that do none of it are left out.
/// Chains that a map's verdicts lead to are not known.
[[nodiscard]] base::Result<bool> read_other_rule_dump(std::string_view bytes,
                                                      std::vector<OtherRule>& rules);

/// The entries of one table of legacy iptables, as IPT_SO_GET_ENTRIES tells them
/// (linux/netfilter_ipv4/ ip_tables.h, ip6_tables.h). Entries that lie about their length end the
/// reading. What takes packets out of connection tracking is one only where the output hook comes
/// to it.
void read_xtables_entries(std::string_view entries, bool ipv6, const std::string& table,
                          const std::optional<XtablesChain>& output, std::vector<OtherRule>& rules);

}  // namespace pfctl
