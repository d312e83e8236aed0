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

TEST_CASE("text: time as RFC 3339 with microseconds") {
  using namespace std::chrono;
  CHECK(base::rfc3339(system_clock::time_point{seconds{1'700'000'000} + microseconds{42}}) ==
        "2023-11-14T22:13:20.000042Z");
}
