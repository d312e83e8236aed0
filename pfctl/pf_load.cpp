// Two ways of knowing what was meant. The main ruleset is given to pfctl in the words in which
// pfctl printed it, so it has to come back word for word. Our anchor's text is ours: `pfctl -n -v`
// prints the rules that pfctl makes of it, by the same function that prints what is loaded.
#include "pfctl/pf_load.h"

#include <algorithm>
#include <array>

#include "base/fd.h"

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

/// Of what `pfctl -n -v` prints: translation, then filter rules, as `-s nat` and `-s rules` print
/// them; without tables, macros and the like.
Lines rules_in(std::string_view printed) {
  Lines lines = lines_of(printed);
  std::erase_if(lines,
                [](const std::string& line) { return !is_translation(line) && !is_filter(line); });
  std::ranges::stable_partition(lines, is_translation);
  return lines;
}

/// The first difference, in words; empty: they are equal.
std::string difference(const Lines& meant, const Lines& found) {
  const auto [wanted, got] = std::ranges::mismatch(meant, found);
  if (wanted == meant.end() && got == found.end()) return {};
  if (found.empty()) return fmt::format("none of its {} rules is there", meant.size());
  if (wanted == meant.end())
    return fmt::format("`{}` is there although it was not in the text", *got);
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

std::string difference_of_main(std::string_view meant, std::string_view found) {
  return difference(in_printed_order(meant), in_printed_order(found));
}

bool has_filter_rules(std::string_view main) {
  return std::ranges::any_of(lines_of(main), is_filter);
}

/// Whether `found` is what became of loading `text`: it refers to our anchor, or its filter rules
/// got lost. Anything else others have loaded in the meantime, and that is theirs.
bool can_come_from(std::string_view text, std::string_view found, std::string_view anchor) {
  if (difference_of_main(text, found).empty()) return true;
  if (without_references(found, anchor) != found) return true;
  if (has_filter_rules(found) || !has_filter_rules(text)) return false;
  Lines meant = in_printed_order(text);
  std::erase_if(meant, is_filter);
  return meant == in_printed_order(found);
}

base::Result<> put_back(const Machine& machine, const std::string& before) {
  const auto loaded =
      run_or_fail(machine, load_main_command(), "put the main ruleset of pf back", before);
  if (!loaded) return loaded.error();
  const auto now = query_main(machine);
  if (!now) return now.error();
  const std::string differs = difference_of_main(before, main_ruleset(*now, {}));
  if (differs.empty()) return {};
  return base::failure("cannot put the main ruleset of pf back: {}", differs);
}

/// `return-icmp(net-unr, 3)`: the code for the other family, printed as a number, is printed as a
/// name when it has been read back.
bool has_bare_icmp_code(std::string_view line) {
  for (const std::string_view word : {"return-icmp(", "return-icmp6("}) {
    const auto at = line.find(word);
    if (at == std::string_view::npos) continue;
    const std::string_view codes =
        line.substr(at + word.size(), line.find(')', at) - at - word.size());
    for (std::size_t i = 0; i < codes.size(); ++i) {
      const bool begins = i == 0 || codes[i - 1] == ' ' || codes[i - 1] == ',';
      if (begins && codes[i] >= '0' && codes[i] <= '9') return true;
    }
  }
  return false;
}

constexpr int kMostListings = 5;

struct Listing {
  MainRuleset main;
  std::string complaint;  ///< pfctl's first one; empty: none

  bool operator==(const Listing&) const = default;
};

/// pfctl's exit code is 0 when others load between two rules that it asks for: it says so
/// ("DIOCGETRULE: Device busy"), and leaves out the rest (FreeBSD 14, 15: main() ignores what
/// pfctl_show_rules() returns).
base::Result<Listing> list_main(const Machine& machine) {
  Listing listing;
  const auto take = [&](base::Finished& shown, std::string& text) {
    text = std::move(shown.out);
    if (listing.complaint.empty()) listing.complaint = complaint(shown.err);
  };
  for (const auto& [part, text] :
       {std::pair{"nat", &listing.main.nat}, std::pair{"rules", &listing.main.rules}}) {
    auto shown =
        run_or_fail(machine, show_command(machine.dialect, part), "read the main ruleset of pf");
    if (!shown) return shown.error();
    take(*shown, *text);
  }
  if (machine.dialect != Dialect::darwin) return listing;
  // pfctl(8) does not mention it: one that does not know it has none to show.
  auto dummynet = machine.run({kPfctl, "-s", "dummynet"}, {});
  if (!dummynet) return dummynet.error();
  if (dummynet->status == 0) take(*dummynet, listing.main.dummynet);
  return listing;
}

base::Result<base::Finished> list_in_anchor(const Machine& machine, std::string_view part) {
  return machine.run(show_command(machine.dialect, part, machine.anchor), {});
}

/// That there is no such anchor is a complaint as well, in different words.
bool is_cut_short(const base::Finished& listed) {
  const std::string said = complaint(listed.err);
  const bool no_anchor = said.find("Invalid argument") != std::string::npos ||
                         said.find("does not exist") != std::string::npos;
  return listed.status == 0 && !said.empty() && !no_anchor;
}

}  // namespace

