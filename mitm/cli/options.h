// The one table of options: from it come the command line, the config keys, --help, the sample in
// conf/ and the schema.
#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace mitm::cli {

enum class Kind { flag, text, number, list, objects };

/// Whether a value (of the JSON type that goes with the option's kind) is good; the error says what
/// was expected.
using Check = base::Result<> (*)(const nlohmann::json& value);

/// One option. The config key is the long name.
struct Option {
  std::string_view name;
  char letter;  ///< short form, 0: none
  Kind kind;
  std::string_view value_name;    ///< "FILE", "PORTS", ...
  std::string_view help;          ///< one sentence, lower case, no full stop
  std::string_view default_text;  ///< as it would be typed; empty: none
  std::string_view commands;      ///< subcommands that know it, space-separated
  std::string_view choices;       ///< "text|jsonl"; empty: any
  Check check;                    ///< null: none beyond kind and choices
  bool on_command_line;
  bool in_config;
  long long smallest = 0;  ///< of a number
  long long largest =
      0;  ///< of a text or list, not 0: in the file a whole number will do for a string

  [[nodiscard]] bool takes_numbers() const { return kind != Kind::number && largest != 0; }
};
std::span<const Option> option_table();
const Option* find_option(std::string_view name);
bool knows(std::string_view command, const Option& option);

/// `value` with strings for whole numbers, where the option takes either: as it would be typed.
nlohmann::json as_text(const Option& option, const nlohmann::json& value);

/// Checks kind, choices and the option's own check. `value` of a list may be one string.
[[nodiscard]] base::Result<> check_value(const Option& option, const nlohmann::json& value);

/// Calls `use` with each part of `text` that `separator` divides: choices, commands.
template <class Use>
void for_each_part(std::string_view text, char separator, Use use) {
  while (!text.empty()) {
    const auto end = std::min(text.find(separator), text.size());
    use(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

/// Long options that are no keys of the file, and keys that are no options, in the table's order.
std::vector<std::string_view> cli_only_options();
std::vector<std::string_view> config_only_options();

}  // namespace mitm::cli
