// nft's `redirect` goes to the loopback address.
#include "divert/listeners.h"

namespace divert {

base::Result<ListenAddresses> listen_addresses() {
  return ListenAddresses{};
}

}  // namespace divert
