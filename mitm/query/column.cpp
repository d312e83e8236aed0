#include "mitm/query/column.h"

#include "base/ascii.h"
#include "base/suggestion.h"
#include "base/text.h"
#include "mitm/query/parser.h"
#include "mitm/query/subject.h"

namespace mitm::query {
namespace {

/// What makes a comparison of the name of a field: keys are read by the parser of filters.
std::string_view comparison_for(ValueType type) {
  switch (type) {
    case ValueType::flag:
      return "";
    case ValueType::number:
    case ValueType::size:
      return " == 1";
    case ValueType::status:
      return " == 200";
    case ValueType::duration:
      return " == 1ms";
    case ValueType::time:
      return " == 2026-01-01";
    case ValueType::address:
      return " == 192.0.2.1";
    case ValueType::text:
    case ValueType::json:
      break;
  }
  return " == \"x\"";
}

base::Error unknown(std::string_view name) {
  std::vector<std::string_view> names;
  for (const Field* const field : all_fields()) {
    if (field->never.empty()) names.push_back(field->name);
  }
  return base::failure("unknown field '{}'{}", base::printable(name),
                       base::suggestion(name, names));
}

}  // namespace

base::Result<Column> Column::parse(std::string_view name) {
  const std::string_view bare = name.substr(0, name.find('['));
  const Field* const field = find_field(base::lowercase(bare));
  if (field == nullptr || !field->never.empty()) return unknown(bare);
  const auto parsed = parse_text(std::string(name).append(comparison_for(field->type)), {});
  if (!parsed.tree) {
    if (field->keyed == Keyed::required && bare == name)
      return base::failure("'{0}' needs a key: {0}[\"NAME\"]", bare);
    return base::failure("'{}': {}", base::printable(name), parsed.problem.message());
  }
  if (parsed.tree->kind != Node::Kind::test || parsed.tree->test->field != field)
    return base::failure("'{}' is no field", base::printable(name));
  return Column{std::string(name), parsed.tree->test};
}

ValueType Column::type() const {
  return test_->field->type;
}

std::vector<Value> Column::values(const flow::Flow& flow) const {
  std::vector<Value> all;
  Values values(all);
  Subject subject(flow);
  test_->field->get(subject, *test_, values);
  return all;
}

}  // namespace mitm::query
