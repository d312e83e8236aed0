// The packet filter of the system that this program runs on.
#pragma once

#include <optional>
#include <string_view>

#include "pfctl/pf.h"

namespace pfctl {

/// Only where it is pf.
[[nodiscard]] Dialect native_dialect();

/// As `osproxy rules --dialect` has it: "nft", "darwin" or "freebsd".
[[nodiscard]] std::string_view native_dialect_name();

/// What the rules that are loaded here want of the worker's connections to this machine itself
/// (pf.h); without pf: nothing.
[[nodiscard]] std::optional<base::PortRange> native_source_ports(const Ruleset& ruleset);

}  // namespace pfctl
