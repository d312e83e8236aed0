// The config file, laid between defaults and command line.
#pragma once

#include <string>

#include "mitm/cli/command_line.h"

namespace mitm::cli {

/// The settings in force: defaults, then the config file, then the command line. The config file is
/// --config, else `home`/.config/osproxy/config.json when it exists. Errors: "FILE:LINE: KEY:
/// expected ...", all that there are (kSeveralErrors); a FILTER that was typed and is no filter
/// (kUsageError).
[[nodiscard]] base::Result<Settings> load_settings(const Invocation& invocation,
                                                   const std::string& home);

/// The config file that is read if it exists, or must exist when it was named.
std::string config_path(const Invocation& invocation, const std::string& home);

}  // namespace mitm::cli
