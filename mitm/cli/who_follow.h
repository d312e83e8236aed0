// `osproxy who --follow`: connections as they begin.
#pragma once

#include <string>

#include "base/error.h"
#include "base/user.h"
#include "mitm/cli/settings.h"

namespace mitm::cli {

/// Prints a line for each new connection that `word` means (empty: all), until a signal ends it or
/// standard output is closed. Needs root, which does no more than find out whose a connection is: a
/// process that has become `user` (nobody, for root) reads names and prints. Returns the exit
/// status.
[[nodiscard]] base::Result<int> follow_connections(const std::string& word, Format format,
                                                   const base::User& user);

}  // namespace mitm::cli
