// Statements are distinguished by their first words and nothing is parsed beyond that: what pfctl
// accepts but we do not know is refused rather than guessed at, for a line in the wrong section
// makes pfctl refuse the whole file, and the machine boots without its firewall.
#include "pfctl/pf_conf.h"

#include <algorithm>
#include <array>
#include <optional>

#include <fmt/format.h>

#include "pfctl/pf_statements.h"

namespace pfctl {
namespace {

using base::Result;

constexpr std::string_view kMarker = " # by osproxy rules --into";
constexpr std::array kDialects{Dialect::darwin, Dialect::freebsd, Dialect::openbsd};

/// In the order that pfctl wants.
enum class Section {
  any,
  options,
  ether,
  normalization,
  queueing,
  translation,
  dummynet,
  filtering
};

struct Keyword {
  std::string_view word;
  Section section;
};
constexpr std::array kKeywords{
    Keyword{"set", Section::options},
    Keyword{"ether", Section::ether},
    Keyword{"scrub", Section::normalization},
    Keyword{"scrub-anchor", Section::normalization},
    Keyword{"altq", Section::queueing},
    Keyword{"queue", Section::queueing},
    Keyword{"nat", Section::translation},
    Keyword{"rdr", Section::translation},
    Keyword{"binat", Section::translation},
    Keyword{"nat-anchor", Section::translation},
    Keyword{"rdr-anchor", Section::translation},
    Keyword{"binat-anchor", Section::translation},
    Keyword{"dummynet", Section::dummynet},
    Keyword{"dummynet-anchor", Section::dummynet},
    Keyword{"pass", Section::filtering},
    Keyword{"block", Section::filtering},
    Keyword{"match", Section::filtering},
    Keyword{"anchor", Section::filtering},
    Keyword{"antispoof", Section::filtering},
    Keyword{"table", Section::any},
    Keyword{"include", Section::any},
    Keyword{"load", Section::any},
};

bool is_macro(const PfStatement& statement) {
  return statement.words.size() > 1 && !statement.words[0].quoted && statement.words[1].is("=");
}

Result<Section> section_of(const PfStatement& statement) {
  if (is_macro(statement)) return Section::any;
  const auto& words = statement.words;
  const PfWord& first = words[0].is("no") && words.size() > 1 ? words[1] : words[0];
  const auto found =
      std::ranges::find_if(kKeywords, [&](const Keyword& known) { return first.is(known.word); });
  if (found != kKeywords.end()) return found->section;
  return base::failure(
      "line {}: '{:.60}' begins no statement of pf.conf that is known here; add the lines by hand",
      statement.line, first.text);
}

/// Whether a reference to `pattern` evaluates `anchor`: itself, or the direct children of its
/// parent.
bool covers(std::string_view pattern, std::string_view anchor) {
  if (pattern == anchor) return true;
  const auto slash = anchor.rfind('/');
  const std::string_view parent = slash == anchor.npos ? "" : anchor.substr(0, slash + 1);
  return pattern.ends_with('*') && pattern.substr(0, pattern.size() - 1) == parent;
}

/// Whether `statement` is `KEYWORD "ANCHOR"` for every packet.
bool refers_to(const PfStatement& statement, std::string_view keyword, std::string_view anchor) {
  const auto& words = statement.words;
  if (words.size() < 2 || !words[0].is(keyword) || !covers(words[1].text, anchor)) return false;
  return std::all_of(words.begin() + 2, words.end(),
                     [](const PfWord& word) { return word.is("all") || word.is("quick"); });
}

bool has_rules_of_its_own(const PfStatement& statement, std::string_view anchor) {
  const auto& words = statement.words;
  return words.size() > 2 && words[0].is("anchor") && words[1].text == anchor &&
         std::ranges::any_of(words, [](const PfWord& word) { return word.is("{"); });
}

/// A filter rule that ends the evaluation of outgoing packets.
bool decides_quickly(const PfStatement& statement) {
  const auto has = [&](std::string_view word) {
    return std::ranges::any_of(statement.words, [&](const PfWord& each) { return each.is(word); });
  };
  const PfWord& first = statement.words[0];
  if (!first.is("pass") && !first.is("block") && !first.is("anchor")) return false;
  return has("quick") && (!has("in") || first.is("anchor"));
}

bool loads(const PfStatement& statement, std::string_view anchor) {
  const auto& words = statement.words;
  return words.size() > 2 && words[0].is("load") && words[1].is("anchor") &&
         words[2].text == anchor;
}

bool skips_loopback(const PfStatement& statement) {
  const auto& words = statement.words;
  if (words.size() < 4 || !words[0].is("set") || !words[1].is("skip")) return false;
  return std::any_of(words.begin() + 3, words.end(),
                     [](const PfWord& word) { return word.text == "lo0" || word.text == "lo"; });
}

std::string rdr_reference(Dialect dialect) {
  return fmt::format("rdr-anchor \"{}\"{}", anchor_of(dialect), kMarker);
}
std::string reference(Dialect dialect) {
  return fmt::format("anchor \"{}\"{}", anchor_of(dialect), kMarker);
}
std::string loading(Dialect dialect) {
  return fmt::format("load anchor \"{}\" from \"{}\"{}", anchor_of(dialect),
                     anchor_file_of(dialect), kMarker);
}

bool is_ours(std::string_view line) {
  return std::ranges::any_of(kDialects, [&](Dialect dialect) {
    return line == rdr_reference(dialect) || line == reference(dialect) || line == loading(dialect);
  });
}

std::string_view without_newline(std::string_view line) {
  if (line.ends_with('\n')) line.remove_suffix(1);
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

struct Include {
  std::size_t line;
  std::size_t place;
};

/// What a main ruleset says that matters to us.
struct Survey {
  std::optional<std::size_t> translation;  ///< where the first statement of the section begins
  std::optional<std::size_t> filtering;
  std::optional<std::size_t> after_translation;  ///< of this or a later section
  std::vector<Include> includes;
  std::optional<std::size_t> last_includes;  ///< where those begin behind which nothing comes
  std::size_t rdr_reference = 0;             ///< how often
  std::size_t reference = 0;
  std::size_t loading = 0;
  std::size_t quick_line = 0;  ///< of the first rule that can decide on what goes out; 0: none yet
  std::vector<std::string> notes;
};

void note_place(Survey& survey, Section section, std::size_t place) {
  const auto first = [&](std::optional<std::size_t>& known) {
    if (!known) known = place;
  };
  if (section == Section::translation) first(survey.translation);
  if (section == Section::filtering) first(survey.filtering);
  if (section > Section::translation) first(survey.after_translation);
}

/// A user's own reference is as good as ours only where we are come to.
void note_reference(Survey& survey, const PfStatement& statement, std::string_view anchor) {
  if (refers_to(statement, "anchor", anchor)) {
    if (++survey.reference > 1 || survey.quick_line == 0) return;
    survey.notes.push_back(fmt::format(
        "line {}: what the quick rule of line {} decides on does not come to this reference; put "
        "it in front of all filter rules",
        statement.line, survey.quick_line));
  } else if (survey.quick_line == 0 && decides_quickly(statement)) {
    survey.quick_line = statement.line;
  }
}

void note_include(Survey& survey, const PfStatement& statement) {
  if (statement.words[0].is("include")) {
    survey.includes.push_back({statement.line, statement.begin});
    if (!survey.last_includes) survey.last_includes = statement.begin;
  } else if (!statement.words[0].is("load")) {
    survey.last_includes.reset();
  }
}

void note_obstacle(Survey& survey, const PfStatement& statement) {
  if (!skips_loopback(statement)) return;
  survey.notes.push_back(fmt::format(
      "line {}: while pf skips lo0, diverted connections time out; take it out of `set skip on`",
      statement.line));
}

Result<Survey> survey_of(const std::vector<PfStatement>& statements, Dialect dialect) {
  const std::string_view anchor = anchor_of(dialect);
  Survey survey;
  for (const auto& statement : statements) {
    if (statement.words.empty()) continue;
    const auto section = section_of(statement);
    if (!section) return section.error();
    if (has_rules_of_its_own(statement, anchor)) {
      return base::failure("line {}: the anchor {} has rules of its own here; give it another name",
                           statement.line, anchor);
    }
    note_place(survey, *section, statement.begin);
    note_include(survey, statement);
    note_obstacle(survey, statement);
    survey.rdr_reference += refers_to(statement, "rdr-anchor", anchor) ? 1 : 0;
    note_reference(survey, statement, anchor);
    survey.loading += loads(statement, anchor) ? 1 : 0;
  }
  return survey;
}

/// A line that goes in before the byte at `place`.
struct Insertion {
  std::size_t place;
  std::string line;
};

// Where there is no rule to stand before, includes at the end of the file are likely to hold them.
std::vector<Insertion> insertions_for(const Survey& survey, Dialect dialect, std::size_t end) {
  std::vector<Insertion> out;
  const std::size_t rules = survey.last_includes.value_or(end);
  if (dialect != Dialect::openbsd && survey.rdr_reference == 0) {
    const std::size_t later = survey.after_translation.value_or(rules);
    out.push_back({survey.translation.value_or(later), rdr_reference(dialect)});
  }
  if (survey.reference == 0) out.push_back({survey.filtering.value_or(rules), reference(dialect)});
  if (survey.loading == 0) out.push_back({end, loading(dialect)});
  std::ranges::stable_sort(out, {}, &Insertion::place);
  return out;
}

/// About includes that come before references of ours.
std::vector<std::string> include_notes(const Survey& survey,
                                       const std::vector<Insertion>& insertions, Dialect dialect) {
  std::vector<std::string> notes;
  const std::string load = loading(dialect);
  for (const auto& include : survey.includes) {
    const bool before = std::ranges::any_of(insertions, [&](const Insertion& insertion) {
      return insertion.line != load && include.place < insertion.place;
    });
    if (!before) continue;
    notes.push_back(fmt::format(
        "line {}: what this includes was not read; if it holds translation or filter rules, "
        "osproxy's lines must stand before it",
        include.line));
  }
  return notes;
}

/// A text that does not end with a newline does not end with one afterwards: that is how
/// remove_anchor() knows.
std::string with_lines(std::string_view conf, const std::vector<Insertion>& insertions) {
  const auto first = conf.find('\n');
  const std::string_view eol =
      first != conf.npos && conf.substr(0, first).ends_with('\r') ? "\r\n" : "\n";
  const bool open_end = !conf.empty() && !conf.ends_with('\n');
  std::string out;
  std::size_t from = 0;
  for (const auto& insertion : insertions) {
    out += conf.substr(from, insertion.place - from);
    from = insertion.place;
    const bool after_open_end = open_end && insertion.place == conf.size();
    out += after_open_end ? fmt::format("{}{}", eol, insertion.line)
                          : fmt::format("{}{}", insertion.line, eol);
  }
  return out + std::string(conf.substr(from));
}

}  // namespace

const char* anchor_file_of(Dialect dialect) {
  if (dialect == Dialect::darwin) return "/etc/pf.anchors/osproxy";
  return dialect == Dialect::freebsd ? "/usr/local/etc/osproxy.pf.conf" : "/etc/osproxy.pf.conf";
}

Result<EditedConf> insert_anchor(std::string_view conf, Dialect dialect) {
  const auto plain = remove_anchor(conf);
  if (!plain) return plain.error();
  const auto statements = parse_pf_statements(*plain);
  if (!statements) return statements.error();
  auto survey = survey_of(*statements, dialect);
  if (!survey) return survey.error();
  const auto insertions = insertions_for(*survey, dialect, plain->size());
  std::vector<std::string> notes = std::move(survey->notes);
  for (auto& note : include_notes(*survey, insertions, dialect)) notes.push_back(std::move(note));
  return EditedConf{with_lines(*plain, insertions), std::move(notes)};
}

Result<std::string> remove_anchor(std::string_view conf) {
  const auto statements = parse_pf_statements(conf);
  if (!statements) return statements.error();
  std::string out;
  for (const auto& statement : *statements) {
    const std::string_view line = conf.substr(statement.begin, statement.end - statement.begin);
    if (!is_ours(without_newline(line))) {
      out += line;
    } else if (!line.ends_with('\n')) {
      out.resize(without_newline(out).size());
    }
  }
  return out;
}

}  // namespace pfctl
