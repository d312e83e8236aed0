#include "divert/worker/listeners.h"

namespace divert {

const bool kListenersShareConnections = true;

}  // namespace divert
