// argv, tokenised by hand: see README.md for why not by Boost.Program_options.
#include "mitm/cli/command_line.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <optional>

#include <boost/algorithm/string/replace.hpp>
#include <fmt/format.h>

#include "base/suggestion.h"
#include "mitm/cli/unknown_option.h"

namespace mitm::cli {
namespace {

using base::failure;
using base::Result;
using Words = std::vector<std::string>;

constexpr std::array<std::string_view, 15> kCommands{
    "run", "exec", "open",    "query",  "export", "import",  "sessions", "rules",
    "who", "ca",   "learned", "config", "doctor", "cleanup", "help"};
constexpr std::array<std::string_view, 6> kCaVerbs{"create",  "show",      "export",
                                                   "install", "uninstall", "status"};
constexpr std::array<std::string_view, 2> kConfigVerbs{"check", "show"};
constexpr std::array<std::string_view, 3> kSessionsVerbs{"list", "rm", "compact"};

/// Every command has these two; they have no value.
constexpr std::array kOfEveryCommand{
    Option{.name = "help", .letter = 'h', .help = {}, .commands = {}, .type = {.kind = Kind::flag}},
    Option{
        .name = "version", .letter = 'V', .help = {}, .commands = {}, .type = {.kind = Kind::flag}},
};

bool is_command(std::string_view word) {
  return std::ranges::find(kCommands, word) != kCommands.end();
}

bool looks_like_option(std::string_view word) {
  return word.size() > 1 && word.front() == '-';
}

/// Null: no option has it.
const Option* option_with(auto Option::*member, const auto& wanted) {
  const auto has_it = [&](const Option& option) { return option.*member == wanted; };
  const auto one = std::ranges::find_if(kOfEveryCommand, has_it);
  if (one != kOfEveryCommand.end()) return &*one;
  const auto table = option_table();
  const auto found = std::ranges::find_if(table, has_it);
  return found == table.end() ? nullptr : &*found;
}

/// An option in a word, with the value in the same word: "--detail=2", "-d2".
struct Use {
  const Option* option;
  std::optional<std::string> value{};

  /// "--detail", "-d": the next word is the value.
  [[nodiscard]] bool takes_next() const { return !option->is_flag() && !value; }
};

/// The options that a word names: "--detail=2" one, "-kd2" two.
struct Spelling {
  std::vector<Use> uses;
  std::string unknown;  ///< "--detial", "-Z"; empty: all are known

