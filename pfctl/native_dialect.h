// The packet filter of the system that this program runs on.
#pragma once

#include <string_view>

#include "pfctl/pf.h"

namespace pfctl {

/// Only where it is pf.
[[nodiscard]] Dialect native_dialect();

/// As `osproxy rules --dialect` has it: "nft", "darwin" or "freebsd".
[[nodiscard]] std::string_view native_dialect_name();

}  // namespace pfctl
