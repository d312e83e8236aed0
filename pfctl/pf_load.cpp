// Two ways of knowing what was meant. The main ruleset is given to pfctl in the words in which pfctl printed
// it, so it has to come back word for word. Our anchor's text is ours: `pfctl -n -v` prints the rules that
// pfctl makes of it, by the same function that prints what is loaded.
#include "pfctl/pf_load.h"

#include <algorithm>
#include <array>

#include "base/fd.h"
#include "pfctl/pf_undo.h"

namespace pfctl {
namespace {

using Lines = std::vector<std::string>;

/// Blanks collapsed; lines without anything left out.
Lines lines_of(std::string_view text) {
  Lines lines;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    std::string collapsed;
    for (const char each : line) {
      const bool blank = each == ' ' || each == '\t' || each == '\r';
      if (!blank) collapsed += each;
      if (blank && !collapsed.empty() && collapsed.back() != ' ') collapsed += ' ';
    }
    if (collapsed.ends_with(' ')) collapsed.pop_back();
    if (!collapsed.empty()) lines.push_back(std::move(collapsed));
  }
  return lines;
}

bool begins_with_word(std::string_view line, std::string_view word) {
  return line == word || (line.starts_with(word) && line[word.size()] == ' ');
}

bool is_translation(std::string_view line) {
  if (line.starts_with("no ")) line.remove_prefix(3);
  return std::ranges::any_of(std::array{"rdr", "nat", "binat"},
                             [&](const char* word) { return begins_with_word(line, word); });
}

bool is_filter(std::string_view line) {
  return std::ranges::any_of(std::array{"pass", "block", "match", "anchor"},
                             [&](const char* word) { return begins_with_word(line, word); });
}

/// Of what `pfctl -n -v` prints: translation, then filter rules, as `-s nat` and `-s rules` print them;
/// without tables, macros and the like.
Lines rules_in(std::string_view printed) {
  Lines lines = lines_of(printed);
  std::erase_if(lines, [](const std::string& line) { return !is_translation(line) && !is_filter(line); });
  std::ranges::stable_partition(lines, is_translation);
  return lines;
}

/// The first difference, in words; empty: there is none.
std::string difference(const Lines& meant, const Lines& found) {
  const auto [wanted, got] = std::ranges::mismatch(meant, found);
  if (wanted == meant.end() && got == found.end()) return {};
  if (found.empty()) return fmt::format("none of its {} rules is there", meant.size());
  if (wanted == meant.end()) return fmt::format("`{}` is there although it was not in the text", *got);
  if (got == found.end()) return fmt::format("`{}` is missing", *wanted);
  return fmt::format("`{}` became `{}`", *wanted, *got);
}

/// pfctl prints translation rules by their kind, whatever the order in which they were given.
int kind_of_translation(std::string_view line) {
  if (line.starts_with("no ")) line.remove_prefix(3);
  if (line.starts_with("nat")) return 1;
  if (line.starts_with("rdr")) return 2;
  return line.starts_with("binat") ? 3 : 0;
}

/// A main ruleset's lines in the order in which pfctl prints them.
Lines in_printed_order(std::string_view main) {
  Lines lines = lines_of(main);
  const auto translates = [](const std::string& line) { return kind_of_translation(line) > 0; };
  const auto first = std::ranges::find_if(lines, translates);
  const auto last = std::find_if_not(first, lines.end(), translates);
  std::stable_sort(first, last, [](const std::string& left, const std::string& right) {
    return kind_of_translation(left) < kind_of_translation(right);
  });
  return lines;
}

/// Options, tables and queues of others stay as they are.
std::vector<std::string> load_main_command() {
  return {kPfctl, "-o", "none", "-N", "-R", "-f", "-"};
}

/// Empty: the main ruleset is `text`.
base::Result<std::string> differs_from_main(const Machine& machine, const std::string& text) {
  const auto main = query_main(machine);
  if (!main) return main.error();
  return difference(in_printed_order(text), in_printed_order(main_ruleset(*main, {})));
}

base::Result<> put_back(const Machine& machine, const std::string& before) {
  auto differs = differs_from_main(machine, before);
  if (differs && differs->empty()) return {};
  const auto loaded = run_or_fail(machine, load_main_command(), "put the main ruleset of pf back", before);
  if (!loaded) return loaded.error();
  differs = differs_from_main(machine, before);
  if (!differs) return differs.error();
  if (differs->empty()) return {};
  return base::failure("cannot put the main ruleset of pf back: {}", *differs);
}

/// `return-icmp(net-unr, 3)`: the code for the other family, printed as a number, is printed as a name when
/// it has been read back.
bool has_bare_icmp_code(std::string_view line) {
  for (const std::string_view word : {"return-icmp(", "return-icmp6("}) {
    const auto at = line.find(word);
    if (at == std::string_view::npos) continue;
    const std::string_view codes = line.substr(at + word.size(), line.find(')', at) - at - word.size());
    for (std::size_t i = 0; i < codes.size(); ++i) {
      const bool begins = i == 0 || codes[i - 1] == ' ' || codes[i - 1] == ',';
      if (begins && codes[i] >= '0' && codes[i] <= '9') return true;
    }
  }
  return false;
}

}  // namespace

