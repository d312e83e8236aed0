// nft's `redirect` goes to the loopback address.
#include "divert/listeners.h"

namespace divert {

const bool kListenersShareConnections = true;

base::Result<ListenAddresses> listen_addresses() {
  return ListenAddresses{};
}

}  // namespace divert