std::vector<std::string> show_command(Dialect dialect, std::string_view part,
                                      std::string_view anchor) {
  std::vector<std::string> argv{kPfctl};
  if (!anchor.empty()) argv.insert(argv.end(), {"-a", std::string(anchor)});
  if (dialect == Dialect::freebsd) argv.emplace_back("-P");
  argv.insert(argv.end(), {"-s", std::string(part)});
  return argv;
}

base::Result<MainRuleset> query_main(const Machine& machine) {
  auto last = list_main(machine);
  for (int i = 0; i < kMostListings && last; ++i) {
    auto next = list_main(machine);
    if (!next) return next.error();
    if (next->complaint.empty() && *next == *last) return std::move(next->main);
    last = std::move(next);
  }
  if (!last) return last.error();
  return base::failure("cannot read the main ruleset of pf: {}",
                       last->complaint.empty() ? "others change it all the time" : last->complaint);
}

bool is_blank(std::string_view listing) {
  return listing.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

base::Result<std::string> query_anchor(const Machine& machine) {
  std::string shown;
  for (const char* part : {"nat", "rules"}) {
    auto listed = list_in_anchor(machine, part);
    for (int i = 0; i < kMostListings && listed && is_cut_short(*listed); ++i)
      listed = list_in_anchor(machine, part);
    if (!listed) return listed.error();
    if (is_cut_short(*listed)) {
      return base::failure("cannot read what the anchor {} holds: {}", machine.anchor,
                           complaint(listed->err));
    }
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

bool is_same_main(std::string_view left, std::string_view right) {
  return difference_of_main(left, right).empty();
}

base::Result<MainLoad> load_main(const Machine& machine, const std::string& text,
                                 const std::string& before, std::string_view what) {
  const auto loaded = run_or_fail(machine, load_main_command(), what, text);
  const auto now = query_main(machine);
  if (!now) {
    return base::failure("{}; what is in force now is not known (pfctl -s nat, pfctl -s rules)",
                         loaded ? now.error().text : loaded.error().text);
  }
  const std::string found = main_ruleset(*now, {});
  const std::string differs = difference_of_main(text, found);
  if (loaded && differs.empty()) return MainLoad::in_force;
  const bool unchanged = is_same_main(before, found);
  if (!unchanged && !can_come_from(text, found, machine.anchor)) return MainLoad::overtaken;
  base::Error error =
      loaded ? base::failure("cannot {}: pfctl did not load the rules as they were given to it: {}",
                             what, differs)
             : loaded.error();
  if (auto restored = unchanged ? base::Result<>() : put_back(machine, before); !restored) {
    error.text +=
        fmt::format("; and what was in force before is NOT: {}; load it by hand (pfctl -f {})",
                    restored.error().text, kPfConf);
    return error;
  }
  error.text += "; the main ruleset is what it was before";
  return error;
}

std::string first_of_others(const MainRuleset& main, std::string_view anchor) {
  const Lines lines = lines_of(without_references(main_ruleset(main, {}), anchor));
  return lines.empty() ? std::string() : lines.front();
}

std::string without_own_references(std::string_view main, std::string_view loaded,
                                   std::string_view anchor) {
  const Lines now = in_printed_order(main);
  const Lines was = in_printed_order(loaded);
  const auto is_left = [&](auto is_of_kind) {
    const auto part = [&](Lines lines) {
      std::erase_if(lines, [&](const std::string& line) { return !is_of_kind(line); });
      return lines;
    };
    return part(now) == part(was);
  };
  const bool translation = is_left(is_translation);
  const bool filter = is_left(is_filter);
  std::string kept;
  int references = 0;
  for (std::string_view rest = main; !rest.empty();) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    const bool refers = without_references(line, anchor).empty() && !line.empty();
    references += refers ? 1 : 0;
    if (!refers || !(is_filter(line) ? filter : translation)) kept.append(line) += '\n';
  }
  return references > 1 ? std::string(main) : kept;
}

base::Result<> can_rewrite(const MainRuleset& main, const Machine& machine) {
  for (const auto& line : lines_of(main_ruleset(main, {}))) {
    if (line.find(" os \"") != std::string::npos)
      return base::failure("of `{}` pfctl does not print which operating system it is about", line);
    if (has_bare_icmp_code(line))
      return base::failure("of `{}` pfctl prints a code that it reads back as another one", line);
    if (machine.dialect == Dialect::darwin && line.find("\"com.apple.") != std::string::npos)
      return base::failure(
          "`{}` was put in by a service of macOS, "
          "with an owner and a priority that pfctl does not print",
          line);
  }
  if (machine.dialect != Dialect::freebsd) return {};
  const auto conf = base::read_file(machine.conf);
  if (conf && conf->find("allow-related") != std::string::npos)
    return base::failure("pfctl does not print the `allow-related` that {} has", machine.conf);
  return {};
}

std::string advice_on_reference(const Machine& machine) {
  const char* anchor = machine.dialect == Dialect::darwin ? "com.apple/*" : machine.anchor.c_str();
  return fmt::format(
      "add `rdr-anchor \"{0}\"` in front of all nat, binat and rdr rules of {1}, and `anchor "
      "\"{0}\"` in front of all its pass, block and anchor rules, and load it (pfctl -f {1})",
      anchor, kPfConf);
}

}  // namespace pfctl
