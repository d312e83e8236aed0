// The actions that answer instead of the server, from JSON.
#pragma once

#include <vector>

#include "mitm/control/rule.h"

namespace mitm::control {

/// "respond": {"status": 200, "body": "hello"} or {"directory": PATH}.
[[nodiscard]] base::Result<std::vector<Action>> read_respond(const nlohmann::json& value,
                                                             const Places& places);
/// "block": true, "reset" or a status.
[[nodiscard]] base::Result<std::vector<Action>> read_block(const nlohmann::json& value,
                                                           const Places& places);
/// 200 to 599.
[[nodiscard]] base::Result<int> read_status_number(const nlohmann::json& value);

}  // namespace mitm::control
