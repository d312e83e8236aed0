// What the system's store is here: certctl(8).
#include "mitm/trust/stores.h"

namespace mitm::trust {

std::unique_ptr<TrustStore> system_store() {
  return freebsd_store();
}

}  // namespace mitm::trust
