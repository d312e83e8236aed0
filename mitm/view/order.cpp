#include "mitm/view/order.h"

#include <algorithm>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/text.h"

namespace mitm::view {
namespace {

constexpr Column kColumns[] = {
    {"content_type", "flow.content_type"},
    {"duration", "flow.duration"},
    {"error", "flow.error"},
    {"host", "flow.host"},
    {"id", "flow.id"},
    {"mark", "flow.mark"},
    {"messages", "flow.messages"},
    {"method", "flow.method"},
    {"process", "(SELECT name FROM process WHERE process.id = flow.process)"},
    {"request_size", "flow.request_bytes"},
    {"response_size", "flow.response_bytes"},
    {"size", "coalesce(flow.request_bytes, 0) + coalesce(flow.response_bytes, 0)"},
    {"status", "flow.status"},
    {"time", "flow.began"},
    {"type", "flow.type"},
    {"url", "flow.url"},
};

}  // namespace

std::span<const Column> sort_columns() {
  return kColumns;
}

std::string_view sql_of(const Order& order) {
  return std::ranges::find(kColumns, order.column, &Column::name)->sql;
}

std::string Order::sql() const {
  const std::string_view down = descending ? " DESC" : "";
  if (by_id()) return fmt::format("flow.id{}", down);
  return fmt::format("{}{}, flow.id", sql_of(*this), down);
}

base::Result<Order> parse_order(std::string_view text) {
  if (text.empty()) return Order{};
  const bool descending = text.front() == '-';
  const std::string_view name = text.substr(descending ? 1 : 0);
  if (std::ranges::find(kColumns, name, &Column::name) != std::end(kColumns))
    return Order{std::string(name), descending};
  std::vector<std::string_view> names;
  for (const Column& column : kColumns) names.push_back(column.name);
  return base::failure("expected {}, or one of them behind a -, found '{}'", fmt::join(names, ", "),
                       base::printable(text));
}

}  // namespace mitm::view
