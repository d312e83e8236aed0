// What the system's store is here: one file, not ours to change.
#include "mitm/tls/stores.h"

namespace mitm::tls {

std::unique_ptr<TrustStore> system_store() {
  return openbsd_store();
}

}  // namespace mitm::tls
