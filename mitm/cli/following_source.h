// Flows of a session that is being written, as they end.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "mitm/cli/flow_source.h"

namespace mitm::cli {

/// What there is, then what comes: next() waits for it. There are no more when no process writes
/// the session, which is said. `before_waiting` is called whenever all that is known was given.
[[nodiscard]] base::Result<std::unique_ptr<FlowSource>> open_following_source(
    const std::string& typed, const query::Filter& filter, std::function<void()> before_waiting);

}  // namespace mitm::cli
