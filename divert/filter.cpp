// The filter language. An item is a pattern, whether it is negated, and whether descendants count; evaluation
// is mitmproxy's (mitmproxy_rs, intercept_conf): left to right, the first item's sign sets the default.
#include "divert/filter.h"

#include <algorithm>
#include <charconv>

#include <nlohmann/json.hpp>
#include <re2/re2.h>

namespace divert {
namespace {

using base::failure;
using base::Result;
using procmap::ProcessFacts;

constexpr std::size_t kMaxText = 64 << 10;
constexpr std::size_t kMaxItems = 1000;
constexpr std::int64_t kMaxRegexMemory = 1 << 20;

enum class Kind { pid, substring, name, prefix, glob, regex, user, group, cgroup, unknown };
constexpr std::string_view kKindNames[] = {"pid",   "substring", "name",  "prefix", "glob",
                                           "regex", "user",      "group", "cgroup", "unknown"};

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

bool all_digits(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

/// `*` stands for any text, slashes included, and `?` for one character.
bool glob_matches(std::string_view pattern, std::string_view text) {
  std::size_t p = 0, t = 0, star = pattern.npos, resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p, ++t;
    } else if (star != pattern.npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == pattern.npos;
}

bool is_path_below(std::string_view path, std::string_view top) {
  while (top.size() > 1 && top.ends_with('/')) top.remove_suffix(1);
  return path.starts_with(top) && (path.size() == top.size() || top == "/" || path[top.size()] == '/');
}

std::string_view base_name(std::string_view path) {
  return path.substr(path.rfind('/') + 1);
}

}  // namespace

struct Item {
  Kind kind = Kind::substring;
  bool exclude = false;
  bool descendants = false;
  std::string text;
  pid_t pid = 0;
  std::shared_ptr<const RE2> regex;

  /// Of the parts that processes and their ancestors both have.
  [[nodiscard]] bool matches(pid_t its_pid, std::string_view exe, std::string_view name) const {
    switch (kind) {
      case Kind::pid:
        return its_pid == pid;
      case Kind::substring:
        return exe.find(text) != exe.npos;
      case Kind::name:
        return name == text;
      case Kind::prefix:
        return exe.starts_with(text);
      case Kind::glob:
        return glob_matches(text, exe);
      case Kind::regex:
        return RE2::PartialMatch(re2::StringPiece(exe.data(), exe.size()), *regex);
      default:
        return false;
    }
  }

