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

/// What was typed, checked against the table.
struct Invocation {
  std::string command = "run";          ///< run exec rules who ca config cleanup
  std::vector<std::string> positional;  ///< FILTER, CMD..., ADDR:PORT, the verb of ca and config
  nlohmann::json options =
      nlohmann::json::object();    ///< long name -> bool, string, integer or list
  std::vector<std::string> typed;  ///< argv[1..]
  bool help = false;
  std::string help_topic;  ///< the command whose help is wanted; empty: the program's
  bool version = false;
};

/// Only splits argv (without argv[0]): reads no file. Errors are usage errors and suggest the
/// nearest option or command.
[[nodiscard]] base::Result<Invocation> parse_command_line(std::span<const char* const> argv);

/// The effective options: defaults, then the config file, then the command line. The config file is
/// --config, else `home`/.config/osproxy/config.json when it exists. Errors: "FILE:LINE: KEY:
/// expected ...", all that there are (kSeveralErrors).
[[nodiscard]] base::Result<nlohmann::json> effective_options(const Invocation& invocation,
                                                             const std::string& home);

/// The config file that is read if it exists, or must exist when it was named.
std::string config_path(const Invocation& invocation, const std::string& home);

/// `value` with strings for whole numbers, where the option takes either: as it would be typed.
nlohmann::json worded(const Option& option, const nlohmann::json& value);

/// Checks kind, choices and the option's own check. `value` of a list may be one string.
[[nodiscard]] base::Result<> check_value(const Option& option, const nlohmann::json& value);

/// `value` as an error shows it: as JSON when that is short, else what kind of value it is.
std::string shown(const nlohmann::json& value);

/// The first of the nearest of `words`, where one is near: at most a third of the letters differ.
std::string nearest_word(std::string_view typed, const std::vector<std::string_view>& words);

/// "; did you mean WORD?" for the nearest of `words`; empty when none is near.
std::string suggestion(std::string_view typed, const std::vector<std::string_view>& words);

/// What --help says of a command beside its options.
struct Page {
  std::string_view command;
  std::string_view summary;  ///< for the list of commands
  std::string_view usage;
  std::string_view text;
  std::string_view examples;
};
std::span<const Page> help_pages();

/// The words of which one must follow `command` (ca, config); none for the others.
std::span<const std::string_view> verbs_of(std::string_view command);

/// Calls `use` with each part of `text` that `separator` divides: choices, commands.
template <class Use>
void for_each_part(std::string_view text, char separator, Use use) {
  while (!text.empty()) {
    const auto end = std::min(text.find(separator), text.size());
    use(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

/// os_code of what is wrong with how osproxy was called: exit status 2. No errno.
inline constexpr int kUsageError = -1;
/// os_code of an error whose text has a line for each of several things that are wrong.
inline constexpr int kSeveralErrors = -2;

/// Long options that are no keys of the file, and keys that are no options, in the table's order.
std::vector<std::string_view> names_of_no_keys();
std::vector<std::string_view> names_of_mere_keys();

std::string help_text(std::string_view command);  ///< "": the program's own

/// conf/osproxy.json and conf/osproxy.schema.json, made from the table.
std::string sample_config();
std::string config_schema();

/// conf/completion/osproxy.bash and _osproxy (zsh): `script` (conf/completion/*.in) in which the
/// line
/// `@table@` has become commands, options and values.
std::string bash_completion(std::string_view script);
std::string zsh_completion(std::string_view script);

/// A manual page: `prose` (man/*.in, mdoc) in which the line `@options@` has become a list of all
/// options of the command line, and `@keys@` one of all keys of the config file.
std::string manual_page(std::string_view prose);

}  // namespace mitm::cli
