// conf/completion: what a shell offers behind `osproxy`, made from the option table. Tests compare
// the files with this and ask real shells.
#include <fmt/format.h>

#include "mitm/cli/command_line.h"
#include "mitm/cli/generate.h"
#include "mitm/cli/help.h"
#include "mitm/cli/options.h"

namespace mitm::cli {
namespace {

constexpr std::string_view kMadeBy =
    "# Made of its .in file and the option table by OSPROXY_WRITE_CONF=1 mitm_test -tc='conf:*'.\n";

bool is_typed(const Option& option, std::string_view command) {
  return option.on_command_line() && knows(command, option);
}

/// What a shell can offer for the value: the choices, FILE or DIR (names of files), FILTER or
/// FIELDS (osproxy is asked), or ANY (nothing).
std::string offered(const Option& option) {
  if (option.is_flag()) return {};
  if (!option.type.choices.empty()) return fmt::format("{}", fmt::join(option.type.choices, " "));
  for (const std::string_view known : {"FILE", "DIR", "FILTER", "FIELDS"}) {
    if (option.argument == known) return std::string(known);
  }
  return option.argument == "OUT" ? "FILE" : "ANY";
}

std::string commands_list() {
  std::string names;
  for (const HelpPage& page : help_pages())
    names.append(names.empty() ? "" : " ").append(page.command);
  return names + " help";
}

/// A shell function that prints what `cases` gives for the word that it is called with.
template <class Cases>
std::string bash_function(std::string_view name, Cases cases) {
  std::string out = fmt::format("\n# For the word $1.\n{}() {{\n  case $1 in\n", name);
  const auto one = [&](std::string_view pattern, std::string_view words) {
    if (!words.empty()) out += fmt::format("    {}) echo '{}' ;;\n", pattern, words);
  };
  cases(one);
  return out + "  esac\n}\n";
}

/// In single quotes, where zsh's _arguments gives []: a meaning.
std::string zsh_text(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '[' || c == ']' || c == ':' || c == '\\') out += '\\';
    out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  }
  return out;
}

std::string zsh_action(const Option& option) {
  const std::string words = offered(option);
  if (words == "FILE") return "_files";
  if (words == "DIR") return "_files -/";
  if (words == "FILTER") return "_osproxy_filters";
  if (words == "FIELDS") return "_osproxy_fields";
  return words == "ANY" ? " " : fmt::format("({})", words);
}

std::string zsh_option(const Option& option) {
  const bool is_flag = option.is_flag();
  const std::string value =
      is_flag ? "" : fmt::format(":{}:{}", zsh_text(option.argument), zsh_action(option));
  const std::string rest = fmt::format("'[{}]{}'", zsh_text(option.help), value);
  if (!option.letter) return fmt::format("    --{}{}{}\n", option.name, is_flag ? "" : "=", rest);
  return fmt::format("    '(-{0} --{1})'{{-{0}{2},--{1}{3}}}{4}\n", option.letter, option.name,
                     is_flag ? "" : "+", is_flag ? "" : "=", rest);
}

/// `script` with its marked lines replaced.
std::string filled(std::string_view script, std::string_view table) {
  std::string out;
  while (!script.empty()) {
    const auto end = std::min(script.find('\n'), script.size());
    const std::string_view line = script.substr(0, end);
    script.remove_prefix(std::min(end + 1, script.size()));
    if (line == "@made@")
      out += kMadeBy;
    else if (line == "@table@")
      out += table;
    else
      out.append(line).append("\n");
  }
  return out;
}

std::string verbs_list(const HelpPage& page) {
  return fmt::format("{}", fmt::join(verbs_of(page.command), " "));
}

}  // namespace

std::string bash_completion(std::string_view script) {
  std::string table = fmt::format("_osproxy_commands='{}'\n", commands_list());
  table += bash_function("_osproxy_options", [](auto one) {
    for (const HelpPage& page : help_pages()) {
      std::string names;
      for (const Option& option : option_table()) {
        if (!is_typed(option, page.command)) continue;
        names += fmt::format("--{} ", option.name);
        if (option.letter) names += fmt::format("-{} ", option.letter);
      }
      one(page.command, names + "--help");
    }
  });
  table += bash_function("_osproxy_value", [](auto one) {
    for (const Option& option : option_table()) {
      if (!option.on_command_line()) continue;
      const std::string letter = option.letter ? fmt::format(" | -{}", option.letter) : "";
      one(fmt::format("--{}{}", option.name, letter), offered(option));
    }
  });
  table += bash_function("_osproxy_words", [](auto one) {
    for (const HelpPage& page : help_pages()) one(page.command, verbs_list(page));
    one("help", commands_list());
  });
  return filled(script, table);
}

std::string zsh_completion(std::string_view script) {
  std::string table = "  local -A _osproxy_summaries _osproxy_verbs\n  _osproxy_summaries=(\n";
  for (const HelpPage& page : help_pages())
    table += fmt::format("    {} '{}'\n", page.command, zsh_text(page.summary));
  table += "    help 'what a command does'\n  )\n  _osproxy_verbs=(\n";
  for (const HelpPage& page : help_pages()) {
    if (!verbs_of(page.command).empty())
      table += fmt::format("    {} '{}'\n", page.command, verbs_list(page));
  }
  table += "  )\n";
  for (const HelpPage& page : help_pages()) {
    table += fmt::format("  local -a _osproxy_{0}\n  _osproxy_{0}=(\n", page.command);
    for (const Option& option : option_table()) {
      if (is_typed(option, page.command)) table += zsh_option(option);
    }
    table += "    '(- *)'{-h,--help}'[what it does]'\n  )\n";
  }
  return filled(script, table);
}

}  // namespace mitm::cli
