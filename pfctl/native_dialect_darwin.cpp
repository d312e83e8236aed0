// macOS. Its SDK has no net/pfvar.h that natlook_layout.h could be checked against.
#include "pfctl/native_dialect.h"

namespace pfctl {

Dialect native_dialect() {
  return Dialect::darwin;
}

std::string_view native_dialect_name() {
  return "darwin";
}

}  // namespace pfctl