  [[nodiscard]] bool takes_next() const {
    return unknown.empty() && !uses.empty() && uses.back().takes_next();
  }
};

Spelling spelling_of_long(std::string_view word) {
  const auto equals = word.find('=');
  const auto name = word.substr(0, equals);
  const Option* option = option_with(&Option::name, name.substr(2));
  if (!option) return {{}, std::string(name)};
  Spelling spelling;
  spelling.uses.push_back({option});
  if (equals != word.npos) spelling.uses.back().value = word.substr(equals + 1);
  return spelling;
}

Spelling spelling_of(std::string_view word) {
  if (word.starts_with("--")) return spelling_of_long(word);
  Spelling spelling;
  for (std::size_t i = 1; i < word.size(); ++i) {
    const Option* option = option_with(&Option::letter, word[i]);
    if (!option) {
      spelling.unknown = {'-', word[i]};
      return spelling;
    }
    spelling.uses.push_back({option});
    if (option->is_flag()) continue;
    if (i + 1 < word.size()) spelling.uses.back().value = word.substr(i + 1);
    break;
  }
  return spelling;
}

/// Place of the first word from `begin` that is neither an option nor an option's value; `--`
/// counts as one.
std::size_t first_plain(const Words& words, std::size_t begin) {
  for (std::size_t i = begin; i < words.size(); ++i) {
    if (words[i] == "--" || !looks_like_option(words[i])) return i;
    if (spelling_of(words[i]).takes_next()) ++i;
  }
  return words.size();
}

/// Whether `word` cannot be meant as a value, although it might be one: "--detail", "-d", "--".
bool is_option(std::string_view word) {
  if (word == "--") return true;
  return (word.starts_with("--") || word.size() == 2) && looks_like_option(word) &&
         spelling_of(word).unknown.empty();
}

/// `exec -w flows -- curl` would run flows: -w has no value, though it has one elsewhere.
Result<> check_command_place(const Words& words, std::size_t place) {
  const auto behind =
      std::find(words.begin() + static_cast<std::ptrdiff_t>(place), words.end(), "--");
  if (place == 0 || behind == words.end() || words[place] == "--" ||
      !looks_like_option(words[place - 1]))
    return {};
  const auto spelling = spelling_of(words[place - 1]);
  if (!spelling.unknown.empty() || !spelling.uses.back().option->is_flag()) return {};
  return failure(
      "{} takes no value, so '{}' would be the command; write osproxy exec [options] -- CMD [ARG "
      "...] (flows go to a file with -o FILE)",
      words[place - 1], words[place]);
}

std::vector<std::string_view> spelled_options(std::string_view command) {
  static std::vector<std::string> names;
  names.clear();
  for (const auto& option : option_table()) {
    if (option.on_command_line() && knows(command, option))
      names.push_back("--" + std::string(option.name));
  }
  names.emplace_back("--help");
  return {names.begin(), names.end()};
}

/// What was typed: the values of each option, by its name, and the other words.
struct Typed {
  std::map<std::string_view, Words> values;  ///< a flag's are empty words
  Words plain;
};

/// An option may have another entry for another command: that one of `command` counts.
const Option& entry_for(const Option& option, std::string_view command) {
  const auto table = option_table();
  const auto fits = [&](const Option& one) {
    return one.name == option.name && knows(command, one);
  };
  const auto found = std::ranges::find_if(table, fits);
  return found == table.end() ? option : *found;
}

/// Of all entries of an option: "run, exec".
std::string commands_with(std::string_view name) {
  std::vector<std::string> lists;
  for (const Option& one : option_table()) {
    if (one.name == name && one.on_command_line())
      lists.push_back(boost::replace_all_copy(std::string(one.commands), " ", ", "));
  }
  return fmt::format("{}", fmt::join(lists, ", "));
}

/// The value of an option; `next`: the word behind it, null at the end.
Result<std::string> value_of(const Use& use, const std::string* next, std::string_view command) {
  const Option& option = entry_for(*use.option, command);
  if (!option.on_command_line()) {
    return failure(
        "--{} is a key of the config file, not an option{}", option.name,
        option.name == "filter" ? "; the filter is a plain word: osproxy run FILTER" : "");
  }
  if (option.is_flag()) {
    if (use.value)
      return failure("--{} takes no value; see osproxy {} --help", option.name, command);
    return std::string();
  }
  const bool missing = use.value ? use.value->empty() : next == nullptr || is_option(*next);
  if (!missing) return use.value ? *use.value : *next;
  return failure("--{} needs a value: {}; see osproxy {} --help", option.name,
                 option.type.choices.empty()
                     ? std::string(option.argument)
                     : fmt::format("{}", fmt::join(option.type.choices, "|")),
                 command);
}

Result<Typed> split(const Words& words, std::string_view command) {
  Typed typed;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "--") {
      typed.plain.insert(typed.plain.end(), words.begin() + static_cast<std::ptrdiff_t>(i) + 1,
                         words.end());
      break;
    }
    if (!looks_like_option(words[i])) {
      typed.plain.push_back(words[i]);
      continue;
    }
    const Spelling spelling = spelling_of(words[i]);
    if (!spelling.unknown.empty())
      return failure("{}",
                     unknown_option(spelling.unknown, command, spelled_options(command), words));
    const std::string* next = i + 1 < words.size() ? &words[i + 1] : nullptr;
    for (const Use& use : spelling.uses) {
      auto value = value_of(use, next, command);
      if (!value) return value.error();
      typed.values[use.option->name].push_back(std::move(*value));
    }
    if (spelling.takes_next()) ++i;
  }
  return typed;
}

/// What was typed as the config file would have it; of an option with one value the last one
/// counts.
Result<nlohmann::json> typed_value(const Option& option, const Words& values) {
  if (option.is_flag()) return nlohmann::json(true);
  if (option.type.kind == Kind::list) return nlohmann::json(values);
  const std::string& text = values.back();
  if (option.type.kind != Kind::number) return nlohmann::json(text);
  long long number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) {
    return failure("expected a whole number, found '{}'", text);
  }
  return nlohmann::json(number);
}

