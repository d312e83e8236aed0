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
