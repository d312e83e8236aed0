// A filter in words.
#include <fmt/format.h>

#include "base/text.h"
#include "mitm/query/filter.h"
#include "mitm/query/syntax.h"
#include "mitm/query/value.h"

namespace mitm::query {
namespace {

std::string_view words(Comparison comparison, ValueType type) {
  const bool time = type == ValueType::time;
  switch (comparison) {
    case Comparison::holds:
      return {};
    case Comparison::equal:
    case Comparison::in:
      return type == ValueType::address ? "is in" : "is";
    case Comparison::not_equal:
      return type == ValueType::address ? "is not in" : "is not";
    case Comparison::less:
      return time ? "is before" : "is below";
    case Comparison::less_equal:
      return time ? "is not after" : "is at most";
    case Comparison::greater:
      return time ? "is after" : "is above";
    case Comparison::greater_equal:
      return time ? "is not before" : "is at least";
    case Comparison::contains:
      return "contains";
    case Comparison::starts_with:
      return "begins with";
    case Comparison::ends_with:
      return "ends with";
    case Comparison::matches:
      return "matches";
  }
  return {};
}

/// What the field's help says of its values, without what it says of keys and absence.
std::string subject(const Test& test) {
  const Field& field = *test.field;
  if (!test.key.empty())
    return fmt::format("{}[{}]", field.name, base::printable(in_quotes(test.key)));
  std::string_view help = field.help;
  for (const std::string_view end : {" (", ", or the value of", ", if there"})
    help = help.substr(0, help.find(end));
  return help.starts_with("a ") ? std::string(help) : "the " + std::string(help);
}

std::string object(const Predicate& predicate, const Operand& operand) {
  switch (predicate.type) {
    case ValueType::text:
    case ValueType::json:
      if (predicate.comparison == Comparison::matches)
        return "/" + base::printable(operand.text) + "/";
      return base::printable(in_quotes(operand.text));
    case ValueType::address:
      return base::to_string(*operand.network);
    default:
      break;
  }
  // Of a range, an order asks for one end only.
  Range range = *operand.range;
  const bool first =
      predicate.comparison == Comparison::less || predicate.comparison == Comparison::greater_equal;
  const bool last =
      predicate.comparison == Comparison::greater || predicate.comparison == Comparison::less_equal;
  if (first) range.last = range.first;
  if (last) range.first = range.last;
  return describe_range(predicate.type, range);
}

std::string explain_test(const Test& test) {
  const Field& field = *test.field;
  const Predicate& predicate = test.predicate;
  if (!field.never.empty()) return "never, as " + std::string(field.never);
  if (predicate.comparison == Comparison::holds) return "the flow " + std::string(field.help);
  std::string text = subject(test);
  text.append(" ").append(words(predicate.comparison, field.type));
  for (std::size_t i = 0; i < predicate.operands.size(); ++i) {
    const bool last = i + 1 == predicate.operands.size();
    if (i > 0) text += last ? " or" : ",";
    text.append(" ").append(object(predicate, predicate.operands[i]));
  }
  return text;
}

std::string explain_node(const Node& node) {
  if (node.kind == Node::Kind::test) return explain_test(*node.test);
  if (node.kind == Node::Kind::negation) return "not (" + explain_node(node.children.front()) + ")";
  std::string text;
  for (const Node& child : node.children) {
    if (!text.empty()) text += node.kind == Node::Kind::all_of ? " and " : " or ";
    const bool single = child.kind == Node::Kind::test || child.kind == Node::Kind::negation;
    text += single ? explain_node(child) : "(" + explain_node(child) + ")";
  }
  return text;
}

}  // namespace

std::string Filter::explain() const {
  return explain_node(*tree_);
}

}  // namespace mitm::query
