// What the system's store is here: a directory of the distribution.
#include "mitm/tls/stores.h"

namespace mitm::tls {

std::unique_ptr<TrustStore> system_store() {
  return linux_store();
}

}  // namespace mitm::tls
