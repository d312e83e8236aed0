#include "base/text.h"

#include "tests/test.h"

TEST_CASE("text: what is not UTF-8 becomes U+FFFD, byte by byte") {
  const struct {
    std::string in, out;
  } cases[] = {
      {"plain", "plain"},
      {"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"},
      {"\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"},
      {"\xff", "\xef\xbf\xbd"},
      {"a\xc3", "a\xef\xbf\xbd"},                                                // cut
      {"\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd"},                                  // overlong
      {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},                  // surrogate
      {"\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},  // past U+10FFFF
  };
  for (const auto& c : cases) {
    CHECK(base::valid_utf8(c.in) == c.out);
    CHECK(base::is_utf8(c.in) == (c.in == c.out));
    CHECK(base::is_utf8(base::valid_utf8(c.in)));
  }
}

TEST_CASE("text: a terminal never sees control characters from outside") {
  CHECK(base::printable("a\x1b[31mb\r\n\x7f\xc2\x9b") == "a\\x1b[31mb\\x0d\\x0a\\x7f\\xc2\\x9b");
  CHECK(base::printable("gr\xc3\xbc\xc3\x9f") == "gr\xc3\xbc\xc3\x9f");
}

TEST_CASE("text: what is not seen, or turns what is around it, is written out") {
  CHECK(base::printable("a\u202eb\u2066\u2069c\u200b\u200f\u2060\ufeff\u00ad\u061c\u2028") ==
        "a\\u202eb\\u2066\\u2069c\\u200b\\u200f\\u2060\\ufeff\\u00ad\\u061c\\u2028");
  CHECK(base::printable("\U000e0041") == "\\U000e0041");
  const std::string seen =
      "\u00a0\u00ac\u00ae\u200a\u2010\u202f\u205f\u2070\u2764\ufe0f\u05d0\U0001f600";
  CHECK(base::printable(seen) == seen);
  for (char32_t code = 0; code < 0x110000; ++code) {
    const bool listed = (code >= 0x200b && code <= 0x200f) || (code >= 0x202a && code <= 0x202e) ||
                        (code >= 0x2060 && code <= 0x2069) || code == 0xfeff;
    if (listed) CHECK(base::is_invisible(code));
    if (code < 0xad || (code >= 0xfe00 && code <= 0xfe0f) || (code >= 0x1f000 && code <= 0x1faff))
      REQUIRE_FALSE(base::is_invisible(code));
  }
}

TEST_CASE("text: what was made printable stays as it is") {
  const std::string once = base::printable("a\x1b\u202e\U000e0001\xff\n\\");
  CHECK(base::printable(once) == once);
}

TEST_CASE("text: the first character and its length") {
  const struct {
    std::string_view in;
    char32_t code;
    std::size_t length;
  } cases[] = {{"a", 'a', 1},
               {"\x7f", 0x7f, 1},
               {"\u00e9x", 0xe9, 2},
               {"\u20ac", 0x20ac, 3},
               {"\uffff", 0xffff, 3},
               {"\U0001f600", 0x1f600, 4},
               {"\U0010ffff", 0x10ffff, 4},
               {"\xe2\x82", 0, 0},
               {"\xff", 0, 0}};
  for (const auto& c : cases) {
    const auto first = base::first_character(c.in);
    CHECK(first.code == c.code);
    CHECK(first.length == c.length);
  }
}

TEST_CASE("text: time as RFC 3339 with microseconds") {
  using namespace std::chrono;
  CHECK(base::rfc3339(system_clock::time_point{seconds{1'700'000'000} + microseconds{42}}) ==
        "2023-11-14T22:13:20.000042Z");
}
