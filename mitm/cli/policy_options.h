// The options that become the policy of a run: rules, pass, block, only.
#pragma once

#include <vector>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "divert/policy/policy.h"

namespace mitm::cli {

/// The config's `rules`. An error has a line for each thing that is wrong, which begins with its
/// place: "[1].host: expected ...".
[[nodiscard]] base::Result<std::vector<divert::Rule>> parse_rules(const nlohmann::json& list);
/// What the options block, pass and only ask for, added to the rules of the file: before them, and,
/// with only, a last one that lets everything else pass.
[[nodiscard]] base::Result<> add_host_rules(const nlohmann::json& effective,
                                            std::vector<divert::Rule>& rules);

}  // namespace mitm::cli
