// Text of protocols: ASCII, whatever the locale.
#pragma once

#include <string>
#include <string_view>

namespace base {

constexpr bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
constexpr bool is_letter(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/// All other characters stay as they are.
constexpr char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}
constexpr char upper(char c) {
  return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
}
std::string lowercase(std::string_view text);

/// Equal but for the case of letters.
bool iequals(std::string_view a, std::string_view b);

/// Without `blanks` at both ends.
std::string_view trimmed(std::string_view text, std::string_view blanks = " \t");

/// Takes a line from the front of `text`: without its end, LF or CRLF.
std::string_view next_line(std::string_view& text);

}  // namespace base
