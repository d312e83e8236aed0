// Bytes as real encoders of those charsets make them (Python's codecs).
#include "mitm/http/charset.h"

#include "tests/test.h"

using mitm::http::CutOff;
using mitm::http::forced_to_utf8;
using mitm::http::to_utf8;

TEST_CASE("charset: text of other charsets becomes UTF-8") {
  const struct {
    const char* content_type;
    std::string_view bytes;
    const char* text;
  } cases[] = {
      {"text/html; charset=ISO-8859-1", "caf\xe9 \x80", "café €"},
      {"text/plain;charset=\"Windows-1251\"", "\xef\xf0\xe8\xe2\xe5\xf2", "привет"},
      {"text/html; boundary=x; Charset = koi8-r ", "\xd0\xd2\xc9\xd7\xc5\xd4", "привет"},
      {"text/html; charset=Shift_JIS", "\x93\xfa\x96\x7b\x8c\xea", "日本語"},
      {"text/html; charset=euc-jp", "\xc6\xfc\xcb\xdc\xb8\xec", "日本語"},
      {"text/html; charset=gb2312", "\xd6\xd0\xce\xc4", "中文"},
      {"text/html; charset=big5", "\xa4\xa4\xa4\xe5", "中文"},
      {"text/html; charset=euc-kr", "\xc7\xd1\xb1\xdb", "한글"},
      {"text/html; charset=utf-16le", {"h\0i\0", 4}, "hi"},
      {"", {"\xff\xfeh\0i\0", 6}, "hi"},
      {"text/plain; charset=utf-8", {"\xfe\xff\0h\0i", 6}, "hi"},
  };
  for (const auto& one : cases) {
    CAPTURE(one.content_type);
    CHECK(to_utf8(one.content_type, one.bytes) == one.text);
  }
}

TEST_CASE(
    "charset: what is no character is written out, what is cut off is left out or written out") {
  CHECK(to_utf8("text/html; charset=windows-1252",
                "a\x81"
                "b") == "a\\x81b");
  CHECK(to_utf8("text/html; charset=shift_jis", "\x93\xfa\x96") == "日");
  CHECK(to_utf8("text/html; charset=utf-16be", {"\0h\xd8", 3}) == "h");
  CHECK(to_utf8("text/html; charset=utf-16be", {"\0h\xd8", 3}, CutOff::escaped) == "h\\xd8");
  CHECK(to_utf8("text/html; charset=shift_jis", "\x93\xfa\x96", CutOff::escaped) == "日\\x96");
  const std::string long_text(10'000, '\xe9');
  CHECK(to_utf8("text/plain; charset=latin1", long_text)->size() == 20'000);
}

TEST_CASE("charset: UTF-8, no charset, and those that nobody should ask for stay as they are") {
  for (const char* content_type :
       {"", "text/html", "text/html;", "text/html; charset",
        "text/html; charset=", "text/html; charset=utf-8", "text/html; charset=ISO-2022-CN-EXT",
        "text/html; charset=UTF-7", "text/html; charset=../../x"}) {
    CAPTURE(content_type);
    CHECK_FALSE(to_utf8(content_type, "caf\xe9").has_value());
  }
}

TEST_CASE("charset: text that is not in its charset, or names none, loses no byte") {
  const struct {
    const char* content_type;
    std::string_view bytes;
    const char* text;
  } cases[] = {
      {"text/html", "caf\xe9 \x93so\x94", "café “so”"},
      {"TEXT/plain", "\x81 \xff", "\\x81 ÿ"},
      {"application/json", "\"caf\xe9\"", "\"café\""},
      {"application/problem+json; x=y", "\xe9", "é"},
      {"image/svg+xml", "\xe9", "é"},
      {"application/x-www-form-urlencoded", "a=\xe9", "a=é"},
      {"text/html; charset=utf-8", "café \xe9\xff", "café \\xe9\\xff"},
      {"text/html; charset=no-such", "\xe9", "é"},
  };
  for (const auto& one : cases) {
    CAPTURE(one.content_type);
    CHECK(forced_to_utf8(one.content_type, one.bytes) == one.text);
  }
  for (const char* content_type : {"", "text", "image/png", "application/octet-stream", "+json"})
    CHECK_FALSE(forced_to_utf8(content_type, "\xe9").has_value());
}
