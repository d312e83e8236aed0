// Text that came from outside, made safe to show.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>

namespace base {

/// Valid UTF-8: each byte that is not part of a well-formed sequence (RFC 3629) becomes U+FFFD.
std::string valid_utf8(std::string_view bytes);

/// Whether `bytes` is well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms).
bool is_utf8(std::string_view bytes);

struct Character {
  char32_t code = 0;       ///< nothing when the length is 0
  std::size_t length = 0;  ///< in bytes; 0: no well-formed sequence
};
/// What `bytes` begins with, which are not empty.
Character first_character(std::string_view bytes);

/// Whether `code` changes how the text around it looks without being seen itself: controls of
/// direction (U+202A to U+202E, U+2066 to U+2069), characters of no width and others without a
/// glyph, separators of lines and paragraphs. Not the variation selectors that emoji have.
bool is_invisible(char32_t code);

/// For a terminal: valid UTF-8 in which control characters (C0, DEL, C1) are written as \xNN and
/// invisible ones (see is_invisible()) as \uNNNN or \UNNNNNNNN. What was made printable stays as it
/// is.
std::string printable(std::string_view bytes);

/// RFC 3339 in UTC with microseconds: "2026-11-23T09:26:50.123456Z".
std::string rfc3339(std::chrono::system_clock::time_point time);

}  // namespace base
