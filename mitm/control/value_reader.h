// Values of the actions of rules, from JSON.
#pragma once

#include <span>
#include <vector>

#include "mitm/control/rule.h"
#include "mitm/control/value_check.h"

namespace mitm::control {

/// What an action's key stands for.
struct ActionKey {
  const char* key;
  Side side;  ///< of what it can change
  base::Result<std::vector<Action>> (*read)(const nlohmann::json& value, const Places& places);
};
/// In the order in which the actions of one object are done.
[[nodiscard]] std::span<const ActionKey> action_keys();

}  // namespace mitm::control
