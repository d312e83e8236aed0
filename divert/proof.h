// Proves on this machine, as it is now, that diverting works: with rules for two children of its own only.
#pragma once

#include <string>

#include "base/error.h"
#include "divert/broker.h"

namespace divert {

/// Loads the rules of `engine` (not `best`) for one free port of 127.0.0.1, lets one child that is selected
/// and one that is not connect to it, and takes the rules out. Good: the selected one arrived at our listener
/// and was recognised; the other one reached the server itself (packet engine), or was recognised as well
/// (redirect engine). The error says what went otherwise. Needs root; forks: call before any thread. Takes
/// five seconds at most.
[[nodiscard]] base::Result<> prove(EngineChoice engine);

}  // namespace divert
