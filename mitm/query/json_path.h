// Simple paths into JSON documents: $.a.b, $["a b"], $[0], $.list[*].name.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace mitm::query {

/// All elements of an array, or all members of an object.
struct EveryElement {
  bool operator==(const EveryElement&) const = default;
};
using PathStep = std::variant<std::string, std::size_t, EveryElement>;
using JsonPath = std::vector<PathStep>;

/// Empty: it is no such path. The leading "$" may be left out.
[[nodiscard]] std::optional<JsonPath> parse_json_path(std::string_view text);

}  // namespace mitm::query
