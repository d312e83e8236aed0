// An interpreter's script is its first argument that is neither an option nor an option's value.
// The kernel puts a `#!` script there as well.
#include "procmap/program_names.h"

#include <algorithm>
#include <array>
#include <cstdint>

namespace procmap {
namespace {

constexpr std::size_t kLongest = 4096;

/// Options of one letter may share a word (-uc), and have their value in it (-Wignore) or behind
/// it. Words are separated by spaces.
struct Interpreter {
  std::string_view names;           ///< of its executable, without the version
  std::string_view letters_value;   ///< options with a value
  std::string_view letters_script;  ///< options whose value is the script
  std::string_view letters_text;  ///< options whose value is the program itself: there is no script
  std::string_view words_value = {};  ///< the same for options that are whole words
  std::string_view words_script = {};
  std::string_view words_text = {};
};
constexpr std::array<Interpreter, 8> kInterpreters{{
    {"python pypy", "WXQ", "m", "c", "--check-hash-based-pycs"},
    {"node nodejs", "rC", "", "ep",
     "--require --import --loader --experimental-loader --conditions --env-file --title", "",
     "--eval --print"},
    {"sh bash dash zsh ksh ash mksh fish", "oO", "", "c", "--rcfile --init-file", "", "--command"},
    {"perl", "IMm", "", "eE"},
    {"ruby", "rICEK", "", "e"},
    {"php", "dcz", "f", "r"},
    {"java", "", "", "",
     "-cp -classpath --class-path -p "
     "--module-path --add-modules --add-opens --add-exports --add-reads",
     "-jar -m --module"},
    {"lua luajit", "l", "", "e"},
}};

bool holds_word(std::string_view list, std::string_view word) {
  while (!list.empty()) {
    const auto end = std::min(list.find(' '), list.size());
    if (list.substr(0, end) == word) return true;
    list.remove_prefix(std::min(end + 1, list.size()));
  }
  return false;
}

/// "python3.11" is a python.
const Interpreter* interpreter(std::string_view exe) {
  auto name = base_name(exe);
  name = name.substr(0, name.find_last_not_of("0123456789.-") + 1);
  const auto found = std::ranges::find_if(
      kInterpreters, [&](const Interpreter& one) { return holds_word(one.names, name); });
  return found == kInterpreters.end() ? nullptr : &*found;
}

/// What a word with a dash in front means for the words behind it.
enum class Means : std::uint8_t { nothing, next_is_value, next_is_script, no_script, script_here };

struct Reading {
  Means means = Means::nothing;
  std::string_view script = {};
};

Reading read_letters(const Interpreter& kind, std::string_view letters) {
  for (std::size_t i = 0; i < letters.size(); ++i) {
    const char letter = letters[i];
    const auto rest = letters.substr(i + 1);
    if (kind.letters_text.find(letter) != std::string_view::npos) return {Means::no_script};
    if (kind.letters_script.find(letter) != std::string_view::npos)
      return rest.empty() ? Reading{Means::next_is_script} : Reading{Means::script_here, rest};
    if (kind.letters_value.find(letter) != std::string_view::npos)
      return {rest.empty() ? Means::next_is_value : Means::nothing};
  }
  return {};
}

Reading read_option(const Interpreter& kind, std::string_view word) {
  if (holds_word(kind.words_text, word)) return {Means::no_script};
  if (holds_word(kind.words_script, word)) return {Means::next_is_script};
  if (holds_word(kind.words_value, word)) return {Means::next_is_value};
  return word.starts_with("--") ? Reading{} : read_letters(kind, word.substr(1));
}

/// Empty: none.
std::string_view script_of(const Interpreter& kind, const std::vector<std::string>& argv) {
  for (std::size_t i = 1; i < argv.size(); ++i) {
    const std::string_view word = argv[i];
    if (word == "-" || word.empty()) return {};
    if (word == "--") return i + 1 < argv.size() ? argv[i + 1] : std::string_view();
    if (word.front() != '-' && word.front() != '+') return word;
    const auto reading = read_option(kind, word);
    if (reading.means == Means::no_script) return {};
    if (reading.means == Means::script_here) return reading.script;
    if (reading.means == Means::next_is_script)
      return i + 1 < argv.size() ? argv[i + 1] : std::string_view();
    if (reading.means == Means::next_is_value) ++i;
  }
  return {};
}

/// Of "-bash" (a login shell) bash; of a title that a program has written over its arguments ("npm
/// install", "nginx: worker process") the first word.
std::string_view first_name(const std::vector<std::string>& argv) {
  std::string_view name = argv.front();
  if (name.starts_with('-')) name.remove_prefix(1);
  if (argv.size() > 1) return name;
  name = name.substr(0, name.find(' '));
  if (name.ends_with(':')) name.remove_suffix(1);
  return name;
}

}  // namespace

std::vector<std::string> names_in_arguments(std::string_view exe,
                                            const std::vector<std::string>& argv) {
  std::vector<std::string> names;
  if (argv.empty()) return names;
  const auto add = [&](std::string_view name) {
    const bool is_known = name == exe || name == base_name(exe);
    if (!name.empty() && name.size() <= kLongest && !is_known) names.emplace_back(name);
  };
  // argv[0] of a program with spaces in its path is no title.
  add(argv.front() == exe ? exe : first_name(argv));
  if (const auto* kind = interpreter(exe)) add(script_of(*kind, argv));
  return names;
}

std::string_view script_name(std::string_view exe, const std::vector<std::string>& other_names) {
  if (other_names.empty() || interpreter(exe) == nullptr) return {};
  // The script comes last; without one, argv[0] may be another name of the interpreter (python3).
  const auto name = base_name(other_names.back());
  return interpreter(name) == nullptr ? name : std::string_view();
}

}  // namespace procmap
