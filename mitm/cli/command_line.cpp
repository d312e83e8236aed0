// argv by Boost.Program_options, whose descriptions are made from the option table.
#include "mitm/cli/command_line.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

#include <boost/algorithm/string/replace.hpp>
#include <boost/program_options.hpp>
#include <fmt/format.h>

#include "mitm/cli/options.h"
#include "mitm/cli/suggestion.h"

namespace mitm::cli {
namespace {

namespace po = boost::program_options;
using base::failure;
using base::Result;
using Words = std::vector<std::string>;

constexpr std::array<std::string_view, 10> kCommands{
    "run", "exec", "rules", "who", "ca", "learned", "config", "doctor", "cleanup", "help"};
constexpr std::array<std::string_view, 6> kCaVerbs{"create",  "show",      "export",
                                                   "install", "uninstall", "status"};
constexpr std::array<std::string_view, 2> kConfigVerbs{"check", "show"};

/// The words that are no options, as the library names them: nothing that can be typed.
constexpr const char* kPlain = "plain words";

bool is_command(std::string_view word) {
  return std::ranges::find(kCommands, word) != kCommands.end();
}

bool looks_like_option(std::string_view word) {
  return word.size() > 1 && word.front() == '-';
}

const Option* with_letter(char letter) {
  const auto option = std::ranges::find(option_table(), letter, &Option::letter);
  return option == option_table().end() ? nullptr : &*option;
}

/// What `word` asks of the words behind it: "--detail", "-d", "-kd" the next one; "--detail=2",
/// "-d2", "-k" nothing. `option` is the one that takes a value, or the last one.
struct Spelling {
  const Option* option = nullptr;  ///< null: none of the table's
  std::optional<std::string_view> value;

