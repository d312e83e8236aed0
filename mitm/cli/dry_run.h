// `osproxy rules --dry-run`: how many flows of a session the rules for messages would match.
#pragma once

#include "base/error.h"
#include "mitm/cli/command_line.h"

namespace mitm::cli {

/// Prints a line for each rule; changes nothing and needs no root.
[[nodiscard]] base::Result<int> dry_run(const Invocation& invocation);

/// Whether an option is about messages: it goes with --dry-run only.
[[nodiscard]] bool is_about_messages(std::string_view option);

}  // namespace mitm::cli
