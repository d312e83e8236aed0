// The filter language: text -> glyphs (characters that know whether they were quoted) -> items.
#include "divert/policy/filter_item.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <span>

#include "base/ascii.h"
#include "base/text.h"

namespace divert {
namespace {

using base::failure;
using base::Result;
using Kind = ItemKind;

constexpr std::int64_t kRegexMemory =
    1 << 20;  // RE2 gives up beyond it: per regular expression, bytes

bool all_digits(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, base::is_digit);
}

/// The sentence goes after "item 3 ('=a/b') ".
Result<> check_text(const ParsedItem& item) {
  const bool has_executable = item.kind < Kind::user;
  if (item.descendants && !has_executable) {
    return failure(
        "has a '+', which goes with programs and pids only: of ancestors nothing else is known");
  }
  switch (item.kind) {
    case Kind::name:
      if (item.text.find('/') == item.text.npos) break;
      return failure(
          "has a '/' in a base name; expected for example =curl, or /usr/bin/curl for a path");
    case Kind::prefix:
    case Kind::cgroup:
      if (item.text.starts_with('/')) break;
      return failure("is no path; expected one that begins with '/'");
    case Kind::unknown:
      if (item.text.empty()) break;
      return failure("has text of its own");
    default:
      break;
  }
  return {};
}

/// A character as typed; a quoted one is never special.
struct Glyph {
  char c = 0;
  bool quoted = false;

  [[nodiscard]] bool is(char special) const { return !quoted && c == special; }
  [[nodiscard]] bool is_space() const {
    return !quoted && std::string_view(" \t\r\n\v\f").find(c) != std::string_view::npos;
  }
};
using Glyphs = std::span<const Glyph>;

Glyphs trimmed(Glyphs text) {
  while (!text.empty() && text.front().is_space()) text = text.subspan(1);
  while (!text.empty() && text.back().is_space()) text = text.first(text.size() - 1);
  return text;
}

bool starts_with(Glyphs text, std::string_view special) {
  return text.size() >= special.size() &&
         std::ranges::equal(text.first(special.size()), special,
                            [](const Glyph& glyph, char c) { return glyph.is(c); });
}

bool holds(Glyphs text, char special) {
  return std::ranges::any_of(text, [special](const Glyph& glyph) { return glyph.is(special); });
}

std::string letters(Glyphs text) {
  std::string out;
  for (const Glyph& glyph : text) out += glyph.c;
  return out;
}

std::string glob_pattern(Glyphs text) {
  std::string out;
  for (const Glyph& glyph : text) {
    if (glyph.c == '\\' || (glyph.quoted && (glyph.c == '*' || glyph.c == '?'))) out += '\\';
    out += glyph.c;
  }
  return out;
}

struct Operator {
  std::string_view sign;
  Kind kind;
  std::string_view expected;
};
constexpr std::array<Operator, 5> kOperators{{
    {"=", Kind::name, "names no program; expected for example =curl"},
    {"~", Kind::regex, "has no regular expression; expected for example ~/python[0-9.]*$"},
    {"user:", Kind::user, "names no user; expected for example user:alice or user:1000"},
    {"group:", Kind::group, "names no group; expected for example group:staff or group:50"},
    {"cgroup:", Kind::cgroup, "names no cgroup; expected for example cgroup:/user.slice"},
}};

std::string cgroup_path(Glyphs text) {
  std::string path = letters(text);
  if (!path.starts_with('/')) path.insert(path.begin(), '/');
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  return path;
}

/// An item without an operator in front, by its looks.
void classify(Glyphs text, ParsedItem& item) {
  const bool quoted = std::ranges::any_of(text, &Glyph::quoted);
  item.text = letters(text);
  if (!quoted && all_digits(item.text)) {
    item.kind = Kind::pid;
  } else if (!quoted && item.text == "unknown") {
    item.kind = Kind::unknown;
    item.text.clear();
  } else if (holds(text, '*') || holds(text, '?')) {
    item.kind = Kind::glob;
    item.text = glob_pattern(text);
  } else if (starts_with(text, "/")) {
    item.kind = Kind::prefix;
  }
}

Result<ParsedItem> parse_pattern(Glyphs text, ParsedItem item) {
  const auto found = std::ranges::find_if(
      kOperators, [&](const Operator& op) { return starts_with(text, op.sign); });
  if (found == kOperators.end()) {
    classify(text, item);
    return compiled(std::move(item));
  }
  const Glyphs operand = trimmed(text.subspan(found->sign.size()));
  if (operand.empty()) return failure("{}", found->expected);
  item.kind = found->kind;
  item.text = item.kind == Kind::cgroup ? cgroup_path(operand) : letters(operand);
  return compiled(std::move(item));
}

/// A plus at the end of a bare regular expression is its own: `~"x"+` asks for descendants, `~x+`
/// does not.
bool asks_for_descendants(Glyphs text) {
  if (text.empty() || !text.back().is('+')) return false;
  return !starts_with(text, "~") || (text.size() > 1 && text[text.size() - 2].quoted);
}

/// Of one item: its quotes are closed, or it is the last.
std::vector<Glyph> glyphs_of(std::string_view source) {
  std::vector<Glyph> glyphs;
  bool quoted = false;
  for (std::size_t i = 0; i < source.size(); ++i) {
    const bool is_quote = source[i] == '"';
    const bool doubled = is_quote && quoted && i + 1 < source.size() && source[i + 1] == '"';
    if (doubled || !is_quote) {
      glyphs.push_back({source[i], quoted});
      i += doubled ? 1 : 0;
    } else {
      quoted = !quoted;
    }
  }
  return glyphs;
}

}  // namespace

