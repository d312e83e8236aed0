// The one table of options: from it come the command line, the config keys, --help, the sample in conf/ and
// the schema.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace mitm::cli {

enum class Kind { flag, text, number, list, rules };

/// One option. The config key is the long name with `-` for word breaks, the same as on the command line.
struct Option {
  std::string_view name;
  char letter = 0;  ///< short form, 0: none
  Kind kind = Kind::text;
  std::string_view value_name;    ///< "FILE", "PORTS", ...
  std::string_view help;          ///< one sentence, lower case, no full stop
  std::string_view default_text;  ///< as shown in --help; empty: none
  std::string_view commands;      ///< subcommands that know it, space-separated: "run exec rules"
  std::string_view choices;       ///< "text|jsonl"; empty: any
  bool in_config = true;
};
std::span<const Option> option_table();

/// What was typed, checked against the table; and the config file, checked, underneath it.
struct Invocation {
  std::string command = "run";                        ///< run exec rules who ca config cleanup
  std::vector<std::string> positional;                ///< FILTER, CMD..., ADDR:PORT, ca's verb
  nlohmann::json options = nlohmann::json::object();  ///< long name -> value (bool, string, integer, array)
  bool help = false;
  bool version = false;
};

/// Only splits argv: reads no file. Errors are usage errors (exit code 2) and suggest the nearest option or
/// command.
[[nodiscard]] base::Result<Invocation> parse_command_line(std::span<const char* const> argv);

/// The effective options: defaults, then the config file, then the command line. Errors: file:line, key, what
/// was expected. `home`: of the user who typed sudo. Returns an object with every option that applies to
/// `invocation.command`.
[[nodiscard]] base::Result<nlohmann::json> effective_options(const Invocation& invocation,
                                                             const std::string& home);

std::string help_text(std::string_view command);  ///< "": the program's own

}  // namespace mitm::cli
