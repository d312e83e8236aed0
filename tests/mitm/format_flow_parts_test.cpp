#include <vector>

#include "mitm/dns/message.h"
#include "mitm/flow/dns_names.h"
#include "mitm/format/dns_data.h"
#include "mitm/format/flow_file.h"
#include "mitm/format/shell_words.h"
#include "mitm/format/url_parts.h"
#include "tests/test.h"

namespace mitm::format {
namespace {

std::string two_bytes(unsigned number) {
  return {static_cast<char>(number >> 8U), static_cast<char>(number & 0xffU)};
}

/// An answer of this type and code, with one record.
std::string dns_answer(unsigned type, unsigned rcode, const std::string& data) {
  const std::string question = std::string("\1a\0", 3) + two_bytes(type) + two_bytes(1);
  return two_bytes(0) + two_bytes(0x8000 | rcode) + two_bytes(1) + two_bytes(1) + two_bytes(0) +
         two_bytes(0) + question + question + two_bytes(0) + two_bytes(5) +
         two_bytes(static_cast<unsigned>(data.size())) + data;
}

}  // namespace

TEST_CASE("dns_data: names of types and codes are those of mitm/dns, and are numbers again") {
  for (unsigned type = 0; type < 0x10000; type += type < 300 ? 1 : 97) {
    const auto message = dns::parse(dns_answer(type, 0, ""));
    REQUIRE(message);
    CHECK(flow::dns_type_name(static_cast<std::uint16_t>(type)) == message->type);
    CHECK(flow::dns_type_number(message->type) == type);
  }
  for (unsigned rcode = 0; rcode < 16; ++rcode) {
    const auto message = dns::parse(dns_answer(1, rcode, ""));
    REQUIRE(message);
    CHECK(flow::dns_rcode_name(static_cast<std::uint16_t>(rcode)) == message->rcode);
    CHECK(flow::dns_rcode_number(message->rcode) == rcode);
  }
}

TEST_CASE("dns_data: data is the text of mitm/dns, and the same bytes again") {
  struct Case {
    unsigned type;
    std::string bytes;
  };
  const std::string name("\3www\7example\3org\0", 17);
  for (const auto& [type, bytes] :
       {Case{1, "\x7f\1\2\3"}, Case{28, "0123456789abcdef"}, Case{5, name}, Case{2, name},
        Case{12, std::string("\0", 1)}, Case{39, std::string("\4a.\\b\0", 6)},
        Case{15, two_bytes(10) + name}, Case{33, two_bytes(1) + two_bytes(2) + two_bytes(3) + name},
        Case{16, "\5hello"}, Case{65, "\0\1\0\1"}, Case{1, "\1\2"}, Case{257, ""}}) {
    CAPTURE(type);
    const auto message = dns::parse(dns_answer(type, 0, bytes));
    REQUIRE(message);
    const auto number = static_cast<std::uint16_t>(type);
    CHECK(dns_data_text(number, bytes) == message->answers[0].data);
    CHECK(dns_data_bytes(number, message->answers[0].data) == bytes);
  }
}

TEST_CASE("dns_data: what is not in the form of its type is hexadecimal, or bytes") {
  CHECK(dns_data_text(5, "\3ww") == "037777");
  CHECK(dns_data_text(5, "\xc0\x0c") == "c00c");
  CHECK(dns_data_bytes(1, "nonsense") == "nonsense");
  CHECK(dns_data_bytes(5, std::string(70, 'a')) == std::string(35, '\xaa'));
  CHECK(dns_data_bytes(16, std::string(300, 'x')).size() == 302);
  CHECK(dns_data_text(16, dns_data_bytes(16, std::string(300, 'x'))) == std::string(300, 'x'));
}

TEST_CASE("shell_words: any words are the same after splitting") {
  const std::vector<std::string> words = {"curl", "-H",   "it's", "",        "a b", "'",
                                          "''",   "\n\t", "$(x)", "`y`",     "\\",  "*?",
                                          "~",    "#",    "=",    "\xc3\xbc"};
  CHECK(split_shell_words(shell_words(words)) == words);
  CHECK(shell_words(std::vector<std::string>{"a/b", "c d", "it's"}) == "a/b 'c d' 'it'\\''s'");
  CHECK(split_shell_words("").empty());
}

TEST_CASE("url_parts: URLs are split") {
  struct Case {
    const char *url, *scheme, *authority, *host;
    int port;
    const char* target;
  };
  for (const Case& c : {Case{"https://a.test/b?c", "https", "a.test", "a.test", 443, "/b?c"},
                        Case{"http://a.test:81", "http", "a.test:81", "a.test", 81, ""},
                        Case{"http://[::1]:81/x", "http", "[::1]:81", "::1", 81, "/x"},
                        Case{"wss://[::1]/x", "wss", "[::1]", "::1", 443, "/x"},
                        Case{"a.test:443", "", "a.test:443", "a.test", 443, ""},
                        Case{"http://a?b=http://c", "http", "a", "a", 80, "?b=http://c"},
                        Case{"/x?y=http://c", "", "", "", 0, "/x?y=http://c"},
                        Case{"http://a.test:99999/", "http", "a.test:99999", "a.test", 80, "/"},
                        Case{"", "", "", "", 0, ""}}) {
    CAPTURE(c.url);
    const UrlParts parts = split_url(c.url);
    CHECK(parts.scheme == c.scheme);
    CHECK(parts.authority == c.authority);
    CHECK(parts.host == c.host);
    CHECK(parts.port == c.port);
    CHECK(parts.target == c.target);
  }
}

TEST_CASE("url_parts: URLs are made") {
  CHECK(make_url("https", "a.test", 443, "/b") == "https://a.test/b");
  CHECK(make_url("https", "a.test", 8443, "/b") == "https://a.test:8443/b");
  CHECK(make_url("https", "a.test:1", 8443, "*") == "https://a.test:1");
  CHECK(make_url("http", url_host("::1"), 81, "/") == "http://[::1]:81/");
}

TEST_CASE("flow_file: formats are told apart by how they begin") {
  struct Case {
    std::string_view bytes;
    FileFormat format;
  };
  for (const Case& c :
       {Case{"1234:7:version;2:21#", FileFormat::mitm}, Case{"{\"log\": {", FileFormat::har},
        Case{"\xef\xbb\xbf\r\n{\r\n  \"log\" : {", FileFormat::har},
        Case{"{\"creator\":{},\"log\":{}}", FileFormat::har},
        Case{"{\"v\":1,\"event\":\"end\"", FileFormat::jsonl},
        Case{"{\"client\":\"x\",\"conn\":3,\"event\":\"end\"}\n", FileFormat::jsonl}}) {
    CAPTURE(c.bytes);
    const auto format = detect_format(c.bytes);
    REQUIRE(format);
    CHECK(*format == c.format);
  }
  for (const std::string_view bytes :
       {"", "SQLite format 3", "\x0a\x0d\x0d\x0a", "<html>", "hello", ":x", "12"}) {
    CAPTURE(bytes);
    CHECK_FALSE(detect_format(bytes));
  }
}

}  // namespace mitm::format
