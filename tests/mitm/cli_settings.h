// Settings as a command line without a config file makes them.
#pragma once

#include <string>
#include <vector>

#include "mitm/cli/config.h"
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

}  // namespace mitm::cli::test
