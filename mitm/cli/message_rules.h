// The options that change messages, for mitm/control: rules, modify-headers, map-local ...
#pragma once

#include <vector>

#include <nlohmann/json.hpp>

#include "mitm/cli/settings.h"
#include "mitm/control/rule_list.h"

namespace mitm::cli {

/// What is wrong with the values of an option; no file is looked at.
[[nodiscard]] base::Result<> check_modify_headers(const nlohmann::json& value);
[[nodiscard]] base::Result<> check_modify_body(const nlohmann::json& value);
[[nodiscard]] base::Result<> check_map_local(const nlohmann::json& value);
[[nodiscard]] base::Result<> check_block_list(const nlohmann::json& value);

/// All that is said of messages. Paths begin where this process is; `home`: of "~/".
[[nodiscard]] control::RuleTexts rule_texts_of(const Settings& settings, const std::string& home);

}  // namespace mitm::cli
