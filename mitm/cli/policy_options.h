// The options that become the policy of a run: filter, rules, pass, block, only, upstream-proxy.
#pragma once

#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "divert/policy/policy.h"
#include "mitm/cli/settings.h"

namespace mitm::cli {

/// The config's `rules`: of connections, and of messages (mitm/control), which say what they match.
/// An error has a line for each thing that is wrong, which begins with its place: "[1].host:
/// expected ...".
[[nodiscard]] base::Result<> parse_rules(const nlohmann::json& list, Settings& settings);
nlohmann::json render_rules(const Settings& settings);

/// The policy of `command`, run or exec; exec has no filter. The rules that block, pass and only
/// ask for come before those of the file; with only, a last rule lets everything else pass.
[[nodiscard]] divert::Policy policy_of(const Settings& settings, std::string_view command);

}  // namespace mitm::cli