Result<> take_options(const Typed& typed, Invocation& invocation) {
  for (const Option& option : option_table()) {
    const auto found = typed.values.find(option.name);
    if (found == typed.values.end() || &entry_for(option, invocation.command) != &option) continue;
    if (!knows(invocation.command, option)) {
      return failure("--{} does not go with '{}'; it goes with: {}", option.name,
                     invocation.command, commands_with(option.name));
    }
    const auto value = typed_value(option, found->second);
    if (!value) return failure("--{}: {}", option.name, value.error().text);
    if (const auto good = set_option(option, *value, invocation.typed); !good)
      return base::Error{fmt::format("--{}: {}", option.name, good.error().text),
                         good.error().os_code};
    invocation.given.push_back(&option);
  }
  return {};
}

enum class FurtherWords : std::uint8_t { none, any };

Result<> check_verb(const Invocation& invocation, std::span<const std::string_view> verbs,
                    FurtherWords further = FurtherWords::none) {
  const auto list = fmt::format("{}", fmt::join(verbs, ", "));
  if (invocation.positional.empty()) {
    return failure("{} needs a word: one of {}", invocation.command, list);
  }
  const auto& verb = invocation.positional.front();
  if (std::ranges::find(verbs, verb) == verbs.end()) {
    const auto near = base::suggestion(verb, {verbs.begin(), verbs.end()});
    return failure("unknown word '{}' for {}{} {}", verb, invocation.command,
                   near.empty() ? "; expected one of" : near + " Expected one of", list);
  }
  if (invocation.positional.size() > 1 && further == FurtherWords::none)
    return failure("{} {} takes no further words", invocation.command, verb);
  return {};
}

Result<> check_filter(Invocation& invocation) {
  const auto& words = invocation.positional;
  if (words.size() > 1) {
    const auto near = base::suggestion(words.front(), {kCommands.begin(), kCommands.end()});
    if (!near.empty()) return failure("run takes one FILTER, found {} words{}", words.size(), near);
    return failure(
        "run takes one FILTER, found {} words; to run "
        "a command and intercept it: osproxy exec -- {}",
        words.size(), fmt::join(words, " "));
  }
  // What an unset variable leaves ("$PROG") must not select every program.
  const auto empty = [] {
    return failure("the FILTER is empty; leave it out to intercept every program");
  };
  if (!words.empty() && words.front().empty()) return empty();
  if (!words.empty() && words.front().find("://") != std::string::npos)
    return failure(
        "'{}' is a URL, and FILTER names programs; to see what a program gets from there: osproxy "
        "exec -- curl {}",
        words.front(), words.front());
  if (!invocation.has("mode")) return {};
  const std::string& mode = invocation.typed.mode;
  const auto colon = mode.find(':');
  const auto kind = mode.substr(0, colon);
  if (kind != "osproxy" && kind != "local") {
    return failure("--mode: expected osproxy, osproxy:FILTER, local or local:FILTER, found '{}'",
                   mode);
  }
  if (colon == mode.npos) return {};
  if (!words.empty())
    return failure("the filter is given twice: '{}' and --mode {}", words.front(), mode);
  if (colon + 1 == mode.size()) return empty();
  invocation.positional = {mode.substr(colon + 1)};
  return {};
}

/// `config check FILE` is `config check -c FILE`.
void take_config_file(Invocation& invocation) {
  if (invocation.positional.size() != 2 || invocation.has("config")) return;
  invocation.typed.config = invocation.positional.back();
  invocation.given.insert(invocation.given.begin(), option_with(&Option::name, "config"));
  invocation.positional.pop_back();
}

/// FILE and FILTER of query and export.
Result<> check_file_and_filter(const Invocation& invocation) {
  const Words& words = invocation.positional;
  const std::string& command = invocation.command;
  if (invocation.has("count") && invocation.has("fields"))
    return failure("--count does not go with --fields: leave one of them out");
  if (words.empty())
    return failure("{0} needs a file: osproxy {0} FILE [FILTER]{1}; a session is made by --save",
                   command, command == "export" ? " -o OUT" : "");
  if (words.size() == 1 || words.size() == 2) return {};
  return failure("{} takes FILE and FILTER, found {} words; quote the filter: '{}'", command,
                 words.size(), fmt::join(words.begin() + 1, words.end(), " "));
}

/// `export FILE OUT`, as cp has it, would take OUT for the filter.
Result<> check_export(const Invocation& invocation) {
  if (!invocation.typed.output.empty()) return check_file_and_filter(invocation);
  const Words& words = invocation.positional;
  if (words.size() < 2) return failure("export needs OUT: osproxy export FILE [FILTER] -o OUT");
  const std::string filter = words.size() == 2 ? "" : fmt::format(" '{}'", words[1]);
  return failure("export needs OUT behind -o; perhaps: osproxy export {}{} -o {}", words.front(),
                 filter, words.back());
}

