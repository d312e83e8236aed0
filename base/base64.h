// Base64 (RFC 4648).
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace base {

/// Section 4, with padding.
void append_base64(std::string& out, std::string_view bytes);
std::string base64(std::string_view bytes);

/// The reverse; white space is skipped, padding may be missing. Empty: there is something else in
/// it.
std::optional<std::string> from_base64(std::string_view text);

/// Section 5 (base64url), without padding; ends at the first character that is no digit.
std::string from_base64url(std::string_view text);

}  // namespace base
