// Text of other charsets than UTF-8, for readers of a body. What goes over the wire stays as it
// is.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace mitm::http {

/// `bytes` as UTF-8, when they are text in another charset: the one whose byte order mark they
/// begin with (UTF-16), else the one that `content_type` names (RFC 9110 section 8.3.2), with the
/// labels of the WHATWG's Encoding Standard but without those that shift (ISO-2022). A byte that is
/// no character there becomes \xNN. `last`: what a character that is cut off at the end becomes.
/// Empty: no such charset, or UTF-8.
enum class CutOff : std::uint8_t { left_out, escaped };
[[nodiscard]] std::optional<std::string> to_utf8(std::string_view content_type,
                                                 std::string_view bytes,
                                                 CutOff last = CutOff::left_out);

/// `bytes` of a text whose charset does not fit or is not known: as UTF-8 in which other bytes
/// become \xNN when `content_type` names UTF-8, else as Latin 1 (windows-1252, as in browsers).
/// Empty: `content_type` is not that of a text.
[[nodiscard]] std::optional<std::string> forced_to_utf8(std::string_view content_type,
                                                        std::string_view bytes);

}  // namespace mitm::http
