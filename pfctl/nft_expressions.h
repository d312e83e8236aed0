// A rule as the list of nf_tables expressions that makes it.
#pragma once

#include <cstdint>

#include "pfctl/netlink_message.h"
#include "pfctl/nft_rules.h"

namespace pfctl {

/// Anonymous sets all have this name; the kernel puts a number in place of %d. Within a batch they
/// are distinguished by their ids.
inline constexpr const char* kSetName = "__set%d";

/// Ids of the sets that a rule looks up; 0: none.
struct RuleSets {
  std::uint32_t types = 0;
  std::uint32_t ports = 0;  ///< 0 with a single port, which is compared
};

/// Puts conditions and verdict of `rule` into the list (NFTA_RULE_EXPRESSIONS) that is open in
/// `message`.
void put_expressions(NetlinkMessage& message, const NftRule& rule, const RuleSets& sets);

}  // namespace pfctl
