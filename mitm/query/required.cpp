// What the URL of a flow must contain for a filter to match, for those who ask many filters.
#include <algorithm>
#include <iterator>

#include <re2/re2.h>

#include "mitm/query/filter.h"
#include "mitm/query/syntax.h"

namespace mitm::query {
namespace {

using Patterns = std::vector<std::string>;

/// More alternatives are no help: their text is somewhere in most URLs.
constexpr std::size_t kMost = 64;

/// All values of the field are parts of the URL, or names of the host.
bool is_in_url(const Field& field) {
  constexpr std::string_view kFields[] = {"url", "host", "domain", "path"};
  return std::ranges::find(kFields, field.name) != std::end(kFields);
}

Patterns of_test(const Test& test) {
  if (!is_in_url(*test.field)) return {};
  const Predicate& predicate = test.predicate;
  if (predicate.regex) return {predicate.regex->pattern()};
  Patterns patterns;
  if (predicate.comparison != Comparison::equal && predicate.comparison != Comparison::in)
    return patterns;
  for (const Operand& operand : predicate.operands) {
    if (operand.text.empty()) return {};
    patterns.push_back(RE2::QuoteMeta(operand.text));
  }
  return patterns;
}

Patterns of_node(const Node& node);

std::size_t shortest(const Patterns& patterns) {
  return std::ranges::min(patterns, {}, &std::string::size).size();
}

/// Those of one child are enough, as all must match: the fewest, of these the longest.
Patterns fewest(const std::vector<Node>& children) {
  Patterns best;
  for (const Node& child : children) {
    Patterns patterns = of_node(child);
    if (patterns.empty()) continue;
    const bool better = best.empty() || patterns.size() < best.size() ||
                        (patterns.size() == best.size() && shortest(patterns) > shortest(best));
    if (better) best = std::move(patterns);
  }
  return best;
}

Patterns all_of(const std::vector<Node>& children) {
  Patterns all;
  for (const Node& child : children) {
    const Patterns patterns = of_node(child);
    if (patterns.empty() || all.size() + patterns.size() > kMost) return {};
    all.insert(all.end(), patterns.begin(), patterns.end());
  }
  return all;
}

Patterns of_node(const Node& node) {
  switch (node.kind) {
    case Node::Kind::all_of:
      return fewest(node.children);
    case Node::Kind::any_of:
      return all_of(node.children);
    case Node::Kind::negation:
      return {};
    case Node::Kind::test:
      break;
  }
  return of_test(*node.test);
}

}  // namespace

Patterns Filter::required_in_url() const {
  return of_node(*tree_);
}

}  // namespace mitm::query
