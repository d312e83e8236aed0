// First bytes of real protocols, a real ClientHello of OpenSSL's, hellos made by hand, and every
// input cut at every offset.
#include "mitm/sniff/sniffer.h"

#include "tests/mitm/hello_builder.h"
#include "tests/test.h"

namespace doctest {
template <>
struct StringMaker<mitm::sniff::Protocol> {
  static String convert(mitm::sniff::Protocol protocol) {
    constexpr const char* kNames[] = {"undecided", "tls", "http1", "http2", "proxied", "raw"};
    return kNames[static_cast<std::size_t>(protocol)];
  }
};
}  // namespace doctest

namespace {

using namespace hello_test;
using mitm::sniff::inspect;
using mitm::sniff::kMaxSniffedBytes;
using mitm::sniff::Protocol;
using mitm::sniff::SniffResult;
using namespace std::string_literals;

/// What is decided never changes with more bytes; what is complete stays complete.
void check_every_cut(const std::string& bytes) {
  SniffResult before;
  for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
    const auto seen = inspect(std::string_view(bytes).substr(0, cut));
    CAPTURE(cut);
    if (before.protocol == Protocol::tls) {
      CHECK(
          (seen.protocol == Protocol::tls || (seen.protocol == Protocol::raw && !before.complete)));
    } else if (before.protocol != Protocol::undecided) {
      CHECK(seen.protocol == before.protocol);
    }
    if (before.complete) {
      CHECK(seen.complete);
      CHECK(seen.host == before.host);
    }
    CHECK_FALSE((seen.protocol == Protocol::undecided && seen.complete));
    before = seen;
  }
}

}  // namespace

TEST_CASE("first_bytes: real protocols") {
  struct Case {
    const char* name;
    std::string bytes;
    Protocol expected;
  };
  const Case cases[] = {
      {"nothing", "", Protocol::undecided},
      {"SSH, first three bytes", "SSH", Protocol::raw},
      {"h2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x12\x04"s, Protocol::http2},
      {"most of an h2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n", Protocol::undecided},
      {"GET alone", "GET", Protocol::undecided},
      {"GET and a space", "GET ", Protocol::undecided},
      {"a slow request", "GET /inde", Protocol::undecided},
      {"HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", Protocol::http1},
      {"WebDAV", "PROPFIND /x HTTP/1.1\r\n", Protocol::http1},
      {"WebDAV, slow", "PROPFIND /x", Protocol::undecided},
      {"WebDAV, slower", "PROPFIND /x HTT", Protocol::undecided},
      {"WebDAV, first line not whole", "PROPFIND /x HTTP/", Protocol::http1},
      {"own method", "PURGE http://example.org/x HTTP/1.1\r\n", Protocol::http1},
      {"any target", "NOTIFY * HTTP/1.1\r\n", Protocol::http1},
      {"a method in small letters", "get / HTTP/1.1\r\n", Protocol::http1},
      {"no such protocol", "PURGE /x HTTQ/1.1\r\n", Protocol::raw},
      {"no target", "PURGE  HTTP/1.1\r\n", Protocol::raw},
      {"malformed HTTP", "GET nowhere HTTP/1.1\r\n", Protocol::http1},
      {"malformed HTTP, spaces", "GET /a b c HTTP/1.1\r\n", Protocol::http1},
      {"CONNECT", "CONNECT example.org:443 HTTP/1.1\r\n\r\n", Protocol::http1},
      {"CONNECT, slow", "CONNECT example.org:443", Protocol::undecided},
      {"OPTIONS", "OPTIONS * HTTP/1.1\r\n", Protocol::http1},
      {"a long word", std::string(33, 'A'), Protocol::raw},
      {"a word", std::string(32, 'A'), Protocol::undecided},
      {"two letters", "GE", Protocol::undecided},
      {"two letters and a space", "GE /", Protocol::raw},
      {"binary in the word", "GET\x00 /"s, Protocol::raw},
      {"an empty line", "\r\n", Protocol::undecided},
      {"empty lines before a request", "\r\n\nGET / HTTP/1.1\r\n\r\n", Protocol::http1},
      {"an empty line before half a request", "\r\nGET /x", Protocol::undecided},
      {"an empty line before something else", "\r\nbob\r\n", Protocol::raw},
      {"PROXY, version 1, half", "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443", Protocol::undecided},
      {"PROXY, version 1, IPv6", "PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\nGET /",
       Protocol::proxied},
      {"PROXY, version 1, UNKNOWN with more", "PROXY UNKNOWN ffff:f...f 65535\r\n",
       Protocol::proxied},
      {"PROXY, version 1, too few words", "PROXY TCP4 192.0.2.1 443\r\n", Protocol::raw},
      {"PROXY, version 1, too long", "PROXY UNKNOWN " + std::string(100, 'x') + "\r\n",
       Protocol::raw},
      {"a method PROXY", "PROXY / HTTP/1.1\r\n", Protocol::http1},
      {"PROXY, version 2, half", "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\x00"s,
       Protocol::undecided},
      {"PROXY, version 2, LOCAL", "\r\n\r\n\0\r\nQUIT\n\x20\0\0\0rest"s, Protocol::proxied},
      {"PROXY, version 2, endless", "\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff"s, Protocol::raw},
      {"PROXY, version 3", "\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0"s, Protocol::raw},
  };
  for (const auto& [name, bytes, expected] : cases) {
    CAPTURE(name);
    const auto seen = inspect(bytes);
    CHECK(seen.protocol == expected);
    if (expected == Protocol::raw || expected == Protocol::http2) CHECK(seen.complete);
    if (expected == Protocol::undecided) CHECK_FALSE(seen.complete);
    check_every_cut(bytes);
  }
}

