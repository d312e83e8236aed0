// Proves on this machine, as it is now, that diverting works: with rules for two children of its
// own only.
#pragma once

#include <optional>
#include <string>

#include "base/error.h"
#include "base/network.h"
#include "divert/broker/rule_loader.h"

namespace divert {

/// Where the children of a proof connect to. Linux: empty, a server of our own on 127.0.0.1. pf:
/// far away, without an answer (an address for documentation), as most connections go; to take
/// those of this machine to itself needs more of pf than a run without --loopback does.
[[nodiscard]] std::optional<base::Endpoint> self_test_destination();

/// Loads the rules of `engine` (not `best`) for the port of `far`, else for one free port of
/// 127.0.0.1, lets one child that is selected and one that is not connect there, and takes the
/// rules out. Good: the selected one arrived at our listener and was recognised; the other one was
/// let pass and reached the server, if there is one (packet engine; or its owner was found too late
/// for its first packet, and it is let pass at the accept), or was recognised as well (redirect
/// engine). The error says what went otherwise; without a route to `far` nothing can be proved.
/// Needs root; forks: call before any thread. Takes five seconds at most.
[[nodiscard]] base::Result<> self_test(EngineChoice engine,
                                       const std::optional<base::Endpoint>& far);

}  // namespace divert
