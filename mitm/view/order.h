// By which flows are sorted.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "base/error.h"

namespace mitm::view {

struct Column {
  std::string_view name;
  std::string_view sql;  ///< an expression on a row of the table `flow`
};

/// All by which flows can be sorted, by name. "id" is the order in which they were first heard of.
[[nodiscard]] std::span<const Column> sort_columns();

/// Flows that are equal in their column are in the order of their ids.
struct Order {
  std::string column = "id";
  bool descending = false;

  [[nodiscard]] bool by_id() const { return column == "id"; }
  /// Behind ORDER BY.
  [[nodiscard]] std::string sql() const;
  bool operator==(const Order&) const = default;
};

/// "duration", "-duration". Empty: by id.
[[nodiscard]] base::Result<Order> parse_order(std::string_view text);

/// A value of a column. Absent ones are first, as SQLite has it.
using Key = std::variant<std::monostate, std::int64_t, std::string>;

/// The expression of a column.
[[nodiscard]] std::string_view sql_of(const Order& order);

}  // namespace mitm::view
