// What values of rules may be, and what is said of those that may not.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "mitm/control/rule.h"

namespace mitm::control {

/// "expected EXPECTED, found VALUE".
[[nodiscard]] base::Error unexpected(std::string_view expected, const nlohmann::json& value);
[[nodiscard]] std::string shown(const nlohmann::json& value);

/// `key` is none of `keys`.
[[nodiscard]] std::string unknown_key(std::string_view key,
                                      const std::vector<std::string_view>& keys);

/// Regular expressions of rules: RE2's, "." matches line ends as well, case counts.
[[nodiscard]] base::Result<Regex> parse_regex(std::string_view text);

/// A filter of flows that can be judged while messages pass.
[[nodiscard]] base::Result<query::Filter> parse_match(std::string_view text);

/// Fields as they may be written: a name of RFC 9110, a value without control characters.
[[nodiscard]] base::Result<> check_field_name(std::string_view name);
[[nodiscard]] base::Result<> check_field_value(std::string_view value);
/// Not what a field's value may contain (RFC 9110 section 5.5): all below the blank but TAB, DEL.
[[nodiscard]] constexpr bool is_control(char c) {
  return (static_cast<unsigned char>(c) < ' ' && c != '\t') || c == '\x7f';
}

/// "200ms", "1.5s", "2m".
[[nodiscard]] base::Result<std::chrono::milliseconds> parse_delay(std::string_view text);

}  // namespace mitm::control
