// What works on this machine, what does not, and what to do about it.
#pragma once

#include "mitm/cli/findings.h"
#include "mitm/cli/settings.h"

namespace mitm::cli {

/// Looks at everything that a run with these settings would rely on. As root it also loads rules
/// for children of its own, sees whether they are diverted, and takes them out again; may fork.
Findings examine(const Settings& settings);

}  // namespace mitm::cli
