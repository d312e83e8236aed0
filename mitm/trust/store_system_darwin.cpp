// What the system's store is here: the system keychain.
#include "mitm/trust/stores.h"

namespace mitm::trust {

std::unique_ptr<TrustStore> system_store() {
  return keychain_store();
}

}  // namespace mitm::trust
