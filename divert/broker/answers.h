// What the broker tells the worker, as messages.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <sys/types.h>

#include "divert/link/wire.h"
#include "divert/packet/pending_connections.h"

namespace divert {

/// Of `kind`, which is not `heard`; `id`, `upstream` and `as_program` as in wire::Answer. `own`:
/// pids of our processes.
std::string answer_about(const FlowKey& key, const Ruling& ruling, const std::vector<pid_t>& own,
                         wire::Answer::Kind kind, std::uint64_t id, std::uint64_t upstream = 0,
                         bool as_program = false);

/// A datagram of a name server's, or to one.
std::string answer_of(const DnsDatagram& heard);

/// The answer about a connection that no program made.
std::string answer_of_nobody(std::uint64_t question);

}  // namespace divert
