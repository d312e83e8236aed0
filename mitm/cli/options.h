// The table of options. The command line, the config file and the wire to root are read by it;
// --help, the manual pages, the completions, the sample and its schema are made from it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "mitm/cli/settings.h"

namespace mitm::cli {

enum class Kind : std::uint8_t { flag, text, number, list, objects };

/// Where an option may be given.
enum class Source : std::uint8_t { both, command_line, config };

/// How an option's value is read into its member of Settings and written from it. Values are JSON
/// as in the config file; the command line makes the same JSON of what is typed. Made by the
/// functions of option_types.h.
struct ValueType {
  Kind kind = Kind::text;
  std::span<const std::string_view> choices{};  ///< of a text; empty: any text
  /// Of a number. Of a text or a list: of the whole numbers that stand for a text; 0, 0: none do.
  long long smallest = 0;
  long long largest = 0;
  /// What is wrong with a value that has the right type; asked of users' values only, not of those
  /// from the wire. Null: nothing more.
  base::Result<> (*check)(const nlohmann::json& value) = nullptr;
  base::Result<> (*parse)(const nlohmann::json& value, Settings& settings) = nullptr;
  nlohmann::json (*render)(const Settings& settings) = nullptr;  ///< null: no value
  void (*copy)(const Settings& from, Settings& to) = nullptr;
  bool crosses_wire = true;  ///< false: only the config loader needs it
};

/// One option. The config key is the long name.
struct Option {
  std::string_view name;
  char letter = 0;              ///< short form, 0: none
  std::string_view argument{};  ///< "FILE", "PORTS", ...
  std::string_view help;        ///< one sentence, lower case, no full stop
  std::string_view commands;    ///< subcommands that know it, space-separated
  Source source = Source::both;
  ValueType type{};

  [[nodiscard]] bool on_command_line() const { return source != Source::config; }
  [[nodiscard]] bool in_config() const { return source != Source::command_line; }
  [[nodiscard]] bool is_flag() const { return type.kind == Kind::flag; }
  [[nodiscard]] bool takes_numbers() const {
    return type.kind != Kind::number && type.largest != 0;
  }
};

std::span<const Option> option_table();
/// Null: there is no such option.
const Option* find_option(std::string_view name);
bool knows(std::string_view command, const Option& option);

/// Reads a value that a user wrote into its member. The error says what was expected and what was
/// found; of a list of objects it has a line for each thing that is wrong.
[[nodiscard]] base::Result<> set_option(const Option& option, const nlohmann::json& value,
                                        Settings& settings);

/// The default as the config file would have it; null: none.
nlohmann::json default_of(const Option& option);
/// The default as it would be typed; empty: none.
std::string default_text(const Option& option);

/// The options that have a value, as the config file would have them.
nlohmann::json render_config(const Settings& settings);

/// The settings as plain data, for the way from the config loader, which has the user's rights, to
/// root: all but those of the policy and of files that the config loader reads.
nlohmann::json to_wire(const Settings& settings);
/// Accepts only what to_wire() can make.
[[nodiscard]] base::Result<Settings> from_wire(const nlohmann::json& data);

/// Options that are no keys of the file, and keys that are no options, in the table's order.
std::vector<std::string_view> cli_only_options();
std::vector<std::string_view> config_only_options();

/// Calls `use` with each part of `text` that `separator` divides.
template <class Use>
void for_each_part(std::string_view text, char separator, Use use) {
  while (!text.empty()) {
    const auto end = std::min(text.find(separator), text.size());
    use(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

}  // namespace mitm::cli