TEST_CASE("first_bytes: what is behind a PROXY header is for the next look") {
  const std::string text = "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n";
  const std::string binary = "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"s + std::string(12, 'a');
  for (const auto& header : {text, binary}) {
    const auto seen = inspect(header + "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    CHECK(seen.protocol == Protocol::proxied);
    CHECK(seen.complete);
    CHECK(seen.proxy_header == header.size());
    check_every_cut(header + openssl_hello());
  }
}

TEST_CASE("first_bytes: the host of an HTTP request") {
  struct Case {
    std::string head, host;
  };
  for (const auto& [head, host] : {
           Case{"GET / HTTP/1.1\r\nHost: example.org\r\n", "example.org"},
           {"GET / HTTP/1.1\r\nAccept: */*\r\nhOsT:Example.ORG.:8080 \r\n", "example.org"},
           {"GET / HTTP/1.1\nhost:\texample.org\n", "example.org"},
           {"GET / HTTP/1.1\r\nHost: [2001:DB8::1]:443\r\n", "2001:db8::1"},
           {"GET / HTTP/1.1\r\nHost: [::1]\r\n", "::1"},
           {"GET / HTTP/1.1\r\nHost: 192.0.2.1:80\r\n", "192.0.2.1"},
           {"GET / HTTP/1.1\r\n", ""},
           {"GET / HTTP/1.1\r\nHost:\r\n", ""},
           {"GET / HTTP/1.1\r\nHost: exa mple\r\n", ""},
           {"GET / HTTP/1.1\r\nHost: [::1\r\n", ""},
           {"GET / HTTP/1.1\r\nHost: [nonsense]\r\n", ""},
           {"GET / HTTP/1.1\r\nHost : example.org\r\n", ""},
           {"GET / HTTP/1.1\r\nX-Host: example.org\r\n", ""},
           {"GET / HTTP/1.1\r\nHost: first.example\r\nHost: second.example\r\n", "first.example"},
           {"\r\nGET / HTTP/1.1\r\nHost: example.org\r\n", "example.org"},
           {"GET /?Host: x HTTP/1.1\r\nHost: a..b\r\n", ""},
           {"GET http://User:pw@Example.org:8080/x?y HTTP/1.1\r\nHost: other\r\n", "example.org"},
           {"GET https://[::1]:8443 HTTP/1.1\r\nHost: other\r\n", "::1"},
           {"GET /http://other/ HTTP/1.1\r\nHost: example.org\r\n", "example.org"},
           {"CONNECT example.org:443 HTTP/1.1\r\nHost: other\r\n", "example.org"},
           {"CONNECT [::1]:443 HTTP/1.1\r\n", "::1"},
           {"PROPFIND /x HTTP/1.1\r\nHost: dav.example.org\r\n", "dav.example.org"},
       }) {
    CAPTURE(head);
    const auto partial = inspect(head);
    CHECK(partial.protocol == Protocol::http1);
    CHECK_FALSE(partial.complete);
    CHECK(partial.host == host);
    const auto whole = inspect(head + (head.find('\r') == head.npos ? "\n" : "\r\n") +
                               "Host: body.example\r\n\r\n");
    CHECK(whole.complete);
    CHECK(whole.host == host);
    check_every_cut(head + "\r\n");
  }
  CHECK(inspect("GET / HTTP/1.1\r\nHost: exam").host.empty());
}

TEST_CASE("first_bytes: a ClientHello of OpenSSL's") {
  const auto bytes = openssl_hello();
  REQUIRE(bytes.size() > 100);
  const auto seen = inspect(bytes);
  CHECK(seen.protocol == Protocol::tls);
  CHECK(seen.complete);
  CHECK(seen.host == "www.example.org");
  CHECK(seen.hello.sni == "www.example.org");
  CHECK(seen.hello.alpn == std::vector<std::string>{"h2", "http/1.1"});
  CHECK(seen.hello.max_version == 0x0304);
  CHECK(std::ranges::find(seen.hello.ciphers, 0x1301) != seen.hello.ciphers.end());
  CHECK(std::ranges::find(seen.hello.groups, 29) != seen.hello.groups.end());
  CHECK(std::ranges::find(seen.hello.signature_algorithms, 0x0403) !=
        seen.hello.signature_algorithms.end());
  CHECK_FALSE(seen.hello.encrypted_client_hello);
  for (std::size_t cut = 0; cut < bytes.size(); ++cut) {
    CAPTURE(cut);
    const auto partial = inspect(std::string_view(bytes).substr(0, cut));
    CHECK(partial.protocol == (cut < 6 ? Protocol::undecided : Protocol::tls));
    CHECK_FALSE(partial.complete);
    CHECK(partial.host.empty());
  }
  check_every_cut(bytes + "more");
}

TEST_CASE("first_bytes: reports SNI split across records of any size") {
  const auto payload = handshake(
      hello_body(sized16(server_name("split.example.org") + extension(16, sized16(sized8("h2"))))));
  for (std::size_t piece = 1; piece <= payload.size(); ++piece) {
    CAPTURE(piece);
    const auto bytes = records(payload, piece);
    const auto seen = inspect(bytes);
    CHECK(seen.protocol == Protocol::tls);
    CHECK(seen.complete);
    CHECK(seen.host == "split.example.org");
    CHECK(seen.hello.alpn == std::vector<std::string>{"h2"});
    CHECK_FALSE(inspect(std::string_view(bytes).substr(0, bytes.size() - 1)).complete);
  }
  check_every_cut(records(payload, 7));
}

TEST_CASE("first_bytes: the fields of a hello") {
  SUBCASE("no extensions: the legacy version counts") {
    const auto seen = inspect(record(handshake(hello_body("", 0x0301))));
    CHECK(seen.complete);
    CHECK(seen.protocol == Protocol::tls);
    CHECK(seen.hello.max_version == 0x0301);
    CHECK(seen.hello.ciphers == std::vector<std::uint16_t>{0x1301, 0xc02b});
    CHECK(seen.host.empty());
  }
  SUBCASE("GREASE is no version") {
    const auto versions = sized8(u16(0x7a7a) + u16(0x0303) + u16(0x0304) + u16(0x0302));
    CHECK(inspect(hello(extension(43, versions))).hello.max_version == 0x0304);
    CHECK(inspect(hello(extension(43, versions))).hello.min_version == 0x0302);
    CHECK(inspect(hello(extension(43, sized8(u16(0x7a7a))))).hello.min_version == 0);
    CHECK(inspect(hello(extension(43, sized8(u16(0x7a7a))))).hello.max_version == 0x0303);
  }
  SUBCASE("encrypted ClientHello and its ancestor") {
    const auto ech = inspect(hello(extension(0xfe0d, "x"))).hello;
    CHECK(ech.encrypted_client_hello);
    CHECK_FALSE(ech.encrypted_server_name);
    const auto esni = inspect(hello(extension(0xffce, "x"))).hello;
    CHECK(esni.encrypted_server_name);
    CHECK_FALSE(esni.encrypted_client_hello);
  }
  SUBCASE("pre-shared keys, with certificates and without") {
    const auto of = [](std::vector<std::size_t> suites, const std::string& extensions) {
      std::string list;
      for (const auto suite : suites) list += u16(suite);
      return inspect(record(handshake(u16(0x0303) + std::string(32, 'r') + sized8("") +
                                      sized16(list) + sized8(u8(0)) + sized16(extensions))))
          .hello;
    };
    const auto key = extension(41, "x"), schemes = extension(13, sized16(u16(0x0403))),
               tls13 = extension(43, sized8(u16(0x0304)));
    // TLS 1.2: the suites say it, with and without ephemeral keys.
    for (const std::size_t suite : {0x008c, 0x00a8, 0x00b9, 0xc035, 0xc0a4, 0xccac, 0xd001}) {
      CAPTURE(suite);
      CHECK(of({suite, 0x00ff, 0x0a0a}, schemes).psk_only);
      CHECK(of({suite, 0xc02b}, schemes).psk);
      CHECK_FALSE(of({suite, 0xc02b}, schemes).psk_only);
      CHECK_FALSE(of({suite, 0x1301}, schemes + tls13).psk_only);
    }
    // TLS 1.3: without signature algorithms no certificate will do (RFC 8446 section 9.2).
    CHECK(of({0x1301}, tls13 + key).psk_only);
    CHECK_FALSE(of({0x1301}, tls13 + schemes + key).psk_only);
    CHECK(of({0x1301}, tls13 + schemes + key).psk);
    CHECK_FALSE(of({0x1301, 0xc02b}, tls13 + schemes).psk);
    CHECK_FALSE(of({0xc02b}, "").psk_only);
    CHECK(of({0xc02b, 0xfafa}, "").grease);
    CHECK_FALSE(of({0xc02b, 0x0afa, 0x00ff}, "").grease);
  }
  SUBCASE("groups and signature algorithms") {
    const auto seen = inspect(
        hello(extension(10, sized16(u16(29) + u16(23))) + extension(13, sized16(u16(0x0403)))));
    CHECK(seen.hello.groups == std::vector<std::uint16_t>{29, 23});
    CHECK(seen.hello.signature_algorithms == std::vector<std::uint16_t>{0x0403});
  }
}

TEST_CASE("first_bytes: an SNI that is no name is none") {
  struct Case {
    std::string name, expected;
  };
  for (const auto& [name, expected] : {
           Case{"example.org", "example.org"},
           {"Example.ORG.", "example.org"},
           {"a_b-c.example", "a_b-c.example"},
           {"xn--mnchen-3ya.de", "xn--mnchen-3ya.de"},
           {"localhost", "localhost"},
           {"", ""},
           {".", ""},
           {"a..b", ""},
           {".example.org", ""},
           {"exa mple.org", ""},
           {"example.org\0.evil"s, ""},
           {"m\xc3\xbcnchen.de", ""},
           {"../../etc/passwd", ""},
           {"*.example.org", ""},
           {std::string(64, 'a') + ".org", ""},
           {std::string(63, 'a') + ".org", std::string(63, 'a') + ".org"},
       }) {
    CAPTURE(name);
    const auto seen = inspect(hello(server_name(name)));
    CHECK(seen.protocol == Protocol::tls);
    CHECK(seen.complete);
    CHECK(seen.host == expected);
  }
  std::string long_name;
  for (int i = 0; i < 64; ++i) long_name += "abc.";
  CHECK(inspect(hello(server_name(long_name))).host.empty());
  const auto other_type =
      extension(0, sized16(u8(7) + sized16("x") + u8(0) + sized16("second.example")));
  CHECK(inspect(hello(other_type)).host == "second.example");
}

TEST_CASE("first_bytes: a lie inside an extension costs that extension only") {
  const auto good = server_name("example.org");
  for (const auto& bad : {extension(0, u16(500)), extension(16, sized16(u8(200) + "h2")),
                          extension(16, sized16(sized8(""))), extension(10, sized16("odd")),
                          extension(13, ""), extension(43, u8(9))}) {
    const auto seen = inspect(hello(bad + (bad[1] == 0 ? "" : good)));
    CHECK(seen.protocol == Protocol::tls);
    CHECK(seen.complete);
    CHECK(seen.host == (bad[1] == 0 ? "" : "example.org"));
    CHECK(seen.hello.alpn.empty());
    CHECK(seen.hello.groups.empty());
    CHECK(seen.hello.max_version == 0x0303);
  }
}

TEST_CASE("first_bytes: hostile lengths and other oddities are raw") {
  const std::string cases[] = {
      u8(0x16) + u16(0x0301) + u16(0),                   // empty record
      u8(0x16) + u16(0x0301) + u16(16385) + u8(1),       // longer than a record may be
      u8(0x16) + u16(0x0201) + u16(100),                 // no version of TLS
      u8(0x16) + u16(0x0305) + u16(100),                 //
      record(u8(1) + u24(3) + "abc"),                    // shorter than any hello
      record(handshake(hello_body(u16(50) + "x"))),      // extensions beyond the end
      record(handshake(hello_body(sized16("") + "x"))),  // something behind the extensions
      record(handshake(hello_body(sized16(u16(0) + u16(9) + "x")))),  // extension beyond the end
      record(handshake(hello_body(sized16("abc")))),                  // half an extension
      record(handshake(hello_body("", 0x0203))),                      // no version of TLS
      record(handshake(u16(0x0303) + std::string(40, '\xff'))),       // session id of 255 bytes
      record(handshake(u16(0x0303) + std::string(32, 'r') + u8(0) + u16(0) + sized8(u8(0)) +
                       "xxxx")),  // no ciphers
      record(handshake(u16(0x0303) + std::string(32, 'r') + u8(0) + u16(3) + "abc" +
                       sized8(u8(0)))),  // odd
      record(handshake(hello_body("")).substr(0, 20)) +
          "\x17\x03\x03\x00\x05hello"s,                              // data within the handshake
      record(handshake(hello_body("")).substr(0, 20)) + record(""),  // empty record within it
  };
  for (const auto& bytes : cases) {
    CAPTURE(&bytes - cases);
    const auto seen = inspect(bytes);
    CHECK(seen.protocol == Protocol::raw);
    CHECK(seen.complete);
    check_every_cut(bytes + "tail");
  }
}

TEST_CASE("first_bytes: nothing is waited for beyond the limit") {
  SUBCASE("a hello that claims 16 MiB") {
    std::string payload =
        u8(1) + u24(0xffffff) + hello_body(u16(0xffff) + server_name("example.org"));
    payload.resize(kMaxSniffedBytes, '\0');
    auto bytes = records(payload, 16384);
    REQUIRE(bytes.size() > kMaxSniffedBytes);
    CHECK_FALSE(inspect(std::string_view(bytes).substr(0, kMaxSniffedBytes - 1)).complete);
    for (const auto size : {kMaxSniffedBytes, bytes.size()}) {
      const auto seen = inspect(std::string_view(bytes).substr(0, size));
      CHECK(seen.protocol == Protocol::tls);
      CHECK(seen.complete);
      CHECK(seen.hello.cut);
    }
  }
  SUBCASE("a hello of just less than the limit, and its name after all that fills it") {
    const std::string filling =
        extension(0x7777, std::string(40'000, 'f')) + extension(0x7778, std::string(20'000, 'f'));
    const auto bytes =
        records(handshake(hello_body(sized16(filling + server_name("example.org")))), 16384);
    REQUIRE(bytes.size() < kMaxSniffedBytes);
    const auto seen = inspect(bytes);
    CHECK(seen.complete);
    CHECK_FALSE(seen.hello.cut);
    CHECK(seen.host == "example.org");
    CHECK_FALSE(inspect(std::string_view(bytes).substr(0, bytes.size() - 1)).complete);
  }
  SUBCASE("a head without an end") {
    std::string bytes = "GET / HTTP/1.1\r\nHost: example.org\r\nX: ";
    bytes.resize(kMaxSniffedBytes - 1, 'x');
    CHECK_FALSE(inspect(bytes).complete);
    bytes += "x";
    CHECK(inspect(bytes).protocol == Protocol::http1);
    CHECK(inspect(bytes).complete);
    CHECK(inspect(bytes).host == "example.org");
  }
  SUBCASE("a request line without an end") {
    for (std::string bytes : {"GET /", "POST http://h.test/"}) {
      bytes.resize(kMaxSniffedBytes - 1, 'x');
      CHECK(inspect(bytes).protocol == Protocol::undecided);
      bytes += "x";
      CHECK(inspect(bytes).protocol == Protocol::http1);
      CHECK(inspect(bytes).complete);
      CHECK(inspect(bytes + " HTTP/1.1\r\n\r\n").protocol == Protocol::http1);
    }
  }
  SUBCASE("nothing but empty lines") {
    CHECK(inspect(std::string(kMaxSniffedBytes, '\n')).complete);
  }
  SUBCASE("a line without an end") {
    std::string bytes = "OPTIONS ";
    bytes.resize(kMaxSniffedBytes, 'x');
    CHECK(inspect(bytes).protocol == Protocol::raw);
    CHECK(inspect(bytes).complete);
  }
}
