// A parsed filter, and its evaluation on flows.
#include "mitm/query/filter.h"

#include <algorithm>
#include <stdexcept>

#include "base/text.h"
#include "mitm/query/parser.h"
#include "mitm/query/subject.h"

namespace mitm::query {
namespace {

/// What stands in errors and warnings of the filter's text, and of RE2's words on it, is shown on
/// terminals.
void make_printable(ParsedText& parsed) {
  for (std::string* const text :
       {&parsed.problem.found, &parsed.problem.expected, &parsed.problem.hint})
    *text = base::printable(*text);
  for (Warning& warning : parsed.warnings) warning.text = base::printable(warning.text);
}

bool evaluate(const Node& node, Subject& subject) {
  switch (node.kind) {
    case Node::Kind::all_of:
      return std::ranges::all_of(
          node.order, [&](std::uint32_t i) { return evaluate(node.children[i], subject); });
    case Node::Kind::any_of:
      return std::ranges::any_of(
          node.order, [&](std::uint32_t i) { return evaluate(node.children[i], subject); });
    case Node::Kind::negation:
      return !evaluate(node.children.front(), subject);
    case Node::Kind::test:
      break;
  }
  const Test& test = *node.test;
  Values values(test.predicate);
  test.field->get(subject, test, values);
  return values.result();
}

bool is_settled(const Field& field, const Subject& subject, std::uint8_t /*whole*/) {
  switch (field.settled) {
    case Settled::at_end:
      return false;
    case Settled::with_response:
      return subject.http == nullptr || subject.http->response.status != 0;
    case Settled::at_start:
      return true;
  }
  return false;
}

/// Whether the values of `field` are there. `whole`: Bodies that are.
using IsKnown = bool (*)(const Field& field, const Subject& subject, std::uint8_t whole);

std::optional<bool> foresee(const Node& node, Subject& subject, IsKnown is_known,
                            std::uint8_t whole);

/// Of children one of which decides, with `decisive`.
std::optional<bool> foresee_any(const Node& node, Subject& subject, IsKnown is_known,
                                std::uint8_t whole, bool decisive) {
  bool all_known = true;
  for (const std::uint32_t i : node.order) {
    const auto known = foresee(node.children[i], subject, is_known, whole);
    if (known == decisive) return decisive;
    all_known = all_known && known;
  }
  if (!all_known) return std::nullopt;
  return !decisive;
}

std::optional<bool> foresee(const Node& node, Subject& subject, IsKnown is_known,
                            std::uint8_t whole) {
  switch (node.kind) {
    case Node::Kind::all_of:
      return foresee_any(node, subject, is_known, whole, false);
    case Node::Kind::any_of:
      return foresee_any(node, subject, is_known, whole, true);
    case Node::Kind::negation: {
      const auto known = foresee(node.children.front(), subject, is_known, whole);
      if (!known) return std::nullopt;
      return !*known;
    }
    case Node::Kind::test:
      break;
  }
  if (!is_known(*node.test->field, subject, whole)) return std::nullopt;
  return evaluate(node, subject);
}

bool is_there(const Field& field, const Subject& /*subject*/, std::uint8_t whole) {
  return (field.bodies & ~whole) == 0;
}

std::uint8_t bodies_of(const Node& node) {
  if (node.kind == Node::Kind::test) return node.test->field->bodies;
  std::uint8_t all = kNoBody;
  for (const Node& child : node.children) all |= bodies_of(child);
  return all;
}

bool is_known_in_exchange(const Field& field) {
  if (!field.never.empty()) return true;
  if ((field.kinds & kHttp) == 0) return false;
  return field.settled != Settled::at_end || field.bodies != kNoBody || field.of_progress;
}

const Field* unknown_in_exchange_of(const Node& node) {
  if (node.kind == Node::Kind::test)
    return is_known_in_exchange(*node.test->field) ? nullptr : node.test->field;
  for (const Node& child : node.children)
    if (const Field* const field = unknown_in_exchange_of(child)) return field;
  return nullptr;
}

/// What a connection has settled before its first request.
bool is_of_connection(const Field& field, const Subject& /*subject*/, std::uint8_t /*whole*/) {
  using Table = Columns::Table;
  switch (field.columns.table) {
    case Table::process:
    case Table::parent:
    case Table::ancestor:
      return true;
    case Table::conn:
      return field.settled == Settled::at_start;
    default:
      return (field.kinds & kHttp) == 0;
  }
}

}  // namespace

Filter::Parsed Filter::parse(std::string_view text, const Options& options) {
  auto parsed = parse_text(text, options);
  make_printable(parsed);
  if (!parsed.tree) return std::move(parsed.problem);
  Filter filter;
  filter.text_ = text;
  filter.tree_ = std::make_shared<const Node>(std::move(*parsed.tree));
  filter.warnings_ = std::move(parsed.warnings);
  return filter;
}

bool Filter::matches(const flow::Flow& flow) const {
  Subject subject(flow);
  return evaluate(*tree_, subject);
}

std::optional<bool> Filter::will_match(const flow::Flow& flow) const {
  Subject subject(flow);
  return will_match(subject);
}

std::optional<bool> Filter::will_match(Subject& subject) const {
  return foresee(*tree_, subject, is_settled, kNoBody);
}

std::optional<bool> Filter::matches_so_far(const flow::Flow& flow, std::uint8_t whole) const {
  Subject subject(flow);
  return matches_so_far(subject, whole);
}

std::optional<bool> Filter::matches_so_far(Subject& subject, std::uint8_t whole) const {
  return foresee(*tree_, subject, is_there, whole);
}

std::optional<bool> Filter::matches_connection(
    const std::shared_ptr<const flow::ConnectionRecord>& connection) const {
  const auto http = std::make_shared<flow::HttpFlow>();
  http->connection = connection;
  const flow::Flow flow{.record = std::shared_ptr<const flow::HttpFlow>(http)};
  Subject subject(flow);
  return foresee(*tree_, subject, is_of_connection, kNoBody);
}

std::uint8_t Filter::bodies() const {
  return bodies_of(*tree_);
}

const Field* Filter::unknown_in_exchange() const {
  return unknown_in_exchange_of(*tree_);
}

Cost Filter::cost() const {
  return tree_->cost;
}

std::string Filter::canonical() const {
  return render(*tree_);
}

std::string_view to_string(Cost cost) {
  switch (cost) {
    case Cost::row:
      return "row";
    case Cost::heads:
      return "heads";
    case Cost::bodies:
      return "bodies";
  }
  return "row";
}

void throw_exception_from_error(const Problem& problem, const boost::source_location& where) {
  throw std::logic_error(std::string(where.file_name()) +
                         ": unchecked error: " + problem.message());
}

}  // namespace mitm::query
