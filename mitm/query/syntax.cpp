// Trees: made, and written as text.
#include "mitm/query/syntax.h"

#include <algorithm>
#include <numeric>

#include "mitm/query/value.h"

namespace mitm::query {
namespace {

std::uint32_t weight_of(const Test& test) {
  constexpr std::uint32_t kHeads = 100, kBodies = 10'000;
  const Predicate& predicate = test.predicate;
  const std::uint32_t kind = predicate.regex ? 3 : predicate.type == ValueType::text ? 2 : 1;
  switch (test.field->cost) {
    case Cost::row:
      return kind;
    case Cost::heads:
      return kHeads * kind;
    case Cost::bodies:
      return kBodies * kind;
  }
  return kind;
}

std::string render_operand(const Predicate& predicate, const Operand& operand) {
  switch (predicate.type) {
    case ValueType::text:
    case ValueType::json:
      return in_quotes(operand.text);
    case ValueType::address:
      return base::to_string(*operand.network);
    default:
      return render_range(predicate.type, *operand.range);
  }
}

std::string render_inside(const Node& node) {
  const bool nested = node.kind == Node::Kind::all_of || node.kind == Node::Kind::any_of;
  return nested ? "(" + render(node) + ")" : render(node);
}

}  // namespace

Node join(Node::Kind kind, std::vector<Node> children) {
  if (children.size() == 1) return std::move(children.front());
  Node node;
  node.kind = kind;
  node.children = std::move(children);
  node.order.resize(node.children.size());
  std::iota(node.order.begin(), node.order.end(), 0U);
  std::ranges::stable_sort(node.order, {},
                           [&](std::uint32_t i) { return node.children[i].weight; });
  for (const Node& child : node.children) {
    node.cost = std::max(node.cost, child.cost);
    node.weight += child.weight;
  }
  return node;
}

Node negate(Node child) {
  Node node;
  node.kind = Node::Kind::negation;
  node.cost = child.cost;
  node.weight = child.weight;
  node.children.push_back(std::move(child));
  return node;
}

Node leaf(Test test) {
  Node node;
  node.cost = test.field->cost;
  node.weight = weight_of(test);
  node.test = std::make_shared<const Test>(std::move(test));
  return node;
}

std::string_view symbol(Comparison comparison) {
  switch (comparison) {
    case Comparison::holds:
      return {};
    case Comparison::equal:
      return "==";
    case Comparison::not_equal:
      return "!=";
    case Comparison::less:
      return "<";
    case Comparison::less_equal:
      return "<=";
    case Comparison::greater:
      return ">";
    case Comparison::greater_equal:
      return ">=";
    case Comparison::contains:
      return "contains";
    case Comparison::starts_with:
      return "startswith";
    case Comparison::ends_with:
      return "endswith";
    case Comparison::matches:
      return "~=";
    case Comparison::in:
      return "in";
  }
  return {};
}

std::string render(const Test& test) {
  const Predicate& predicate = test.predicate;
  const Field& field = *test.field;
  if (!field.never.empty()) {
    std::string text = "~" + std::string(field.letter);
    return predicate.operands.empty() ? text
                                      : text + ' ' + in_quotes(predicate.operands.front().text);
  }
  std::string text(field.name);
  if (!test.key.empty()) text += '[' + in_quotes(test.key) + ']';
  if (predicate.comparison == Comparison::holds) return text;
  text.append(" ").append(symbol(predicate.comparison)).append(" ");
  if (predicate.comparison != Comparison::in)
    return text + render_operand(predicate, predicate.operands.front());
  text += '{';
  for (const Operand& operand : predicate.operands) {
    if (&operand != &predicate.operands.front()) text += ", ";
    text += render_operand(predicate, operand);
  }
  return text + '}';
}

std::string render(const Node& node) {
  if (node.kind == Node::Kind::test) return render(*node.test);
  if (node.kind == Node::Kind::negation) return "!" + render_inside(node.children.front());
  std::string text;
  for (const Node& child : node.children) {
    if (!text.empty()) text += node.kind == Node::Kind::all_of ? " & " : " | ";
    text += render_inside(child);
  }
  return text;
}

}  // namespace mitm::query
