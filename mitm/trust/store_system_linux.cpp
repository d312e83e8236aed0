// What the system's store is here: a directory of the distribution.
#include "mitm/trust/stores.h"

namespace mitm::trust {

std::unique_ptr<TrustStore> system_store() {
  return linux_store();
}

}  // namespace mitm::trust
