// Values of the actions of rules, from JSON.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mitm/control/rule.h"

namespace mitm::control {

/// What an action's key stands for.
struct ActionKey {
  const char* key;
  Side side;  ///< of what it can change
  base::Result<std::vector<Action>> (*read)(const nlohmann::json& value, const Places& places);
};
/// In the order in which the actions of one object are done.
[[nodiscard]] std::span<const ActionKey> action_keys();

/// "expected EXPECTED, found VALUE".
[[nodiscard]] base::Error unexpected(std::string_view expected, const nlohmann::json& value);
[[nodiscard]] std::string shown(const nlohmann::json& value);

/// `key` is none of `keys`.
[[nodiscard]] std::string unknown_key(std::string_view key,
                                      const std::vector<std::string_view>& keys);

/// Regular expressions of rules: RE2's, "." matches line ends as well, case counts.
[[nodiscard]] base::Result<Regex> parse_regex(std::string_view text);

/// Fields as they may be written: a name of RFC 9110, a value on one line.
[[nodiscard]] base::Result<> check_field_name(std::string_view name);
[[nodiscard]] base::Result<> check_field_value(std::string_view value);

/// "200ms", "1.5s", "2m".
[[nodiscard]] base::Result<std::chrono::milliseconds> parse_delay(std::string_view text);

}  // namespace mitm::control
