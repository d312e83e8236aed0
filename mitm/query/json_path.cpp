// Paths as they are typed.
#include "mitm/query/json_path.h"

#include <algorithm>
#include <charconv>

namespace mitm::query {
namespace {

/// "0]", "*]" or "\"a b\"]" at the front of `text`, which loses it.
std::optional<PathStep> take_bracket(std::string_view& text) {
  if (text.starts_with("*]")) {
    text.remove_prefix(2);
    return EveryElement{};
  }
  if (!text.empty() && (text.front() == '"' || text.front() == '\'')) {
    const auto end = text.find(text.front(), 1);
    if (end == text.npos || text.substr(end + 1, 1) != "]") return std::nullopt;
    PathStep step = std::string(text.substr(1, end - 1));
    text.remove_prefix(end + 2);
    return step;
  }
  std::size_t index = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), index);
  const auto size = static_cast<std::size_t>(end - text.data());
  if (error != std::errc{} || text.substr(size, 1) != "]") return std::nullopt;
  text.remove_prefix(size + 1);
  return index;
}

std::optional<PathStep> take_name(std::string_view& text) {
  const std::size_t size = std::min(text.find_first_of(".["), text.size());
  if (size == 0) return std::nullopt;
  const auto name = text.substr(0, size);
  text.remove_prefix(size);
  if (name == "*") return EveryElement{};
  return std::string(name);
}

}  // namespace

std::optional<JsonPath> parse_json_path(std::string_view text) {
  JsonPath path;
  bool named = false;
  if (text.starts_with('$')) {
    text.remove_prefix(1);
  } else {
    named = !text.starts_with('[');  // "a.b" begins without a dot
    if (text.empty()) return std::nullopt;
  }
  while (!text.empty() || named) {
    const bool bracket = !named && text.front() == '[';
    if (!named && !bracket && text.front() != '.') return std::nullopt;
    if (!named) text.remove_prefix(1);
    named = false;
    auto step = bracket ? take_bracket(text) : take_name(text);
    if (!step) return std::nullopt;
    path.push_back(std::move(*step));
  }
  return path;
}

}  // namespace mitm::query
