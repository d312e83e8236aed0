// A connection that tries whether the rules that are loaded are in force. What a loader says proves nothing:
// rules of others may come first, or ours may not be evaluated at all.
#pragma once

#include <chrono>
#include <optional>

#include <sys/types.h>

#include "base/error.h"
#include "base/network.h"
#include "pfctl/loader.h"

namespace divert {

/// Where a connection goes only when it is diverted: an address for documentation (RFC 5737, RFC 3849), which
/// nobody answers for, and a port that `rules` take.
base::Endpoint probe_destination(const pfctl::Ruleset& rules, bool ipv6);

/// Connects from a child process with this effective group (none: the caller's) and resets the connection.
/// Blocks for `limit` at most. To be called without other threads.
[[nodiscard]] base::Result<pfctl::Tried> try_connection(
    const base::Endpoint& to, std::optional<gid_t> group,
    std::chrono::milliseconds limit = std::chrono::seconds{1});

}  // namespace divert
