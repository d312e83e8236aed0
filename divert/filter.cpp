// The filter language: text -> glyphs (characters that know whether they were quoted) -> items. Evaluation is
// mitmproxy's: left to right, the first item's sign sets the default.
#include "divert/filter.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <span>
#include <vector>

#include <nlohmann/json.hpp>
#include <re2/re2.h>

#include "base/text.h"

namespace divert {
namespace {

using base::failure;
using base::Result;
using nlohmann::json;
using procmap::ProcessFacts;

constexpr std::size_t kMaxLabel = 80;
constexpr std::int64_t kRegexMemory = 1 << 20;  // RE2 gives up beyond it: per regular expression, bytes

enum class Kind : std::uint8_t { pid, substring, name, prefix, glob, regex, user, group, cgroup, unknown };
constexpr std::array<std::string_view, 10> kKindNames{"pid",   "substring", "name",  "prefix", "glob",
                                                      "regex", "user",      "group", "cgroup", "unknown"};

struct Item {
  Kind kind = Kind::substring;
  bool exclude = false;
  bool descendants = false;
  std::string text;  ///< in a glob a backslash stands before each character that is not special
  pid_t pid = 0;
  std::shared_ptr<const RE2> regex;
};

bool all_digits(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

std::string_view base_name(std::string_view path) {
  return path.substr(path.rfind('/') + 1);
}

/// Length of the character at the front of `text`, which is not empty: `?` stands for one character, not
/// byte.
std::size_t character_length(std::string_view text) {
  std::size_t length = 1;
  while (length < text.size() && (static_cast<unsigned char>(text[length]) & 0xc0U) == 0x80U) ++length;
  return length;
}

/// The glob's next element is at the front of `pattern`: how much of `pattern` and `text` it uses up, or 0.
std::pair<std::size_t, std::size_t> glob_step(std::string_view pattern, std::string_view text) {
  if (pattern.empty()) return {0, 0};
  if (pattern[0] == '?') return {1, character_length(text)};
  const std::size_t escape = pattern[0] == '\\' && pattern.size() > 1 ? 1 : 0;
  return pattern[escape] == text[0] ? std::pair{escape + 1, std::size_t{1}}
                                    : std::pair{std::size_t{0}, std::size_t{0}};
}

bool glob_matches(std::string_view pattern, std::string_view text) {
  std::string_view after_star, resume;  // where to go on when what follows the last star does not fit
  bool starred = false;
  while (!text.empty()) {
    if (pattern.starts_with('*')) {
      pattern.remove_prefix(1);
      after_star = pattern;
      resume = text;
      starred = true;
    } else if (const auto [used, eaten] = glob_step(pattern, text); used > 0) {
      pattern.remove_prefix(used);
      text.remove_prefix(eaten);
    } else if (starred) {
      pattern = after_star;
      resume.remove_prefix(1);
      text = resume;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*') == pattern.npos;
}

bool is_below(std::string_view path, std::string_view top) {
  if (top == "/") return path.starts_with('/');
  return path.starts_with(top) && (path.size() == top.size() || path[top.size()] == '/');
}

/// What an item can ask of a process and of its ancestors alike.
bool matches_executable(const Item& item, pid_t pid, std::string_view path, std::string_view name) {
  switch (item.kind) {
    case Kind::pid:
      return pid == item.pid;
    case Kind::substring:
      return path.find(item.text) != path.npos;
    case Kind::name:
      return name == item.text;
    case Kind::prefix:
      return path.starts_with(item.text);
    case Kind::glob:
      return glob_matches(item.text, path) ||
             (item.text.find('/') == item.text.npos && glob_matches(item.text, name));
    case Kind::regex:
      return RE2::PartialMatch(re2::StringPiece(path.data(), path.size()), *item.regex);
    default:
      return false;
  }
}

bool matches_process(const Item& item, const ProcessFacts& process) {
  switch (item.kind) {
    case Kind::user:
      return process.user == item.text || std::to_string(process.uid) == item.text;
    case Kind::group:
      return process.group == item.text || std::to_string(process.gid) == item.text;
    case Kind::cgroup:
      return is_below(process.cgroup, item.text);
    default:
      break;
  }
  // An executable that cannot be read has at least a name.
  const std::string& path = process.exe.empty() ? process.name : process.exe;
  if (matches_executable(item, process.id.pid, path, process.name)) return true;
  return item.descendants && std::ranges::any_of(process.ancestors, [&](const procmap::Ancestor& ancestor) {
           return matches_executable(item, ancestor.id.pid, ancestor.exe, base_name(ancestor.exe));
         });
}

/// For a process that is not known; empty: the socket does not tell.
std::optional<bool> matches_socket(const Item& item, const std::optional<procmap::SocketFacts>& socket) {
  if (item.kind == Kind::unknown) return true;
  if (!socket) return std::nullopt;
  if (item.kind == Kind::user && socket->uid_known)
    return socket->user == item.text || std::to_string(socket->uid) == item.text;
  if (item.kind == Kind::cgroup && !socket->cgroup.empty()) return is_below(socket->cgroup, item.text);
  return std::nullopt;
}

/// The sentence goes after "item 3 ('=a/b') ".
Result<> check_text(const Item& item) {
  const bool has_executable = item.kind < Kind::user;
  if (item.descendants && !has_executable) {
    return failure("has a '+', which goes with programs and pids only: of ancestors nothing else is known");
  }
  switch (item.kind) {
    case Kind::name:
      if (item.text.find('/') == item.text.npos) break;
      return failure("has a '/' in a base name; expected for example =curl, or /usr/bin/curl for a path");
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

Result<Item> compiled(Item item) {
  if (item.text.empty() && item.kind != Kind::unknown) return failure("is empty");
  if (const auto good = check_text(item); !good) return good.error();
  if (item.kind == Kind::pid) {
    const auto* end = item.text.data() + item.text.size();
    const auto [stop, error] = std::from_chars(item.text.data(), end, item.pid);
    if (error != std::errc{} || stop != end || item.pid <= 0) {
      return failure("is not a process id; expected 1 to {}, or \"{}\" in double quotes for a part of a path",
                     std::numeric_limits<pid_t>::max(), item.text);
    }
  }
  if (item.kind == Kind::regex) {
    RE2::Options options;
    options.set_log_errors(false);
    options.set_max_mem(kRegexMemory);
    auto regex = std::make_shared<const RE2>(item.text, options);
    if (!regex->ok()) return failure("is not a regular expression: {}", base::printable(regex->error()));
    item.regex = std::move(regex);
  }
  return item;
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

/// One item of the spec: its source text for messages, and its glyphs.
struct Part {
  std::string_view source;
  std::vector<Glyph> glyphs;
};

/// Cut at the commas that are not quoted. Fails when the last part's quote is not closed; the parts are there
/// then as well.
bool split(std::string_view spec, std::vector<Part>& parts) {
  bool quoted = false;
  std::size_t begin = 0;
  parts.emplace_back();
  for (std::size_t i = 0; i < spec.size(); ++i) {
    const bool is_quote = spec[i] == '"';
    const bool doubled = is_quote && quoted && i + 1 < spec.size() && spec[i + 1] == '"';
    if (spec[i] == ',' && !quoted) {
      parts.back().source = spec.substr(begin, i - begin);
      parts.emplace_back();
      begin = i + 1;
    } else if (doubled || !is_quote) {
      parts.back().glyphs.push_back({spec[i], quoted});
      i += doubled ? 1 : 0;
    } else {
      quoted = !quoted;
    }
  }
  parts.back().source = spec.substr(begin);
  return !quoted;
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
void classify(Glyphs text, Item& item) {
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

Result<Item> parse_pattern(Glyphs text, Item item) {
  const auto found =
      std::ranges::find_if(kOperators, [&](const Operator& op) { return starts_with(text, op.sign); });
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

/// A plus at the end of a bare regular expression is its own: `~"x"+` asks for descendants, `~x+` does not.
bool asks_for_descendants(Glyphs text) {
  if (text.empty() || !text.back().is('+')) return false;
  return !starts_with(text, "~") || (text.size() > 1 && text[text.size() - 2].quoted);
}

Result<Item> parse_item(Glyphs text) {
  Item item;
  text = trimmed(text);
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

/// Printable, at most kMaxLabel bytes, cut between characters.
std::string labelled(std::string_view text) {
  std::string label = base::printable(text.substr(0, 4 * kMaxLabel));
  if (label.size() <= kMaxLabel) return label;
  std::size_t end = kMaxLabel - 3;
  while (end > 0 && (static_cast<unsigned char>(label[end]) & 0xc0U) == 0x80U) --end;
  return label.substr(0, end) + "...";
}

base::Error item_error(std::string_view spec, std::size_t place, std::string_view source,
                       const base::Error& why) {
  const auto first = source.find_first_not_of(" \t\r\n\v\f");
  if (first == source.npos) return failure("filter '{}': item {} {}", labelled(spec), place, why.text);
  source = source.substr(first, source.find_last_not_of(" \t\r\n\v\f") - first + 1);
  return failure("filter '{}': item {} ('{}') {}", labelled(spec), place, labelled(source), why.text);
}

json item_to_json(const Item& item) {
  return {{"kind", kKindNames[static_cast<std::size_t>(item.kind)]},
          {"text", item.text},
          {"exclude", item.exclude},
          {"descendants", item.descendants}};
}

const std::string* string_at(const json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() ? nullptr : found->get_ptr<const std::string*>();
}

const bool* flag_at(const json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() ? nullptr : found->get_ptr<const bool*>();
}

Result<Item> item_from_json(const json& data) {
  const std::string* kind = data.is_object() ? string_at(data, "kind") : nullptr;
  const std::string* text = data.is_object() ? string_at(data, "text") : nullptr;
  const bool* exclude = data.is_object() ? flag_at(data, "exclude") : nullptr;
  const bool* descendants = data.is_object() ? flag_at(data, "descendants") : nullptr;
  if (!kind || !text || !exclude || !descendants || data.size() != 4) {
    return failure("is not an object of kind, text, exclude and descendants");
  }
  const auto known = std::ranges::find(kKindNames, std::string_view(*kind));
  if (known == kKindNames.end()) return failure("has the kind '{}', which there is not", labelled(*kind));
  if (text->size() > 2 * Filter::kMaxText) return failure("is longer than any filter");
  Item item;
  item.kind = static_cast<Kind>(known - kKindNames.begin());
  item.text = *text;
  item.exclude = *exclude;
  item.descendants = *descendants;
  return compiled(std::move(item));
}

}  // namespace

struct Filter::Items {
  std::string text;
  std::string label;
  std::vector<Item> list;
};

Filter::Filter() {
  static const auto everything = std::make_shared<const Items>();
  items_ = everything;
}

Filter::Filter(std::shared_ptr<const Items> items) : items_(std::move(items)) {}

Result<Filter> Filter::parse(std::string_view spec) {
  if (spec.size() > kMaxText) {
    return failure("filter '{}' has {} bytes; expected at most {}", labelled(spec), spec.size(), kMaxText);
  }
  std::vector<Part> parts;
  const bool closed = split(spec, parts);
  if (parts.size() == 1 && parts[0].source.find_first_not_of(" \t\r\n\v\f") == std::string_view::npos)
    return Filter();
  if (!closed) {
    return item_error(spec, parts.size(), parts.back().source,
                      failure("has a double quote that is not closed"));
  }
  if (parts.size() > kMaxItems) {
    return failure("filter '{}' has {} items; expected at most {}", labelled(spec), parts.size(), kMaxItems);
  }
  auto items = std::make_shared<Items>();
  items->text = spec;
  items->label = labelled(spec);
  for (const Part& part : parts) {
    auto item = parse_item(part.glyphs);
    if (!item) return item_error(spec, items->list.size() + 1, part.source, item.error());
    items->list.push_back(std::move(*item));
  }
  return Filter(std::move(items));
}

bool Filter::matches(const ProcessFacts* process) const {
  const auto& list = items_->list;
  if (list.empty()) return true;
  if (!process) return matches(procmap::Owner{});
  bool selected = list.front().exclude;
  for (const Item& item : list) {
    if (matches_process(item, *process)) selected = !item.exclude;
  }
  return selected;
}

bool Filter::matches(const procmap::Owner& owner) const {
  if (owner.process) return matches(owner.process.get());
  const auto& list = items_->list;
  if (list.empty()) return true;
  bool selected = list.front().exclude;
  for (const Item& item : list) {
    const auto fits = matches_socket(item, owner.socket);
    if (fits.value_or(item.exclude)) selected = !item.exclude;
  }
  return selected;
}

bool Filter::matches_everything() const {
  return items_->list.empty();
}

const std::string& Filter::text() const {
  return items_->text;
}

const std::string& Filter::label() const {
  return items_->label;
}

std::size_t Filter::size() const {
  return items_->list.size();
}

json Filter::to_json() const {
  auto list = json::array();
  for (const Item& item : items_->list) list.push_back(item_to_json(item));
  return {{"text", items_->text}, {"items", std::move(list)}};
}

Result<Filter> Filter::from_json(const json& data) {
  const std::string* text = data.is_object() ? string_at(data, "text") : nullptr;
  const auto list = data.is_object() ? data.find("items") : data.end();
  if (!text || data.size() != 2 || list == data.end() || !list->is_array()) {
    return failure("filter: not an object of text and items");
  }
  if (text->size() > kMaxText || list->size() > kMaxItems) return failure("filter: too long");
  if (list->empty() != text->empty()) return failure("filter '{}': text and items differ", labelled(*text));
  auto items = std::make_shared<Items>();
  items->text = *text;
  items->label = labelled(*text);
  for (const json& entry : *list) {
    auto item = item_from_json(entry);
    if (!item) return item_error(*text, items->list.size() + 1, {}, item.error());
    items->list.push_back(std::move(*item));
  }
  return Filter(std::move(items));
}

}  // namespace divert
