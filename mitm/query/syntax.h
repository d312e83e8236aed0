// The tree of a filter.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "mitm/query/field.h"

namespace mitm::query {

struct Node {
  enum class Kind : std::uint8_t { all_of, any_of, negation, test };

  Kind kind = Kind::test;
  std::vector<Node> children;        ///< of negation: one
  std::shared_ptr<const Test> test;  ///< of Kind::test only
  /// Positions in `children`, the cheapest first.
  std::vector<std::uint32_t> order;
  Cost cost = Cost::row;     ///< of the most expensive part
  std::uint32_t weight = 0;  ///< for the order
};

/// A node of `children`, which are not empty; the only child itself, if there is one.
[[nodiscard]] Node join(Node::Kind kind, std::vector<Node> children);
[[nodiscard]] Node negate(Node child);
[[nodiscard]] Node leaf(Test test);

/// A filter that is read as the same tree: typed comparisons, &, | and !, parentheses wherever two
/// of them meet.
[[nodiscard]] std::string render(const Node& node);
[[nodiscard]] std::string render(const Test& test);

/// "==", "contains".
[[nodiscard]] std::string_view symbol(Comparison comparison);

}  // namespace mitm::query
