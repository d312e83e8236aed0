// Settings as a command line without a config file makes them.
#pragma once

#include <string>
#include <vector>

#include "mitm/cli/config.h"
#include "mitm/cli/policy_options.h"
#include "mitm/cli/settings.h"
#include "tests/test.h"

namespace mitm::cli::test {

/// Separated by blanks.
std::string texts(const auto& items) {
  std::string out;
  for (const auto& item : items) out += (out.empty() ? "" : " ") + base::to_string(item);
  return out;
}

/// What `run` would do with these options typed and no config file.
inline base::Result<Settings> settings_of(const std::vector<const char*>& typed) {
  const auto invocation = parse_command_line(typed);
  REQUIRE(invocation);
  return load_settings(*invocation, "/nonexistent");
}

/// The settings with these rules.
inline base::Result<Settings> with_rules(const nlohmann::json& list) {
  Settings settings;
  if (const auto parsed = parse_rules(list, settings); !parsed) return parsed.error();
  return settings;
}

}  // namespace mitm::cli::test
