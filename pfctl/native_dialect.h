// The pf of the system that this program runs on.
#pragma once

#include "pfctl/pf.h"

namespace pfctl {

[[nodiscard]] Dialect native_dialect();

}  // namespace pfctl