  [[nodiscard]] bool matches(const ProcessFacts& process) const {
    switch (kind) {
      case Kind::user:
        return process.user == text || std::to_string(process.uid) == text;
      case Kind::group:
        return process.group == text || std::to_string(process.gid) == text;
      case Kind::cgroup:
        return is_path_below(process.cgroup, text);
      default:
        break;
    }
    // Kernel threads and zombies have no path: their name stands in for it.
    const std::string_view exe = process.exe.empty() ? process.name : process.exe;
    if (matches(process.id.pid, exe, process.exe.empty() ? process.name : base_name(exe))) return true;
    return descendants && std::ranges::any_of(process.ancestors, [this](const procmap::Ancestor& parent) {
             return matches(parent.id.pid, parent.exe, base_name(parent.exe));
           });
  }
};

struct Filter::Items {
  std::string text;
  std::vector<Item> list;
};

namespace {

/// The text between commas, quotes still on; a quote that is not closed is an error.
Result<std::vector<std::string_view>> split(std::string_view spec) {
  std::vector<std::string_view> parts;
  bool quoted = false;
  std::size_t begin = 0;
  for (std::size_t i = 0; i < spec.size(); ++i) {
    if (spec[i] == '"') quoted = !quoted;
    if (spec[i] == ',' && !quoted) {
      parts.push_back(spec.substr(begin, i - begin));
      begin = i + 1;
    }
  }
  if (quoted) return failure("filter '{}': item {}: a double quote is not closed", spec, parts.size() + 1);
  parts.push_back(spec.substr(begin));
  return parts;
}

Result<Item> compiled(Item item) {
  if (item.kind == Kind::pid) {
    const auto [end, error] =
        std::from_chars(item.text.data(), item.text.data() + item.text.size(), item.pid);
    if (error != std::errc{}) return failure("{} is too large for a process id", item.text);
  }
  if (item.kind == Kind::regex) {
    RE2::Options options;
    options.set_log_errors(false);
    options.set_max_mem(kMaxRegexMemory);
    auto regex = std::make_shared<RE2>(item.text, options);
    if (!regex->ok()) return failure("bad regular expression '{}': {}", item.text, regex->error());
    item.regex = std::move(regex);
  }
  return item;
}

/// Quotes make their text a plain substring: "a,b", "=x", "123".
std::optional<std::string> unquoted(std::string_view text) {
  if (text.size() < 2 || text.front() != '"' || text.back() != '"') return std::nullopt;
  return std::string(text.substr(1, text.size() - 2));
}

struct Prefix {
  std::string_view sign;
  Kind kind;
  std::string_view expected;
};
constexpr Prefix kPrefixes[] = {
    {"=", Kind::name, "a program's name after '='"},
    {"~", Kind::regex, "a regular expression after '~'"},
    {"user:", Kind::user, "a user after 'user:'"},
    {"group:", Kind::group, "a group after 'group:'"},
    {"cgroup:", Kind::cgroup, "a cgroup path after 'cgroup:'"},
};

Result<Item> parse_pattern(std::string_view text, Item item) {
  for (const auto& prefix : kPrefixes) {
    if (!text.starts_with(prefix.sign)) continue;
    const auto rest = text.substr(prefix.sign.size());
    item.kind = prefix.kind;
    item.text = unquoted(rest).value_or(std::string(rest));
    if (item.text.empty()) return failure("'{}': expected {}", text, prefix.expected);
    if (item.descendants && item.kind != Kind::name) {
      return failure("'{}+': descendants ('+') go with a pid, a name, a path or a pattern", text);
    }
    return compiled(std::move(item));
  }
  const auto plain = unquoted(text);
  if (!plain && text.find('"') != text.npos)
    return failure("'{}': double quotes stand around the whole text", text);
  item.text = plain.value_or(std::string(text));
  if (item.text.empty()) return failure("it is empty; expected a program, a pid or a pattern between commas");
  if (plain) {
    item.kind = Kind::substring;
  } else if (all_digits(text)) {
    item.kind = Kind::pid;
  } else if (text == "unknown") {
    item.kind = Kind::unknown;
  } else if (text.find('*') != text.npos) {
    item.kind = Kind::glob;
  } else if (text.starts_with('/')) {
    item.kind = Kind::prefix;
  }
  return compiled(std::move(item));
}

Result<Item> parse_item(std::string_view text) {
  Item item;
  text = trimmed(text);
  if (text.starts_with('!')) {
    item.exclude = true;
    text = trimmed(text.substr(1));
  }
  // A regular expression may end in a plus of its own.
  if (text.size() > 1 && text.ends_with('+') && !text.starts_with('~')) {
    item.descendants = true;
    text = trimmed(text.substr(0, text.size() - 1));
  }
  return parse_pattern(text, std::move(item));
}

}  // namespace

Filter::Filter() : items_(std::make_shared<const Items>()) {}

Result<Filter> Filter::parse(std::string_view spec) {
  if (spec.size() > kMaxText) return failure("the filter is longer than {} bytes", kMaxText);
  Filter filter;
  if (trimmed(spec).empty()) return filter;
  const auto parts = split(spec);
  if (!parts) return parts.error();
  if (parts->size() > kMaxItems) return failure("the filter has more than {} items", kMaxItems);
  auto items = std::make_shared<Items>();
  items->text = spec;
  for (const auto part : *parts) {
    auto item = parse_item(part);
    if (!item) return failure("filter '{}': item {}: {}", spec, items->list.size() + 1, item.error().text);
    items->list.push_back(std::move(*item));
  }
  filter.items_ = std::move(items);
  return filter;
}

bool Filter::matches(const ProcessFacts* process) const {
  const auto& list = items_->list;
  if (list.empty()) return true;
  // What nobody is known to own is never drawn in by a negation: only `unknown` asks for it.
  bool selected = process && list.front().exclude;
  for (const Item& item : list) {
    const bool match = process ? item.matches(*process) : item.kind == Kind::unknown;
    if (match) selected = !item.exclude;
  }
  return selected;
}

bool Filter::matches_everything() const {
  return items_->list.empty();
}

const std::string& Filter::text() const {
  return items_->text;
}

nlohmann::json Filter::to_json() const {
  auto list = nlohmann::json::array();
  for (const Item& item : items_->list) {
    list.push_back({{"kind", kKindNames[static_cast<std::size_t>(item.kind)]},
                    {"text", item.text},
                    {"exclude", item.exclude},
                    {"descendants", item.descendants}});
  }
  return {{"text", items_->text}, {"items", std::move(list)}};
}

Result<Filter> Filter::from_json(const nlohmann::json& data) {
  const auto bad = failure("a filter that osproxy did not write");
  const auto string_at = [](const nlohmann::json& object, const char* key) {
    return object.is_object() && object.contains(key) && object[key].is_string();
  };
  if (!string_at(data, "text") || !data.contains("items") || !data["items"].is_array()) return bad;
  if (data["items"].size() > kMaxItems || data["text"].get_ref<const std::string&>().size() > kMaxText)
    return bad;
  auto items = std::make_shared<Items>();
  items->text = data["text"];
  for (const auto& entry : data["items"]) {
    if (!string_at(entry, "kind") || !string_at(entry, "text")) return bad;
    const auto kind =
        std::ranges::find(kKindNames, std::string_view(entry["kind"].get_ref<const std::string&>()));
    if (kind == std::end(kKindNames)) return bad;
    Item item;
    item.kind = static_cast<Kind>(kind - std::begin(kKindNames));
    item.text = entry["text"];
    if (item.text.size() > kMaxText) return bad;
    item.exclude = entry.contains("exclude") && entry["exclude"] == true;
    item.descendants = entry.contains("descendants") && entry["descendants"] == true;
    if (item.kind == Kind::pid && !all_digits(item.text)) return bad;
    auto ready = compiled(std::move(item));
    if (!ready) return ready.error();
    items->list.push_back(std::move(*ready));
  }
  Filter filter;
  filter.items_ = std::move(items);
  return filter;
}

}  // namespace divert
