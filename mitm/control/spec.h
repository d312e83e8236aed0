// mitmproxy's options that change messages, in its syntax and with its meaning.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "mitm/control/rule_reader.h"

namespace mitm::control {

/// Each reads one option's value, "[/FILTER]/A/B", whose first character is the separator, and adds
/// the rules for it. An error says what was expected.
[[nodiscard]] base::Result<> add_modify_body(std::string_view spec, const Places& places,
                                             std::vector<Rule>& rules);
[[nodiscard]] base::Result<> add_map_local(std::string_view spec, const Places& places,
                                           std::vector<Rule>& rules);
[[nodiscard]] base::Result<> add_block_list(std::string_view spec, std::vector<Rule>& rules);
/// All values together: every field that is named goes before the first is added.
[[nodiscard]] base::Result<> add_modify_headers(const std::vector<std::string>& specs,
                                                const Places& places, std::vector<Rule>& rules);
/// `filter`: of the requests that get cookies, or credentials, again.
[[nodiscard]] base::Result<> add_sticky_cookies(std::string_view filter, std::vector<Rule>& rules);
[[nodiscard]] base::Result<> add_sticky_credentials(std::string_view filter,
                                                    std::vector<Rule>& rules);
void add_anticache(std::vector<Rule>& rules);
void add_anticomp(std::vector<Rule>& rules);

/// Python's escapes of bytes undone: \n, \x41, \101; those that it does not know stay. Error: \x
/// without two digits, a backslash at the end.
[[nodiscard]] base::Result<std::string> unescaped(std::string_view text);

}  // namespace mitm::control