  [[nodiscard]] bool takes_next() const { return option && option->kind != Kind::flag && !value; }
};

Spelling spelling_of(std::string_view word) {
  if (word.starts_with("--")) {
    const auto equals = word.find('=');
    const auto* option = find_option(word.substr(2, equals == word.npos ? equals : equals - 2));
    if (equals == word.npos) return {option, {}};
    return {option, word.substr(equals + 1)};
  }
  Spelling spelling;
  for (word.remove_prefix(1); !word.empty(); word.remove_prefix(1)) {
    spelling.option = with_letter(word.front());
    if (!spelling.option || spelling.option->kind == Kind::flag) continue;
    if (word.size() > 1) spelling.value = word.substr(1);
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
         spelling_of(word).option;
}

/// What the library would say less well: a value that is missing, one too many, a key of the file.
Result<> check_spelling(const Words& words, std::string_view command) {
  for (std::size_t i = 0; i < words.size() && words[i] != "--"; ++i) {
    if (!looks_like_option(words[i])) continue;
    const auto spelling = spelling_of(words[i]);
    if (!spelling.option) continue;
    const Option& option = *spelling.option;
    if (!option.on_command_line) {
      return failure(
          "--{} is a key of the config file, not an option{}", option.name,
          option.name == "filter" ? "; the filter is a plain word: osproxy run FILTER" : "");
    }
    if (option.kind == Kind::flag && spelling.value) {
      return failure("--{} takes no value; see osproxy {} --help", option.name, command);
    }
    const bool missing = spelling.takes_next() ? i + 1 == words.size() || is_option(words[i + 1])
                                               : spelling.value == "";
    if (missing) {
      return failure("--{} needs a value: {}; see osproxy {} --help", option.name,
                     option.choices.empty() ? option.value_name : option.choices, command);
    }
    if (spelling.takes_next()) ++i;
  }
  return {};
}

/// `exec -w flows -- curl` would run flows: -w has no value, though it has one elsewhere.
Result<> check_command_place(const Words& words, std::size_t place) {
  const auto behind =
      std::find(words.begin() + static_cast<std::ptrdiff_t>(place), words.end(), "--");
  if (place == 0 || behind == words.end() || words[place] == "--" ||
      !looks_like_option(words[place - 1]))
    return {};
  const auto spelling = spelling_of(words[place - 1]);
  if (!spelling.option || spelling.option->kind != Kind::flag) return {};
  return failure(
      "{} takes no value, so '{}' would be the command; write osproxy exec [options] -- CMD [ARG "
      "...] (flows go to a file with -o FILE)",
      words[place - 1], words[place]);
}

po::options_description descriptions() {
  po::options_description all;
  // Without a value, and as often as one likes.
  const auto flag = [] { return po::value<Words>()->zero_tokens(); };
  const auto spelled = [](std::string_view name, char letter) {
    return letter ? fmt::format("{},{}", name, letter) : std::string(name);
  };
  for (const auto& option : option_table()) {
    if (!option.on_command_line) continue;
    const auto name = spelled(option.name, option.letter);
    all.add_options()(name.c_str(), option.kind == Kind::flag ? flag() : po::value<Words>(), "");
  }
  all.add_options()("help,h", flag(), "")("version,V", flag(), "")(kPlain, po::value<Words>(), "");
  return all;
}

std::vector<std::string_view> spelled_options(std::string_view command) {
  static std::vector<std::string> names;
  names.clear();
  for (const auto& option : option_table()) {
    if (option.on_command_line && knows(command, option))
      names.push_back("--" + std::string(option.name));
  }
  names.emplace_back("--help");
  return {names.begin(), names.end()};
}

/// The value of `option` from what was typed; of a single-valued option the last one counts.
Result<nlohmann::json> typed_value(const Option& option, const Words& values) {
  if (option.kind == Kind::list) return nlohmann::json(values);
  const std::string& text = values.back();
  if (option.kind != Kind::number) return nlohmann::json(text);
  long long number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) {
    return failure("expected a whole number, found '{}'", text);
  }
  return nlohmann::json(number);
}

Result<> take_options(const po::variables_map& typed, Invocation& invocation) {
  for (const auto& option : option_table()) {
    const std::string name(option.name);
    if (!option.on_command_line || typed.count(name) == 0) continue;
    if (!knows(invocation.command, option)) {
      return failure("--{} does not go with '{}'; it goes with: {}", name, invocation.command,
                     boost::replace_all_copy(std::string(option.commands), " ", ", "));
    }
    if (option.kind == Kind::flag) {
      invocation.options[name] = true;
      continue;
    }
    auto value = typed_value(option, typed[name].as<Words>());
    if (!value) return failure("--{}: {}", name, value.error().text);
    if (auto good = check_value(option, *value); !good)
      return failure("--{}: {}", name, good.error().text);
    invocation.options[name] = std::move(*value);
  }
  return {};
}

Result<po::variables_map> split(const Words& words, std::string_view command) {
  using namespace po::command_line_style;
  if (auto good = check_spelling(words, command); !good) return good.error();
  try {
    const auto all = descriptions();
    po::positional_options_description plain;
    plain.add(kPlain, -1);
    po::variables_map typed;
    po::store(po::command_line_parser(words)
                  .options(all)
                  .positional(plain)
                  .style(unix_style & ~allow_guessing)
                  .run(),
              typed);
    return typed;
  } catch (const po::unknown_option& error) {
    const std::string typed = error.get_option_name();
    const auto name = typed.substr(0, typed.find('='));
    const auto near = suggestion(name, spelled_options(command));
    return failure("unknown option {}{} osproxy {} --help", name,
                   near.empty() ? "; see" : near + " See", command);
  } catch (const po::error& error) {
    return failure("{}; see osproxy {} --help", error.what(), command);
  }
}

Result<> check_verb(const Invocation& invocation, std::span<const std::string_view> verbs) {
  const auto list = fmt::format("{}", fmt::join(verbs, ", "));
  if (invocation.positional.empty()) {
    return failure("{} needs a word: one of {}", invocation.command, list);
  }
  const auto& verb = invocation.positional.front();
  if (std::ranges::find(verbs, verb) == verbs.end()) {
    const auto near = suggestion(verb, {verbs.begin(), verbs.end()});
    return failure("unknown word '{}' for {}{} {}", verb, invocation.command,
                   near.empty() ? "; expected one of" : near + " Expected one of", list);
  }
  if (invocation.positional.size() > 1)
    return failure("{} {} takes no further words", invocation.command, verb);
  return {};
}

Result<> check_filter(Invocation& invocation) {
  const auto& words = invocation.positional;
  if (words.size() > 1) {
    const auto near = suggestion(words.front(), {kCommands.begin(), kCommands.end()});
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
  if (!invocation.options.contains("mode")) return {};
  const std::string mode = invocation.options["mode"];
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

Result<> check_positional(Invocation& invocation) {
  const auto& command = invocation.command;
  if (command == "run") return check_filter(invocation);
  if (command == "ca") return check_verb(invocation, kCaVerbs);
  if (command == "config") return check_verb(invocation, kConfigVerbs);
  if (command == "exec") {
    if (invocation.positional.empty())
      return failure("exec needs a command: osproxy exec -- CMD [ARG ...]");
    return {};
  }
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
  return {};
}

Result<Invocation> parse_command_line(std::span<const char* const> argv) {
  Invocation invocation;
  invocation.typed.assign(argv.begin(), argv.end());
  Words words = invocation.typed;
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
  invocation.help = typed->count("help") > 0;
  invocation.version = typed->count("version") > 0;
  if (invocation.help || invocation.version) return invocation;
  if (auto taken = take_options(*typed, invocation); !taken) return taken.error();
  if (typed->count(kPlain) > 0) {
    const auto& plain = (*typed)[kPlain].as<Words>();
    invocation.positional.insert(invocation.positional.end(), plain.begin(), plain.end());
  }
  if (auto good = check_positional(invocation); !good) return good.error();
  return invocation;
}

}  // namespace mitm::cli
