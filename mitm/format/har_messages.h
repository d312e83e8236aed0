// The messages of a HAR's entry: those of WebSockets (Chrome's form), event streams and gRPC.
#pragma once

#include <memory>
#include <vector>

#include <nlohmann/json.hpp>

#include "mitm/flow/flow.h"

namespace mitm::format {

[[nodiscard]] std::vector<std::shared_ptr<const flow::StreamMessage>> read_har_messages(
    const nlohmann::json& entry, const flow::HttpFlow& http);

}  // namespace mitm::format
