// macOS and FreeBSD.
#include "divert/listeners.h"
#include "divert/probe.h"
#include "divert/proof.h"

namespace divert {

/// On a port that hardly anybody else uses: for as long as the proof lasts all connections to it
/// are diverted.
std::optional<base::Endpoint> proof_destination() {
  pfctl::Ruleset rules;
  rules.ports = {{kUsualPort, kUsualPort}};
  return probe_destination(rules, false);
}

}  // namespace divert
