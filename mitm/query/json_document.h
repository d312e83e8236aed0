// JSON of the network, and what a path leads to in it.
#pragma once

#include <string_view>

#include <nlohmann/json.hpp>

#include "mitm/query/json_path.h"

namespace mitm::query {

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
