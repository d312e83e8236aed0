// The comment at the head of an anchor: what it is, how it gets in and out by hand.
#pragma once

#include <string>

#include "pfctl/pf.h"

namespace pfctl {

/// Comment lines, each with its newline, in the dialect's own commands.
std::string render_pf_header(const Ruleset& ruleset, Dialect dialect);

}  // namespace pfctl
