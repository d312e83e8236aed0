// The JSON schema of the config's rules, for editors.
#pragma once

#include <nlohmann/json.hpp>

namespace mitm::cli {

/// Of one item of `rules`: for connections or for messages.
[[nodiscard]] nlohmann::ordered_json rule_schema();

}  // namespace mitm::cli
