// A connection that tries whether the rules that are loaded are in force. What a loader says proves
// nothing: rules of others may come first, or ours may not be evaluated at all.
#pragma once

#include <chrono>
#include <functional>
#include <optional>

#include <sys/types.h>

#include "base/error.h"
#include "base/network.h"
#include "pfctl/loader.h"

namespace divert {

/// Where a connection goes only when it is diverted: an address for documentation, which no host
/// answers for and `rules` do not exclude, and a port that they take. Empty: all such addresses are
/// excluded.
std::optional<base::Endpoint> probe_destination(const pfctl::Ruleset& rules, bool ipv6);

/// Whether the connection has come to a listener of ours; waits for it, `limit` at most.
using Arrival = std::function<bool(std::chrono::milliseconds limit)>;

/// Connects from a child process with this effective group (none: the caller's), asks `has_arrived`
/// while the connection is open, and resets it. An answer proves nothing: some
/// tunnels answer for every address. Blocks for three times `limit` at most; a first packet that
/// gets lost is sent again after one second and after three. The child makes nothing but system
/// calls.
[[nodiscard]] base::Result<pfctl::ProbeResult> try_connection(
    const base::Endpoint& to, std::optional<gid_t> group, const Arrival& has_arrived,
    std::chrono::milliseconds limit = std::chrono::milliseconds{3500});

}  // namespace divert
