#include "divert/worker/listeners.h"

namespace divert {

/// macOS and FreeBSD would give all connections to one of them.
const bool kListenersShareConnections = false;

}  // namespace divert
