// Linux, which has no pf.
#include "pfctl/native_dialect.h"

namespace pfctl {

std::string_view native_dialect_name() {
  return "nft";
}

}  // namespace pfctl
