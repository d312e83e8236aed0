#include "base/base64.h"

#include "tests/test.h"

using namespace base;

TEST_CASE("base64: the vectors of RFC 4648 section 10") {
  const struct {
    const char *bytes, *text;
  } cases[] = {{"", ""},
               {"f", "Zg=="},
               {"fo", "Zm8="},
               {"foo", "Zm9v"},
               {"foob", "Zm9vYg=="},
               {"fooba", "Zm9vYmE="},
               {"foobar", "Zm9vYmFy"}};
  for (const auto& c : cases) {
    CAPTURE(std::string(c.bytes));
    CHECK(base64(c.bytes) == c.text);
    std::string url = c.text;
    std::erase(url, '=');
    CHECK(from_base64url(url) == c.bytes);
    CHECK(from_base64(c.text) == std::string(c.bytes));
    CHECK(from_base64(url) == std::string(c.bytes));
  }
}

TEST_CASE("base64: more than one piece, appended to what is there") {
  const std::string bytes(7 << 20, 'x');
  std::string out = "\"";
  append_base64(out, bytes);
  CHECK(out.size() == 1 + (bytes.size() + 2) / 3 * 4);
  CHECK(out.substr(0, 5) == "\"eHh4");
  CHECK(out.ends_with("eA=="));
  CHECK(out.find('=') == out.size() - 2);
}

TEST_CASE("base64url: its own two digits, and an end at the first other character") {
  CHECK(from_base64url("-_8") == "\xfb\xff");
  CHECK(from_base64url("Zm9v+Zm9v") == "foo");
}

TEST_CASE("base64: any bytes are the same again; blanks are skipped, other characters refused") {
  std::string bytes;
  for (int i = 0; i < 1000; ++i) bytes += static_cast<char>(i * 7);
  CHECK(from_base64(base64(bytes)) == bytes);
  CHECK(from_base64("Zm9v\r\n YmFy\n") == std::string("foobar"));
  for (const char* text : {"Zm9v-", "Zm9v_", "Zg==Zg==", "\xc3\xbc"})
    CHECK_FALSE(from_base64(text));
}
