// SQL functions that the expressions of SqlFilter call.
#pragma once

#include "base/error.h"

struct sqlite3;

namespace mitm::query {

/// The type of the pointers that are bound to a filter's parameters (sqlite3_bind_pointer): each
/// points to a std::shared_ptr<const Test>.
inline constexpr const char* kTestPointer = "osproxy test";

/// Adds the functions to one connection, for as long as it is open:
///   osproxy_test(TEST, TEXT...)   whether the values satisfy the test: 0 or 1, never NULL
///   osproxy_url_scheme(URL), osproxy_url_path(URL), osproxy_url_query(URL)
///   osproxy_endpoint(HOST, PORT)  "HOST:PORT"
///   osproxy_is_ipv6(ADDRESS)      0 or 1
/// All but the first are NULL where there is nothing.
[[nodiscard]] base::Result<> register_sql_functions(sqlite3* database);

}  // namespace mitm::query
