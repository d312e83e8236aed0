// An entry of a HAR as a flow.
#pragma once

#include <nlohmann/json.hpp>

#include "mitm/flow/flow.h"

namespace mitm::format {

/// `number`: id of a flow that has none of its own. The error says what is missing.
[[nodiscard]] base::Result<flow::Flow> read_har_entry(const nlohmann::json& entry,
                                                      std::uint64_t number);

}  // namespace mitm::format
