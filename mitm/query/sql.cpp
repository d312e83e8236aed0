// A filter as a WHERE expression: an upper and a lower bound of it where rows do not say all.
#include <algorithm>
#include <cmath>
#include <span>

#include <fmt/format.h>
#include <sqlite3.h>

#include "mitm/query/filter.h"
#include "mitm/query/sql_functions.h"
#include "mitm/query/syntax.h"

namespace mitm::query {
namespace {

using Table = Columns::Table;

/// Two expressions that are 0 or 1: `upper` is 1 for all rows that match, `lower` only for such.
struct Bounds {
  std::string upper;
  std::string lower;
};

Bounds exactly(std::string expression) {
  return {expression, expression};
}

/// Never NULL.
std::string total(std::string_view expression) {
  return fmt::format("ifnull({}, 0)", expression);
}

std::string_view expression_of_kinds(std::uint8_t kinds) {
  switch (kinds) {
    case kHttp:
      return "flow.type IS 'http'";
    case kDns:
      return "flow.type IS 'dns'";
    case kTcp:
      return "flow.type NOT IN ('http', 'dns')";
    case kHttp | kDns:
      return "flow.type IN ('http', 'dns')";
    case kHttp | kTcp:
      return "flow.type IS NOT 'dns'";
    default:
      return "1";
  }
}

/// `parts` joined as a balanced tree: SQLite limits the depth of expressions.
std::string joined(std::span<const std::string> parts, std::string_view word) {
  if (parts.size() == 1) return parts.front();
  const auto half = parts.size() / 2;
  return fmt::format("({} {} {})", joined(parts.first(half), word), word,
                     joined(parts.subspan(half), word));
}

std::string conjunction(std::vector<std::string> parts) {
  std::erase(parts, "1");
  if (parts.empty()) return "1";
  if (std::ranges::find(parts, "0") != parts.end()) return "0";
  return joined(parts, "AND");
}

std::string disjunction(std::vector<std::string> parts) {
  std::erase(parts, "0");
  if (parts.empty()) return "0";
  if (std::ranges::find(parts, "1") != parts.end()) return "1";
  return joined(parts, "OR");
}

std::string opposite(const std::string& expression) {
  if (expression == "0") return "1";
  if (expression == "1") return "0";
  return "(NOT " + expression + ")";
}

std::string number(double value) {
  return fmt::format("{}", static_cast<std::int64_t>(value));
}

/// A comparison of `column`; NULL if that is.
std::string compare_number(const Predicate& predicate, std::string_view column) {
  const Range& first = *predicate.operands.front().range;
  switch (predicate.comparison) {
    case Comparison::less:
      return fmt::format("({}) < {}", column, number(first.first));
    case Comparison::less_equal:
      return fmt::format("({}) <= {}", column, number(first.last));
    case Comparison::greater:
      return fmt::format("({}) > {}", column, number(first.last));
    case Comparison::greater_equal:
      return fmt::format("({}) >= {}", column, number(first.first));
    default:
      break;
  }
  std::vector<std::string> parts;
  for (const Operand& operand : predicate.operands)
    parts.push_back(fmt::format("({}) BETWEEN {} AND {}", column, number(operand.range->first),
                                number(operand.range->last)));
  const std::string any = joined(parts, "OR");
  return predicate.comparison == Comparison::not_equal ? "NOT (" + any + ")" : any;
}

bool is_text(ValueType type) {
  return type == ValueType::text || type == ValueType::address || type == ValueType::json;
}

}  // namespace

class SqlWriter {
 public:
  explicit SqlWriter(SqlFilter& out) : out_(out) {}

  Bounds write(const Node& node);
  /// Of all that has been written.
  [[nodiscard]] std::string from() const;

 private:
  Bounds write_test(const std::shared_ptr<const Test>& test);
  std::string parameter(std::shared_ptr<const Test> test);
  std::string condition(const std::shared_ptr<const Test>& test);
  std::string no_ancestor(const Test& test);

