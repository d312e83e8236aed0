// HTTP/1 messages as bytes, for those that are changed on their way or answered by us.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "mitm/http/fields.h"

namespace mitm::http {

/// The start line of a request, up to and including CR LF. `version`: "1.0", "1.1".
[[nodiscard]] std::string request_line(std::string_view method, std::string_view target,
                                       std::string_view version);
/// Likewise of a response.
[[nodiscard]] std::string status_line(int status, std::string_view reason,
                                      std::string_view version);
/// The fields and the empty line behind them.
[[nodiscard]] std::string field_lines(const Fields& fields);

/// Has `fields` delimit a body of `bytes` bytes by its length (RFC 9112 section 6.2), whatever they
/// said before.
void delimit_by_length(Fields& fields, std::size_t bytes);
/// Has `changed` delimit the body as `original` does.
void delimit_as(const Fields& original, Fields& changed);

}  // namespace mitm::http
