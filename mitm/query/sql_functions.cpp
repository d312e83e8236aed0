// What rows are asked, answered by the same code that asks records.
#include "mitm/query/sql_functions.h"

#include <array>
#include <memory>
#include <string_view>

#include <sqlite3.h>

#include "mitm/query/endpoint_text.h"
#include "mitm/query/field.h"
#include "mitm/query/url_parts.h"
#include "procmap/program_names.h"

namespace mitm::query {
namespace {

std::string_view text_of(sqlite3_value* value) {
  const auto* const bytes = sqlite3_value_text(value);
  if (bytes == nullptr) return {};
  return {reinterpret_cast<const char*>(bytes),
          static_cast<std::size_t>(sqlite3_value_bytes(value))};
}

void give(sqlite3_context* context, std::string_view text) {
  if (text.empty()) return sqlite3_result_null(context);
  sqlite3_result_text64(context, text.data(), text.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
}

void add_column(const Test& test, int number, std::string_view column, Values& values) {
  if (column.empty()) return;
  const Columns& columns = test.field->columns;
  if (number == 2 && columns.split_second != nullptr)
    return columns.split_second(column, test, values);
  if (columns.split != nullptr) return columns.split(column, test, values);
  if (test.field->type != ValueType::address) return values.known(column);
  if (const auto address = known_address(column)) values.address(*address);
}

void call_test(sqlite3_context* context, int count, sqlite3_value** arguments) {
  if (count < 2)
    return sqlite3_result_error(context, "osproxy_test: expected a test and values", -1);
  const auto* const test = static_cast<const std::shared_ptr<const Test>*>(
      sqlite3_value_pointer(arguments[0], kTestPointer));
  if (test == nullptr) return sqlite3_result_error(context, "osproxy_test: no test is bound", -1);
  Values values((*test)->predicate);
  for (int i = 1; i < count && !values.decided(); ++i)
    add_column(**test, i, text_of(arguments[i]), values);
  sqlite3_result_int(context, values.result() ? 1 : 0);
}

template <auto member>
void call_url_part(sqlite3_context* context, int, sqlite3_value** arguments) {
  give(context, url_parts(text_of(arguments[0])).*member);
}

void call_base_name(sqlite3_context* context, int, sqlite3_value** arguments) {
  give(context, procmap::base_name(text_of(arguments[0])));
}

void call_endpoint(sqlite3_context* context, int, sqlite3_value** arguments) {
  give(context, endpoint_text(text_of(arguments[0]),
                              static_cast<std::uint16_t>(sqlite3_value_int(arguments[1]))));
}

void call_is_ipv6(sqlite3_context* context, int, sqlite3_value** arguments) {
  const auto address = known_address(text_of(arguments[0]));
  sqlite3_result_int(context, address && address->is_v6() ? 1 : 0);
}

struct Function {
  const char* name;
  int arguments;  ///< -1: any number
  void (*call)(sqlite3_context*, int, sqlite3_value**);
};
constexpr std::array kFunctions{
    Function{"osproxy_test", -1, call_test},
    Function{"osproxy_url_scheme", 1, call_url_part<&UrlParts::scheme>},
    Function{"osproxy_url_path", 1, call_url_part<&UrlParts::path>},
    Function{"osproxy_url_query", 1, call_url_part<&UrlParts::query>},
    Function{"osproxy_base_name", 1, call_base_name},
    Function{"osproxy_endpoint", 2, call_endpoint},
    Function{"osproxy_is_ipv6", 1, call_is_ipv6},
};

}  // namespace

base::Result<> register_sql_functions(sqlite3* database) {
  for (const Function& function : kFunctions) {
    const int result = sqlite3_create_function_v2(database, function.name, function.arguments,
                                                  SQLITE_UTF8 | SQLITE_DETERMINISTIC, nullptr,
                                                  function.call, nullptr, nullptr, nullptr);
    if (result != SQLITE_OK)
      return base::failure("cannot add the SQL function {}: {}", function.name,
                           sqlite3_errmsg(database));
  }
  return {};
}

}  // namespace mitm::query