  SqlFilter& out_;
  bool joins_conn_ = false;
  bool joins_cert_ = false;
};

std::string SqlWriter::from() const {
  std::string tables = "flow";
  if (joins_conn_) tables += " LEFT JOIN conn ON conn.id = flow.conn";
  if (joins_cert_) tables += " LEFT JOIN cert ON cert.chain = conn.chain AND cert.n = 0";
  return tables;
}

std::string SqlWriter::parameter(std::shared_ptr<const Test> test) {
  out_.parameters_.push_back(std::move(test));
  return fmt::format(":filter{}", out_.parameters_.size());
}

/// On a row of the field's table; may be NULL.
std::string SqlWriter::condition(const std::shared_ptr<const Test>& test) {
  const Columns& columns = test->field->columns;
  if (test->field->type == ValueType::flag) return fmt::format("({})", columns.first);
  if (!is_text(test->field->type)) return compare_number(test->predicate, columns.first);
  return fmt::format("osproxy_test({}, {}{}{})", parameter(test), columns.first,
                     columns.second.empty() ? "" : ", ", columns.second);
}

/// != of many rows: there is a value, and none is equal.
std::string SqlWriter::no_ancestor(const Test& test) {
  auto equal = std::make_shared<Test>(test);
  equal->predicate.comparison = Comparison::equal;
  constexpr std::string_view kAmong = "flow.process IN (SELECT process FROM ancestor WHERE {})";
  const std::string any = fmt::format("nullif({}, '') IS NOT NULL", test.field->columns.first);
  return fmt::format("({} AND NOT {})", total(fmt::format(fmt::runtime(kAmong), any)),
                     total(fmt::format(fmt::runtime(kAmong), condition(equal))));
}

Bounds SqlWriter::write_test(const std::shared_ptr<const Test>& test) {
  const Field& field = *test->field;
  const Columns& columns = field.columns;
  if (!field.never.empty()) return exactly("0");
  switch (columns.table) {
    case Table::none: {
      std::vector<std::string> upper{std::string(expression_of_kinds(field.kinds))};
      if (!columns.first.empty()) upper.push_back(total(columns.first));
      out_.exact = false;
      return {conjunction(std::move(upper)), columns.second.empty() ? "0" : total(columns.second)};
    }
    case Table::flow: {
      const std::string expression = condition(test);
      if (expression == "(1)") return exactly("1");
      return exactly(is_text(field.type) ? expression : total(expression));
    }
    case Table::process:
      return exactly(
          total(fmt::format("flow.process IN (SELECT id FROM process WHERE {})", condition(test))));
    case Table::parent:
      return exactly(
          total(fmt::format("flow.process IN (SELECT process FROM ancestor WHERE depth = 1 AND {})",
                            condition(test))));
    case Table::ancestor:
      if (test->predicate.comparison == Comparison::not_equal) return exactly(no_ancestor(*test));
      return exactly(total(
          fmt::format("flow.process IN (SELECT process FROM ancestor WHERE {})", condition(test))));
    // Joined, not an IN (SELECT ...): the first rows of a long session come at once. Flows of a
    // connection follow each other: SQLite looks for it once.
    case Table::conn:
      joins_conn_ = true;
      return exactly(total(condition(test)));
    case Table::cert:
      joins_conn_ = joins_cert_ = true;
      return exactly(total(condition(test)));
  }
  return exactly("0");
}

Bounds SqlWriter::write(const Node& node) {
  if (node.kind == Node::Kind::test) return write_test(node.test);
  if (node.kind == Node::Kind::negation) {
    const Bounds inner = write(node.children.front());
    return {opposite(inner.lower), opposite(inner.upper)};
  }
  std::vector<std::string> upper, lower;
  for (const std::uint32_t i : node.order) {
    Bounds part = write(node.children[i]);
    upper.push_back(std::move(part.upper));
    lower.push_back(std::move(part.lower));
  }
  if (node.kind == Node::Kind::all_of)
    return {conjunction(std::move(upper)), conjunction(std::move(lower))};
  return {disjunction(std::move(upper)), disjunction(std::move(lower))};
}

SqlFilter Filter::sql() const {
  SqlFilter sql;
  SqlWriter writer(sql);
  Bounds bounds = writer.write(*tree_);
  sql.from = writer.from();
  sql.where = std::move(bounds.upper);
  sql.certain = std::move(bounds.lower);
  return sql;
}

int SqlFilter::bind(sqlite3_stmt* statement) const {
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const std::string name = fmt::format(":filter{}", i + 1);
    const int index = sqlite3_bind_parameter_index(statement, name.c_str());
    if (index == 0) continue;
    auto* const test = new std::shared_ptr<const Test>(parameters_[i]);
    const int result = sqlite3_bind_pointer(
        statement, index, test, kTestPointer,
        [](void* pointer) { delete static_cast<std::shared_ptr<const Test>*>(pointer); });
    if (result != SQLITE_OK) return result;
  }
  return SQLITE_OK;
}

}  // namespace mitm::query
