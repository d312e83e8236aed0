// The manual pages' lists of options and keys, in mdoc. The prose around them is man/*.in.
#include <fmt/format.h>

#include "mitm/cli/generate.h"
#include "mitm/cli/options.h"

namespace mitm::cli {
namespace {

constexpr std::size_t kWidth = 78;

/// A word that begins a line, or holds a backslash, as mdoc is to print it.
std::string escaped(std::string_view word) {
  std::string out;
  for (const char c : word) c == '\\' ? out.append("\\e") : out.append(1, c);
  return out;
}

/// Whether `word` begins a sentence behind `line`: mdoc wants a line for each.
bool begins_sentence(std::string_view line, std::string_view word) {
  return line.ends_with('.') && !word.empty() && word[0] >= 'A' && word[0] <= 'Z';
}

/// Lines of text; none begins as a request would.
std::string paragraph(std::string_view text) {
  std::string out, line;
  const auto end_line = [&] {
    if (line.starts_with('.') || line.starts_with('\'')) line.insert(0, "\\&");
    out += line + "\n";
    line.clear();
  };
  for_each_part(text, ' ', [&](std::string_view word) {
    const bool is_full = line.size() + 1 + word.size() > kWidth;
    if (!line.empty() && (is_full || begins_sentence(line, word))) end_line();
    line.append(line.empty() ? "" : " ").append(escaped(word));
  });
  if (!line.empty()) end_line();
  return out;
}

std::string sentence(std::string_view text) {
  std::string out(text);
  if (!out.empty() && out[0] >= 'a' && out[0] <= 'z')
    out[0] = static_cast<char>(out[0] - 'a' + 'A');
  return out + ".";
}

/// "Cm text | jsonl", "Ar FILE", nothing.
std::string value_of(const Option& option) {
  if (option.type.choices.empty())
    return option.argument.empty() ? "" : fmt::format(" Ar {}", option.argument);
  std::string out;
  for (const auto choice : option.type.choices)
    out += fmt::format("{} Cm {}", out.empty() ? "" : " |", choice);
  return out;
}

std::string default_line(const Option& option) {
  const std::string text = default_text(option);
  return text.empty() ? text : fmt::format("Default:\n.Ql {} .\n", escaped(text));
}

std::string commands_of(const Option& option) {
  std::string names;
  for_each_part(option.commands, ' ', [&](std::string_view command) {
    names += fmt::format("{}.Ic {}", names.empty() ? "" : " ,\n", command);
  });
  return fmt::format("Goes with\n{} .\n", names);
}

std::string options_list() {
  std::string out = ".Bl -tag -width Ds\n";
  for (const Option& option : option_table()) {
    if (!option.on_command_line()) continue;
    const std::string letter = option.letter ? fmt::format("Fl {} , ", option.letter) : "";
    out += fmt::format(".It {}Fl -{}{}\n{}{}{}", letter, option.name, value_of(option),
                       paragraph(sentence(option.help)), default_line(option), commands_of(option));
  }
  return out +
         ".It Fl h , Fl -help\nWhat the program or the command does, with its options.\n"
         ".It Fl V , Fl -version\nThe version.\n.El\n";
}

std::string_view type_of(const Option& option) {
  switch (option.type.kind) {
    case Kind::flag:
      return "true or false";
    case Kind::number:
      return "number";
    case Kind::list:
      return option.takes_numbers() ? "string, number or list of them"
                                    : "string or list of strings";
    case Kind::objects:
      return "list of objects";
    case Kind::text:
      break;
  }
  return option.takes_numbers() ? "string or number" : "string";
}

std::string keys_list() {
  std::string out = ".Bl -tag -width Ds\n";
  for (const Option& option : option_table()) {
    if (!option.in_config()) continue;
    out += fmt::format(".It Cm {} : No {}\n", option.name, type_of(option));
    out += paragraph(sentence(option.help));
    if (option.type.kind == Kind::number)
      out += fmt::format("From {} to {}.\n", option.type.smallest, option.type.largest);
    if (!option.type.choices.empty())
      out += fmt::format("One of\n.{} .\n", value_of(option).substr(1));
    out += option.is_flag() ? "Default:\n.Ql false .\n" : default_line(option);
  }
  return out + ".El\n";
}

/// ".Fl -a ,", ..., ".Fl -b .": the end of a sentence.
std::string names_list(const std::vector<std::string_view>& names, std::string_view macro) {
  std::string out;
  for (const auto name : names)
    out += fmt::format("{}.{}{}", out.empty() ? "" : " ,\n", macro, name);
  return out + " .\n";
}

}  // namespace

std::string manual_page(std::string_view prose) {
  std::string out =
      ".\\\" Made of its .in file and the option table: OSPROXY_WRITE_CONF=1 mitm_test "
      "-tc='conf:*'\n";
  while (!prose.empty()) {
    const auto end = std::min(prose.find('\n'), prose.size());
    const std::string_view line = prose.substr(0, end);
    prose.remove_prefix(std::min(end + 1, prose.size()));
    if (line == "@options@")
      out += options_list();
    else if (line == "@keys@")
      out += keys_list();
    else if (line == "@cli-only@")
      out += names_list(cli_only_options(), "Fl -");
    else if (line == "@config-only@")
      out += names_list(config_only_options(), "Cm ");
    else
      out.append(line).append("\n");
  }
  return out;
}

}  // namespace mitm::cli
