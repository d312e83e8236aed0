// What the system's store is here: certctl(8).
#include "mitm/tls/stores.h"

namespace mitm::tls {

std::unique_ptr<TrustStore> system_store() {
  return freebsd_store();
}

}  // namespace mitm::tls
