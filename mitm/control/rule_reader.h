// Rules as they are written in the configuration: objects of JSON.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "mitm/control/rule.h"

namespace mitm::control {

/// Whether an object of the list is such a rule: it has a key that only they have.
[[nodiscard]] bool is_message_rule(const nlohmann::json& data);
/// All keys that they may have.
[[nodiscard]] std::vector<std::string_view> rule_keys();

/// Told what is wrong with which key: "match", "respond.status".
using Complain = std::function<void(std::string_view key, const std::string& why)>;

/// `name`: if it says none itself. Unknown keys are complained of. What is returned is of use only
/// if nothing was complained of.
[[nodiscard]] Rule read_rule(const nlohmann::json& data, std::string name, const Places& places,
                             const Complain& complain);

}  // namespace mitm::control
