// From a text to its tree.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "mitm/query/options.h"
#include "mitm/query/problem.h"
#include "mitm/query/syntax.h"

namespace mitm::query {

struct ParsedText {
  std::optional<Node> tree;  ///< empty: see `problem`
  Problem problem;
  std::vector<Warning> warnings;
};
[[nodiscard]] ParsedText parse_text(std::string_view text, const Options& options);

}  // namespace mitm::query
