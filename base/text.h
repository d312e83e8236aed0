// Text that came from outside, made safe to show.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

namespace base {

/// Valid UTF-8: each byte that is not part of a well-formed sequence (RFC 3629) becomes U+FFFD.
std::string valid_utf8(std::string_view bytes);

/// Whether `bytes` is well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms).
bool is_utf8(std::string_view bytes);

/// For a terminal: valid UTF-8 in which control characters (C0, DEL, C1) are written as \xNN.
std::string printable(std::string_view bytes);

/// RFC 3339 in UTC with microseconds: "2026-11-23T09:26:50.123456Z".
std::string rfc3339(std::chrono::system_clock::time_point time);

}  // namespace base
