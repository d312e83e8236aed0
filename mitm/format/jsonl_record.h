// Events in the form of conf/flow.schema.json, as records.
#pragma once

#include <nlohmann/json.hpp>

#include "mitm/flow/flow.h"

namespace mitm::format {

struct JsonEvent {
  enum class Kind : std::uint8_t { start, end, message };
  Kind kind = Kind::end;
  std::uint64_t id = 0;  ///< of the flow
  flow::Flow flow;       ///< of starts and ends, without messages
  std::shared_ptr<const flow::StreamMessage> message;
};

/// The error says what is wrong with the event, not where it is.
[[nodiscard]] base::Result<JsonEvent> read_event(const nlohmann::json& event);

}  // namespace mitm::format
