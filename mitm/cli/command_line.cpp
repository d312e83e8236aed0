// argv by Boost.Program_options, whose descriptions are made from the option table.
#include <algorithm>
#include <array>
#include <charconv>

#include <boost/program_options.hpp>
#include <fmt/format.h>

#include "mitm/cli/options.h"

namespace mitm::cli {
namespace {

namespace po = boost::program_options;
using base::failure;
using base::Result;
using Words = std::vector<std::string>;

constexpr std::array<std::string_view, 8> kCommands{"run", "exec",   "rules",   "who",
                                                    "ca",  "config", "cleanup", "help"};
constexpr std::array<std::string_view, 6> kCaVerbs{"create",  "show",      "export",
                                                   "install", "uninstall", "status"};
constexpr std::array<std::string_view, 2> kConfigVerbs{"check", "show"};

bool is_command(std::string_view word) {
  return std::ranges::find(kCommands, word) != kCommands.end();
}

bool looks_like_option(std::string_view word) {
  return word.size() > 1 && word.front() == '-';
}

/// Whether the option in `word` takes the next word as its value.
bool takes_next(std::string_view word) {
  if (word.starts_with("--")) {
    const Option* option = find_option(word.substr(2));
    return option && option->kind != Kind::flag;
  }
  const auto option = std::ranges::find(option_table(), word[1], &Option::letter);
  return word.size() == 2 && option != option_table().end() && option->kind != Kind::flag;
}

/// Place of the first word from `begin` that is neither an option nor an option's value; `--` counts as one.
std::size_t first_plain(const Words& words, std::size_t begin) {
  for (std::size_t i = begin; i < words.size(); ++i) {
    if (words[i] == "--" || !looks_like_option(words[i])) return i;
    if (takes_next(words[i])) ++i;
  }
  return words.size();
}

po::options_description descriptions() {
  po::options_description all;
  const auto spelled = [](std::string_view name, char letter) {
    return letter ? fmt::format("{},{}", name, letter) : std::string(name);
  };
  for (const auto& option : option_table()) {
    if (!option.on_command_line) continue;
    const auto name = spelled(option.name, option.letter);
    option.kind == Kind::flag ? all.add_options()(name.c_str(), "")
                              : all.add_options()(name.c_str(), po::value<Words>(), "");
  }
  all.add_options()("help,h", "")("version,V", "")("plain", po::value<Words>(), "");
  return all;
}

std::vector<std::string_view> spelled_options(std::string_view command) {
  static std::vector<std::string> names;
  names.clear();
  for (const auto& option : option_table()) {
    if (option.on_command_line && knows(command, option)) names.push_back("--" + std::string(option.name));
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
                     option.commands);
    }
    if (option.kind == Kind::flag) {
      invocation.options[name] = true;
      continue;
    }
    auto value = typed_value(option, typed[name].as<Words>());
    if (!value) return failure("--{}: {}", name, value.error().text);
    if (auto good = check_value(option, *value); !good) return failure("--{}: {}", name, good.error().text);
    invocation.options[name] = std::move(*value);
  }
  return {};
}

Result<po::variables_map> split(const Words& words, std::string_view command) {
  using namespace po::command_line_style;
  try {
    const auto all = descriptions();
    po::positional_options_description plain;
    plain.add("plain", -1);
    po::variables_map typed;
    po::store(po::command_line_parser(words)
                  .options(all)
                  .positional(plain)
                  .style(unix_style & ~allow_guessing)
                  .run(),
              typed);
    return typed;
  } catch (const po::unknown_option& error) {
    const auto& name = error.get_option_name();
    return failure("unknown option {}{}; see osproxy {} --help", name,
                   suggestion(name, spelled_options(command)), command);
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
    return failure("unknown: {} {}{}; expected one of {}", invocation.command, verb,
                   suggestion(verb, {verbs.begin(), verbs.end()}), list);
  }
  if (invocation.positional.size() > 1)
    return failure("{} {} takes no further words", invocation.command, verb);
  return {};
}

Result<> check_filter(Invocation& invocation) {
  const auto& words = invocation.positional;
  if (words.size() > 1) {
    return failure(
        "run takes one FILTER, found {} words; to run a command and intercept it: osproxy exec -- {}",
        words.size(), fmt::join(words, " "));
  }
  if (!invocation.options.contains("mode")) return {};
  const std::string mode = invocation.options["mode"];
  const auto colon = mode.find(':');
  const auto kind = mode.substr(0, colon);
  if (kind != "osproxy" && kind != "local") {
    return failure("--mode: expected osproxy, osproxy:FILTER, local or local:FILTER, found '{}'", mode);
  }
  if (colon == mode.npos) return {};
  if (!words.empty()) return failure("the filter is given twice: '{}' and --mode {}", words.front(), mode);
  invocation.positional = {mode.substr(colon + 1)};
  return {};
}

Result<> check_positional(Invocation& invocation) {
  const auto& command = invocation.command;
  if (command == "run") return check_filter(invocation);
  if (command == "ca") return check_verb(invocation, kCaVerbs);
  if (command == "config") return check_verb(invocation, kConfigVerbs);
  if (command == "exec") {
    if (invocation.positional.empty()) return failure("exec needs a command: osproxy exec -- CMD [ARG ...]");
    return {};
  }
  const std::size_t limit = command == "who" ? 1 : 0;
  if (invocation.positional.size() > limit) {
    return failure("{} takes {}, found '{}'", command, limit ? "one ADDRESS:PORT" : "no words",
                   invocation.positional.back());
  }
  return {};
}

}  // namespace

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
    auto end = first_plain(words, at);
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
  if (typed->count("plain") > 0) {
    const auto& plain = (*typed)["plain"].as<Words>();
    invocation.positional.insert(invocation.positional.end(), plain.begin(), plain.end());
  }
  if (auto good = check_positional(invocation); !good) return good.error();
  return invocation;
}

}  // namespace mitm::cli
