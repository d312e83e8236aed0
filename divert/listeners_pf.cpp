// `rdr` goes to aliases of lo0: with 127.0.0.1 a reset would never reach the program.
#include "divert/listeners.h"
#include "pfctl/ruleset.h"

namespace divert {

/// macOS and FreeBSD would give all connections to one of them.
const bool kListenersShareConnections = false;

base::Result<ListenAddresses> listen_addresses() {
  const pfctl::Ruleset usual;
  return ListenAddresses{usual.alias_v4, usual.alias_v6};
}

}  // namespace divert
