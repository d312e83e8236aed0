// What the system's store is here: the system keychain.
#include "mitm/tls/stores.h"

namespace mitm::tls {

std::unique_ptr<TrustStore> system_store() {
  return keychain_store();
}

}  // namespace mitm::tls
