// Simple paths into JSON documents: $.a.b, $["a b"], $[0], $.list[*].name.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace mitm::query {

/// All elements of an array, or all members of an object.
struct EveryElement {
  bool operator==(const EveryElement&) const = default;
};
using PathStep = std::variant<std::string, std::size_t, EveryElement>;
using JsonPath = std::vector<PathStep>;

/// Empty: it is no such path. The leading "$" may be left out.
[[nodiscard]] std::optional<JsonPath> parse_json_path(std::string_view text);

/// Calls `visit(value)` for each value that `path` leads to.
template <class Visit>
void visit_json(const nlohmann::json& value, const JsonPath& path, std::size_t step,
                const Visit& visit) {
  if (step == path.size()) return visit(value);
  if (const auto* const key = std::get_if<std::string>(&path[step])) {
    if (!value.is_object()) return;
    const auto member = value.find(*key);
    if (member != value.end()) visit_json(*member, path, step + 1, visit);
  } else if (const auto* const index = std::get_if<std::size_t>(&path[step])) {
    if (value.is_array() && *index < value.size()) visit_json(value[*index], path, step + 1, visit);
  } else if (value.is_structured()) {
    for (const auto& element : value) visit_json(element, path, step + 1, visit);
  }
}

/// The document that `text` is; discarded (nlohmann) if it is none, or nested deeper than 200
/// levels.
[[nodiscard]] nlohmann::json parse_document(std::string_view text);

}  // namespace mitm::query