Result<ParsedItem> compiled(ParsedItem item) {
  if (item.text.empty() && item.kind != Kind::unknown) return failure("is empty");
  if (const auto good = check_text(item); !good) return good.error();
  if (item.kind == Kind::pid) {
    const auto* end = item.text.data() + item.text.size();
    const auto [stop, error] = std::from_chars(item.text.data(), end, item.pid);
    if (error != std::errc{} || stop != end || item.pid <= 0) {
      return failure(
          "is not a process id; expected 1 to {}, or \"{}\" in double quotes for a part of a path",
          std::numeric_limits<pid_t>::max(), item.text);
    }
  }
  if (item.kind == Kind::regex) {
    RE2::Options options;
    options.set_log_errors(false);
    options.set_max_mem(kRegexMemory);
    auto regex = std::make_shared<const RE2>(item.text, options);
    if (!regex->ok())
      return failure("is not a regular expression: {}", base::printable(regex->error()));
    item.regex = std::move(regex);
  }
  return item;
}

bool split_items(std::string_view spec, std::vector<std::string_view>& parts) {
  bool quoted = false;
  std::size_t begin = 0;
  for (std::size_t i = 0; i < spec.size(); ++i) {
    // A doubled quote within quotes closes them and opens them again: no comma is in between.
    if (spec[i] == '"') quoted = !quoted;
    if (spec[i] != ',' || quoted) continue;
    parts.push_back(spec.substr(begin, i - begin));
    begin = i + 1;
  }
  parts.push_back(spec.substr(begin));
  return !quoted;
}

Result<ParsedItem> parse_item(std::string_view source) {
  const auto glyphs = glyphs_of(source);
  ParsedItem item;
  Glyphs text = trimmed(glyphs);
  if (text.empty()) return failure("is empty; expected a program, a path, a pid or a pattern");
  if (text.front().is('!')) {
    item.exclude = true;
    text = trimmed(text.subspan(1));
    if (text.empty()) return failure("has nothing after '!'; expected what to leave out");
  }
  if (asks_for_descendants(text)) {
    item.descendants = true;
    text = trimmed(text.first(text.size() - 1));
    if (text.empty()) return failure("has nothing before '+'; expected a program, a path or a pid");
  }
  return parse_pattern(text, std::move(item));
}

}  // namespace divert
