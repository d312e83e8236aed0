// What doctor looks at on every system, and how findings are made.
#pragma once

#include <string>

#include "divert/broker/broker.h"
#include "mitm/cli/findings.h"
#include "mitm/cli/settings.h"
#include "pfctl/pf_query.h"

namespace mitm::cli {

bool is_root();
Finding good(std::string check, std::string detail);
Finding bad(Finding::State state, std::string check, std::string detail, std::string advice,
            bool needed = true);
Finding needs_root(std::string check);

Finding check_privileges();
/// `cure`: how the system gets a loopback address for IPv6.
Finding check_ipv6(const std::string& cure);
Finding check_descriptors();
/// FreeBSD: whether divert(4) can hold first packets, and what ipfw, which comes with it, would do.
Finding check_divert(const pfctl::Machine& machine);
void check_trust(const Settings& settings, Findings& findings);
/// Diverts connections of two children of ours. Needs root.
Finding proved(std::string check, divert::EngineChoice engine, bool needed);

}  // namespace mitm::cli