/// What is to be removed or changed is named.
Result<> check_sessions(const Invocation& invocation) {
  if (auto good = check_verb(invocation, kSessionsVerbs, FurtherWords::any); !good) return good;
  const std::string& verb = invocation.positional.front();
  if (verb == "list" || invocation.positional.size() > 1) return {};
  return failure(
      "sessions {0} needs a session: osproxy sessions {0} SESSION ...; osproxy sessions "
      "list shows them",
      verb);
}

Result<> check_open(const Words& words) {
  if (!words.empty()) return {};
  return failure("open needs a file: osproxy open FILE ...; a session is made by --save");
}

Result<> check_import(const Invocation& invocation) {
  if (invocation.typed.save.empty())
    return failure("import needs a session: osproxy import FILE ... --save SESSION");
  if (invocation.positional.empty())
    return failure("import needs a file: osproxy import FILE ... --save {}", invocation.typed.save);
  return {};
}

Result<> check_positional(Invocation& invocation) {
  const auto& command = invocation.command;
  if (command == "run") return check_filter(invocation);
  if (command == "ca") return check_verb(invocation, kCaVerbs);
  if (command == "config") {
    take_config_file(invocation);
    return check_verb(invocation, kConfigVerbs);
  }
  if (command == "exec") {
    if (invocation.positional.empty())
      return failure("exec needs a command: osproxy exec -- CMD [ARG ...]");
    return {};
  }
  if (command == "query" && invocation.typed.list_fields) return {};
  if (command == "query") return check_file_and_filter(invocation);
  if (command == "export") return check_export(invocation);
  if (command == "sessions") return check_sessions(invocation);
  if (command == "open") return check_open(invocation.positional);
  if (command == "import") return check_import(invocation);
  const std::size_t limit = command == "who" ? 1 : 0;
  if (invocation.positional.size() > limit) {
    return failure("{} takes {}, found '{}'", command, limit ? "one WHAT" : "no words",
                   invocation.positional.back());
  }
  return {};
}

}  // namespace

std::span<const std::string_view> verbs_of(std::string_view command) {
  if (command == "ca") return kCaVerbs;
  if (command == "config") return kConfigVerbs;
  if (command == "sessions") return kSessionsVerbs;
  return {};
}

bool Invocation::has(std::string_view option) const {
  return std::ranges::find(given, option, &Option::name) != given.end();
}

Result<Invocation> parse_command_line(std::span<const char* const> argv) {
  Invocation invocation;
  invocation.argv.assign(argv.begin(), argv.end());
  Words words = invocation.argv;
  const std::size_t at = first_plain(words, 0);
  const bool named = at < words.size() && is_command(words[at]);
  if (named) {
    invocation.command = words[at];
    invocation.help_topic = words[at];
    words.erase(words.begin() + static_cast<std::ptrdiff_t>(at));
  }
  if (invocation.command == "help") {
    invocation.help = true;
    invocation.help_topic = at < words.size() ? words[at] : "";
    if (!invocation.help_topic.empty() && !is_command(invocation.help_topic)) {
      return failure("no help for '{}'; osproxy --help lists the commands", invocation.help_topic);
    }
    return invocation;
  }
  if (invocation.command == "exec") {
    const auto end = first_plain(words, at);
    if (const auto good = check_command_place(words, end); !good) return good.error();
    const auto split_at = words.begin() + static_cast<std::ptrdiff_t>(end);
    invocation.positional.assign(end < words.size() && *split_at == "--" ? split_at + 1 : split_at,
                                 words.end());
    words.erase(split_at, words.end());
  }
  const auto typed = split(words, invocation.command);
  if (!typed) return typed.error();
  invocation.help = typed->values.contains("help");
  invocation.version = typed->values.contains("version");
  if (invocation.help && !named && !typed->plain.empty()) {
    const std::string& word = typed->plain.front();
    return failure("unknown command '{}'{}; osproxy --help lists the commands", word,
                   base::suggestion(word, {kCommands.begin(), kCommands.end()}));
  }
  if (invocation.help || invocation.version) return invocation;
  if (auto taken = take_options(*typed, invocation); !taken) return taken.error();
  invocation.positional.insert(invocation.positional.end(), typed->plain.begin(),
                               typed->plain.end());
  if (auto good = check_positional(invocation); !good) return good.error();
  return invocation;
}

}  // namespace mitm::cli
