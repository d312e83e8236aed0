// What the broker tells the worker of a connection.
#pragma once

#include <vector>

#include <sys/types.h>

#include "divert/link/wire.h"
#include "divert/packet/pending_connections.h"

namespace divert {

/// `own`: pids of our processes.
wire::ConnectionFacts facts_of(const FlowKey& key, const Ruling& ruling,
                               const std::vector<pid_t>& own, bool as_program = false);

wire::DnsCopy copy_of(const DnsDatagram& datagram);

}  // namespace divert