std::vector<std::string> show_command(Dialect dialect, std::string_view part, std::string_view anchor) {
  std::vector<std::string> argv{kPfctl};
  if (!anchor.empty()) argv.insert(argv.end(), {"-a", std::string(anchor)});
  if (dialect == Dialect::freebsd) argv.emplace_back("-P");
  argv.insert(argv.end(), {"-s", std::string(part)});
  return argv;
}

base::Result<MainRuleset> query_main(const Machine& machine) {
  MainRuleset main;
  for (const auto& [part, text] : {std::pair{"nat", &main.nat}, std::pair{"rules", &main.rules}}) {
    auto shown = run_or_fail(machine, show_command(machine.dialect, part), "read the main ruleset of pf");
    if (!shown) return shown.error();
    *text = std::move(shown->out);
  }
  if (machine.dialect != Dialect::darwin) return main;
  // pfctl(8) does not mention it: one that does not know it has none to show.
  auto dummynet = machine.run({kPfctl, "-s", "dummynet"}, {});
  if (!dummynet) return dummynet.error();
  if (dummynet->status == 0) main.dummynet = std::move(dummynet->out);
  return main;
}

base::Result<std::string> query_anchor(const Machine& machine) {
  std::string shown;
  for (const char* part : {"nat", "rules"}) {
    const auto listed = machine.run(show_command(machine.dialect, part, machine.anchor), {});
    if (!listed) return listed.error();
    if (listed->status == 0) shown += listed->out;
  }
  return shown;
}

base::Result<> load_anchor(const Machine& machine, const std::string& text) {
  constexpr std::string_view kWhat = "load our rules into pf";
  std::vector<std::string> argv{kPfctl, "-a", machine.anchor, "-o", "none", "-n", "-v"};
  if (machine.dialect == Dialect::freebsd) argv.emplace_back("-P");
  argv.insert(argv.end(), {"-f", "-"});
  const auto meant = run_or_fail(machine, argv, kWhat, text);
  if (!meant) return meant.error();
  argv = {kPfctl, "-a", machine.anchor, "-o", "none", "-f", "-"};
  if (const auto loaded = run_or_fail(machine, argv, kWhat, text); !loaded) return loaded.error();
  const auto shown = query_anchor(machine);
  if (!shown) return shown.error();
  const std::string differs = difference(rules_in(meant->out), lines_of(*shown));
  if (differs.empty()) return {};
  return base::failure("pfctl did not load our rules as they were given to it: {}", differs);
}

base::Result<> load_main(const Machine& machine, const std::string& text, const std::string& before,
                         std::string_view what) {
  base::Error error;
  if (const auto loaded = run_or_fail(machine, load_main_command(), what, text); !loaded) {
    error = loaded.error();
  } else {
    const auto differs = differs_from_main(machine, text);
    if (differs && differs->empty()) return {};
    if (differs) {
      error = base::failure("cannot {}: pfctl did not load the rules as they were given to it: {}", what,
                            *differs);
    } else {
      error = differs.error();
    }
  }
  if (auto restored = put_back(machine, before); !restored) {
    error.text += fmt::format("; and what was in force before is NOT: {}; load it by hand (pfctl -f {})",
                              restored.error().text, kPfConf);
    return error;
  }
  error.text += "; the main ruleset is what it was before";
  return error;
}

std::string cannot_rewrite(const MainRuleset& main, const Machine& machine) {
  for (const auto& line : lines_of(main_ruleset(main, {}))) {
    if (line.find(" os \"") != std::string::npos)
      return fmt::format("of `{}` pfctl does not print which operating system it is about", line);
    if (has_bare_icmp_code(line))
      return fmt::format("of `{}` pfctl prints a code that it reads back as another one", line);
    if (machine.dialect == Dialect::darwin && line.find("\"com.apple.") != std::string::npos)
      return fmt::format(
          "`{}` was put in by a service of macOS, with an owner and a priority that pfctl does not print",
          line);
  }
  if (machine.dialect != Dialect::freebsd) return {};
  const auto conf = base::read_file(machine.conf);
  if (conf && conf->find("allow-related") != std::string::npos)
    return fmt::format("pfctl does not print the `allow-related` that {} has", machine.conf);
  return {};
}

std::string advice_on_reference(const Machine& machine) {
  const char* anchor = machine.dialect == Dialect::darwin ? "com.apple/*" : machine.anchor.c_str();
  return fmt::format(
      "add `rdr-anchor \"{0}\"` in front of all nat, binat and rdr rules of {1}, and `anchor \"{0}\"` in "
      "front of all its pass, block and anchor rules, and load it (pfctl -f {1})",
      anchor, kPfConf);
}

}  // namespace pfctl
