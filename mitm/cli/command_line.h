// argv, split into a command, its words and its options.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "mitm/cli/options.h"
#include "mitm/cli/settings.h"

namespace mitm::cli {

/// What was typed, read by the table.
struct Invocation {
  std::string command = "run";          ///< run exec rules who ca config cleanup
  std::vector<std::string> positional;  ///< FILTER, CMD..., ADDR:PORT, the verb of ca and config
  std::vector<const Option*> given;     ///< the options that were typed, in the table's order
  Settings typed;                       ///< their values; defaults for all others
  std::vector<std::string> argv;        ///< argv[1..]
  bool help = false;
  std::string help_topic;  ///< the command whose help is wanted; empty: the program's
  bool version = false;

  [[nodiscard]] bool has(std::string_view option) const;
};

/// Only splits argv (without argv[0]): reads no file. Errors are usage errors and suggest the
/// nearest option or command.
[[nodiscard]] base::Result<Invocation> parse_command_line(std::span<const char* const> argv);

/// The words of which one must follow `command` (ca, config); none for the others.
std::span<const std::string_view> verbs_of(std::string_view command);

}  // namespace mitm::cli
