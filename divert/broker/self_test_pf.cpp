// macOS and FreeBSD.
#include "divert/broker/probe.h"
#include "divert/broker/self_test.h"
#include "divert/worker/listeners.h"

namespace divert {

/// On a port that hardly any program uses: for as long as the proof lasts all connections to it
/// are diverted.
std::optional<base::Endpoint> self_test_destination() {
  pfctl::Ruleset rules;
  rules.ports = {{kUsualPort, kUsualPort}};
  return probe_destination(rules, false);
}

}  // namespace divert
