// Linux, which has no pf.
#include "pfctl/native_dialect.h"

namespace pfctl {

std::string_view native_dialect_name() {
  return "nft";
}

std::optional<base::PortRange> native_source_ports(const Ruleset& /*ruleset*/) {
  return std::nullopt;
}

}  // namespace pfctl
