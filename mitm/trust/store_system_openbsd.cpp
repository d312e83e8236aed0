// What the system's store is here: one file, not ours to change.
#include "mitm/trust/stores.h"

namespace mitm::trust {

std::unique_ptr<TrustStore> system_store() {
  return openbsd_store();
}

}  // namespace mitm::trust
