// What else on this machine has a say in where connections go. For `osproxy doctor`.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace pfctl {

/// A base chain of others in the output hook of nf_tables.
struct OutputChain {
  std::string table;  ///< with its family: "ip filter"
  std::string name;
  std::string type;  ///< filter, nat or route
  std::int32_t priority = 0;

  bool operator==(const OutputChain&) const = default;
};

/// As nft names a table's family (NFPROTO_...): "ip", "ip6", "inet"; empty: any other one.
[[nodiscard]] const char* nft_family_name(std::uint8_t family);

/// A routing policy rule that looks at packet marks (`ip rule ... fwmark MARK/MASK`).
struct MarkRule {
  std::uint32_t priority = 0;
  std::uint32_t mark = 0;
  std::uint32_t mask = ~0U;

  bool operator==(const MarkRule&) const = default;
};

/// Needs CAP_NET_ADMIN.
[[nodiscard]] base::Result<std::vector<OutputChain>> output_chains();
[[nodiscard]] base::Result<std::vector<MarkRule>> mark_rules();

/// One datagram of a dump: what is wanted of it is added to the
/// list. True: more datagrams follow. An error when it is cut short, or the kernel's own.
[[nodiscard]] base::Result<bool> read_chain_dump(std::string_view bytes,
                                                 std::vector<OutputChain>& chains);
[[nodiscard]] base::Result<bool> read_rule_dump(std::string_view bytes,
                                                std::vector<MarkRule>& rules);

}  // namespace pfctl
