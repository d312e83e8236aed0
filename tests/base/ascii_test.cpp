#include "base/ascii.h"

#include "base/hex.h"
#include "tests/test.h"

using namespace base;

TEST_CASE("ascii: case changes letters alone") {
  CHECK(lowercase("Ab-9\xc4[") == "ab-9\xc4[");
  CHECK(iequals("Content-TYPE", "content-type"));
  CHECK_FALSE(iequals("a", "ab"));
  CHECK_FALSE(iequals("[", "{"));  // 32 apart, as letters are
  CHECK(upper('z') == 'Z');
  CHECK(upper('{') == '{');
}

TEST_CASE("ascii: blanks at both ends go, those inside stay") {
  CHECK(trimmed(" \ta b\t ") == "a b");
  CHECK(trimmed(" \t ").empty());
  CHECK(trimmed("").empty());
  CHECK(trimmed("a\r") == "a\r");
  CHECK(trimmed("\"a\"", " \"") == "a");
}

TEST_CASE("ascii: lines end with LF or CRLF, the last one with the text") {
  std::string_view text = "one\r\n\ntwo\r\r\nthree";
  CHECK(next_line(text) == "one");
  CHECK(next_line(text).empty());
  CHECK(next_line(text) == "two\r");
  CHECK(next_line(text) == "three");
  CHECK(text.empty());
  CHECK(next_line(text).empty());
}

TEST_CASE("hex: digits of both cases") {
  CHECK(hex_digit('0') == 0);
  CHECK(hex_digit('9') == 9);
  CHECK(hex_digit('a') == 10);
  CHECK(hex_digit('F') == 15);
  for (const char c : {'g', 'G', '/', ':', '@', '`', '\0', '\xff'}) CHECK(hex_digit(c) == -1);
}
