// FreeBSD's Capsicum takes away what the worker is there for: in capability mode connect(2) to an
// address and opening the directory of CAs fail. macOS has no documented call. There seal() and the
// user's own rights have to do.
#include "divert/process/confine.h"

namespace divert {

base::Result<Confinement> confine(const std::vector<std::string>& /*readable*/) {
  return Confinement{};
}

Confinement possible_confinement() {
  return {};
}

}  // namespace divert
