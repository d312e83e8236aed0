// Evaluation of filters is mitmproxy's: left to right, the first item's sign sets the default. And
// the way to and from plain data.
#include "divert/policy/program_filter.h"

#include <algorithm>
#include <array>
#include <vector>

#include <nlohmann/json.hpp>
#include <re2/re2.h>

#include "base/text.h"
#include "divert/policy/filter_item.h"
#include "procmap/program_names.h"

namespace divert {
namespace {

using base::failure;
using base::Result;
using nlohmann::json;
using procmap::base_name;
using procmap::ProcessFacts;
using Kind = ItemKind;

constexpr std::size_t kMaxLabel = 80;
constexpr std::array<std::string_view, 10> kKindNames{
    "pid", "substring", "name", "prefix", "glob", "regex", "user", "group", "cgroup", "unknown"};

/// Length of the character at the front of `text`, which is not empty: `?` matches one
/// character, not byte.
std::size_t character_length(std::string_view text) {
  std::size_t length = 1;
  while (length < text.size() && (static_cast<unsigned char>(text[length]) & 0xc0U) == 0x80U)
    ++length;
  return length;
}

/// The glob's next element is at the front of `pattern`: how much of `pattern` and `text` it uses
/// up, or 0.
std::pair<std::size_t, std::size_t> glob_step(std::string_view pattern, std::string_view text) {
  if (pattern.empty()) return {0, 0};
  if (pattern[0] == '?') return {1, character_length(text)};
  const std::size_t escape = pattern[0] == '\\' && pattern.size() > 1 ? 1 : 0;
  return pattern[escape] == text[0] ? std::pair{escape + 1, std::size_t{1}}
                                    : std::pair{std::size_t{0}, std::size_t{0}};
}

bool glob_matches(std::string_view pattern, std::string_view text) {
  std::string_view after_star,
      resume;  // where to go on when what follows the last star does not fit
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
bool matches_executable(const ParsedItem& item, pid_t pid, std::string_view path,
                        std::string_view name) {
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

/// The same of a process that is called by other names as well.
bool matches_names(const ParsedItem& item, pid_t pid, std::string_view path, std::string_view name,
                   const std::vector<std::string>& others) {
  if (matches_executable(item, pid, path, name)) return true;
  return item.kind != Kind::pid && std::ranges::any_of(others, [&](const std::string& other) {
           return matches_executable(item, 0, other, base_name(other));
         });
}

bool matches_process(const ParsedItem& item, const ProcessFacts& process) {
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
  if (matches_names(item, process.id.pid, path, process.name, process.other_names)) return true;
  return item.descendants &&
         std::ranges::any_of(process.ancestors, [&](const procmap::Ancestor& ancestor) {
           return matches_names(item, ancestor.id.pid, ancestor.exe, base_name(ancestor.exe),
                                ancestor.other_names);
         });
}

/// For a process that is not known; empty: the socket does not tell.
std::optional<bool> matches_socket(const ParsedItem& item,
                                   const std::optional<procmap::SocketFacts>& socket) {
  if (item.kind == Kind::unknown) return true;
  if (!socket) return std::nullopt;
  if (item.kind == Kind::user && socket->uid_known)
    return socket->user == item.text || std::to_string(socket->uid) == item.text;
  if (item.kind == Kind::cgroup && !socket->cgroup.empty())
    return is_below(socket->cgroup, item.text);
  return std::nullopt;
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
  if (first == source.npos)
    return failure("filter '{}': item {} {}", labelled(spec), place, why.text);
  source = source.substr(first, source.find_last_not_of(" \t\r\n\v\f") - first + 1);
  return failure("filter '{}': item {} ('{}') {}", labelled(spec), place, labelled(source),
                 why.text);
}

json item_to_json(const ParsedItem& item) {
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

Result<ParsedItem> item_from_json(const json& data) {
  const std::string* kind = data.is_object() ? string_at(data, "kind") : nullptr;
  const std::string* text = data.is_object() ? string_at(data, "text") : nullptr;
  const bool* exclude = data.is_object() ? flag_at(data, "exclude") : nullptr;
  const bool* descendants = data.is_object() ? flag_at(data, "descendants") : nullptr;
  if (!kind || !text || !exclude || !descendants || data.size() != 4) {
    return failure("is not an object of kind, text, exclude and descendants");
  }
  const auto known = std::ranges::find(kKindNames, std::string_view(*kind));
  if (known == kKindNames.end()) return failure("has the unknown kind '{}'", labelled(*kind));
  if (text->size() > 2 * ProgramFilter::kMaxText) return failure("is longer than any filter");
  ParsedItem item;
  item.kind = static_cast<Kind>(known - kKindNames.begin());
  item.text = *text;
  item.exclude = *exclude;
  item.descendants = *descendants;
  return compiled(std::move(item));
}

}  // namespace

struct ProgramFilter::Items {
  std::string text;
  std::string label;
  std::vector<ParsedItem> list;
};

ProgramFilter::ProgramFilter() {
  static const auto everything = std::make_shared<const Items>();
  items_ = everything;
}

ProgramFilter::ProgramFilter(std::shared_ptr<const Items> items) : items_(std::move(items)) {}

Result<ProgramFilter> ProgramFilter::parse(std::string_view spec) {
  if (spec.size() > kMaxText) {
    return failure("filter '{}' has {} bytes; expected at most {}", labelled(spec), spec.size(),
                   kMaxText);
  }
  std::vector<std::string_view> parts;
  const bool closed = split_items(spec, parts);
  if (parts.size() == 1 && parts[0].find_first_not_of(" \t\r\n\v\f") == std::string_view::npos)
    return ProgramFilter();
  if (!closed) {
    return item_error(spec, parts.size(), parts.back(),
                      failure("has a double quote that is not closed"));
  }
  if (parts.size() > kMaxItems) {
    return failure("filter '{}' has {} items; expected at most {}", labelled(spec), parts.size(),
                   kMaxItems);
  }
  auto items = std::make_shared<Items>();
  items->text = spec;
  items->label = labelled(spec);
  for (const std::string_view part : parts) {
    auto item = parse_item(part);
    if (!item) return item_error(spec, items->list.size() + 1, part, item.error());
    items->list.push_back(std::move(*item));
  }
  return ProgramFilter(std::move(items));
}

bool ProgramFilter::matches(const ProcessFacts* process) const {
  const auto& list = items_->list;
  if (list.empty()) return true;
  if (!process) return matches(procmap::Owner{});
  bool selected = list.front().exclude;
  for (const ParsedItem& item : list) {
    if (matches_process(item, *process)) selected = !item.exclude;
  }
  return selected;
}

bool ProgramFilter::matches(const procmap::Owner& owner) const {
  if (owner.process) return matches(owner.process.get());
  const auto& list = items_->list;
  if (list.empty()) return true;
  bool selected = list.front().exclude;
  for (const ParsedItem& item : list) {
    const auto fits = matches_socket(item, owner.socket);
    if (fits.value_or(item.exclude)) selected = !item.exclude;
  }
  return selected;
}

std::vector<FilterItem> ProgramFilter::items() const {
  using Names = FilterItem::Names;
  const auto names = [](Kind kind) {
    switch (kind) {
      case Kind::pid:
        return Names::process;
      case Kind::user:
        return Names::user;
      case Kind::group:
        return Names::group;
      case Kind::cgroup:
        return Names::cgroup;
      case Kind::unknown:
        return Names::unknown;
      default:
        return Names::program;
    }
  };
  std::vector<FilterItem> all;
  for (const auto& item : items_->list) {
    const bool is_pattern = item.kind == Kind::glob || item.kind == Kind::regex;
    all.push_back({names(item.kind), item.exclude, is_pattern, item.text});
  }
  return all;
}

bool ProgramFilter::item_matches(std::size_t index, const ProcessFacts& process) const {
  return matches_process(items_->list.at(index), process);
}

bool ProgramFilter::matches_everything() const {
  return items_->list.empty();
}

const std::string& ProgramFilter::text() const {
  return items_->text;
}

const std::string& ProgramFilter::label() const {
  return items_->label;
}

std::size_t ProgramFilter::size() const {
  return items_->list.size();
}

json ProgramFilter::to_json() const {
  auto list = json::array();
  for (const ParsedItem& item : items_->list) list.push_back(item_to_json(item));
  return {{"text", items_->text}, {"items", std::move(list)}};
}

Result<ProgramFilter> ProgramFilter::from_json(const json& data) {
  const std::string* text = data.is_object() ? string_at(data, "text") : nullptr;
  const auto list = data.is_object() ? data.find("items") : data.end();
  if (!text || data.size() != 2 || list == data.end() || !list->is_array()) {
    return failure("filter: not an object of text and items");
  }
  if (text->size() > kMaxText || list->size() > kMaxItems) return failure("filter: too long");
  if (list->empty() != text->empty())
    return failure("filter '{}': text and items differ", labelled(*text));
  auto items = std::make_shared<Items>();
  items->text = *text;
  items->label = labelled(*text);
  for (const json& entry : *list) {
    auto item = item_from_json(entry);
    if (!item) return item_error(*text, items->list.size() + 1, {}, item.error());
    items->list.push_back(std::move(*item));
  }
  return ProgramFilter(std::move(items));
}

}  // namespace divert
