// Text of other charsets than UTF-8, for whoever reads a body. What goes over the wire stays as it is.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace mitm::http {

/// `bytes` as UTF-8, when they are text in another charset: the one whose byte order mark they begin with
/// (UTF-16), else the one that `content_type` names (RFC 9110 section 8.3.2), with the labels of the WHATWG's
/// Encoding Standard but without those that shift (ISO-2022). What is no character there becomes U+FFFD; one
/// that is cut off at the end is left out. Empty: no such charset, or UTF-8.
[[nodiscard]] std::optional<std::string> to_utf8(std::string_view content_type, std::string_view bytes);

}  // namespace mitm::http
