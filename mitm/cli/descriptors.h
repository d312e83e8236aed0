// How many descriptors a run may have open.
#pragma once

#include <sys/resource.h>

namespace mitm::cli {

/// As many as this process may get. Returns the limits as they were.
rlimit raise_descriptor_limit();

}  // namespace mitm::cli
