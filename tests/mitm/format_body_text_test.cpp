#include <fmt/format.h>
#include <zlib.h>

#include "mitm/format/body_text.h"
#include "tests/test.h"

namespace mitm::format {
namespace {

std::string body_text(const Body& body, std::size_t limit) {
  std::string out;
  append_body(out, body, {limit});
  return out;
}

}  // namespace

TEST_CASE("body: each of its lines is marked, a remark is not") {
  std::string out;
  append_body(out, {"a\nb\x01", 9, ""}, {3, "<"});
  append_body(out, {std::string_view("\0\1", 2), 2, ""}, {9, ">"});
  CHECK(out == "    < a\n    < b\n    ... 3b of 9b\n    > 00000000  00 01 " + std::string(43, ' ') +
                   "..\n");
}

TEST_CASE("body: text keeps its lines and tabs, everything else is escaped") {
  CHECK(body_text({"a\tb\r\nc\n", 7, ""}, 512) == "    a\tb\n    c\n");
  CHECK(body_text({"\n\nx", 3, ""}, 512) == "    \n    \n    x\n");
  CHECK(body_text({"x\xc2\x9bm", 4, ""}, 512) == "    x\\xc2\\x9bm\n");
  CHECK(body_text({"", 0, ""}, 512) == "");
  CHECK(body_text({"", {}, ""}, 512) == "");
}

TEST_CASE("body: text cut inside a character stays text, at every offset") {
  const std::string euro = "ab\xe2\x82\xac\xf0\x9f\x98\x80\xc3\xa9z";
  const char* shown[] = {"",    "a",   "ab",  "ab",   "ab",   "ab€",
                         "ab€", "ab€", "ab€", "ab€😀", "ab€😀", "ab€😀é"};
  for (std::size_t n = 1; n < std::size(shown); ++n) {
    CAPTURE(n);
    CHECK(body_text({euro, euro.size(), ""}, n) ==
          fmt::format("    {}\n    ... {}b of {}b\n", shown[n], n, euro.size()));
  }
}

TEST_CASE("body: binary is shown in hex") {
  std::string bytes;
  for (int i = 0; i < 18; ++i) bytes += static_cast<char>(i * 15);
  CHECK(body_text({bytes, 18, ""}, 512) ==
        "    00000000  00 0f 1e 2d 3c 4b 5a 69 78 87 96 a5 b4 c3 d2 e1  ...-<KZix.......\n"
        "    00000010  f0 ff                                            ..\n");
  CHECK(body_text({bytes, 18, ""}, 1) ==
        "    00000000  00                                               .\n    ... 1b of 18b\n");
}

TEST_CASE("body: a hex dump takes at most 4 KiB, whatever a few bytes decode to") {
  const std::string zeros(1 << 20, '\0');
  std::string coded(zeros.size(), '\0');
  uLongf size = coded.size();
  REQUIRE(::compress(reinterpret_cast<Bytef*>(coded.data()), &size,
                     reinterpret_cast<const Bytef*>(zeros.data()), zeros.size()) == Z_OK);
  coded.resize(size);
  REQUIRE(coded.size() < 2000);
  for (const auto& body : {Body{zeros, zeros.size(), ""}, Body{coded, coded.size(), "deflate"}}) {
    const std::string text = body_text(body, 1 << 20);
    CHECK(text.size() <= (4 << 10) + 100);
    CHECK(text.find("\n    00000320  00 00") != text.npos);
    CHECK(text.find("\n    … 1047760 more bytes\n") != text.npos);
  }
  const std::string all(816, '\0');
  CHECK(body_text({all, all.size(), ""}, 1 << 20).find("more bytes") == std::string::npos);
}

TEST_CASE("body: empty lines do not make a body much larger than it is") {
  const std::string lines(1 << 20, '\n');
  const std::string text = body_text({lines, lines.size(), ""}, 1 << 20);
  CHECK(text.size() <= (1 << 20) + 100);
  CHECK(text.ends_with("\n    … 838859 more bytes\n"));
}

TEST_CASE("body: text in another charset is text") {
  CHECK(body_text({"caf\xe9\x1b", {}, "", "text/plain; charset=latin1"}, 512) ==
        "    00000000  63 61 66 e9 1b                                   caf..\n");
  CHECK(body_text({"caf\xe9\x85\n", {}, "", "text/plain; charset=latin1"}, 512) == "    café…\n");
  CHECK(body_text({"caf\xe9s", {}, "", "text/plain"}, 512) == "    cafés\n");
  CHECK(body_text({"caf\xe9 \x81", {}, "", "text/html"}, 512) == "    café \\x81\n");
  CHECK(body_text({"caf\xc3", {}, "", "text/html; charset=utf-8"}, 512) == "    caf\\xc3\n");
  CHECK(body_text({"caf\xe9s", {}, ""}, 512) ==
        "    00000000  63 61 66 e9 73                                   caf.s\n");
}

TEST_CASE(
    "body: coded bodies are decoded, or shown as "
    "they came; bodies that were not kept are counted") {
  const std::string gzip{
      "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xcb\x48\xcd\xc9\xc9\x57\xc8"
      "\x40\x90\x5c\x00\x3b\x7c\x8a\xdf\x12\x00\x00\x00",
      29};
  CHECK(body_text({gzip, 123, "gzip"}, 512) ==
        "    hello hello hello\n    ... (gzip, 123b on the wire)\n");
  CHECK(body_text({"\x1f\x8b", 123, "gzip"}, 512) ==
        "    00000000  1f 8b                                            ..\n"
        "    ... 2b of 123b, the limit of --bodies\n"
        "    (gzip cannot be decoded: shown as received, 123b on the wire)\n");
  CHECK(body_text({"\xff\xff", {}, "br"}, 512) ==
        "    00000000  ff ff                                            ..\n"
        "    (br cannot be decoded: shown as received, 2b on the wire)\n");
  for (const char* coding : {"rot13", "gzip", "br", "deflate", "zstd"}) {
    CHECK(body_text({"plain words", {}, coding}, 512) ==
          fmt::format(
              "    plain words\n    ({} cannot be decoded: shown as received, 11b on the wire)\n",
              coding));
  }
  CHECK(body_text({gzip + gzip, 58, "gzip"}, 512) ==
        "    hello hello hello\n    hello hello hello\n    (gzip, 58b on the wire)\n");
  CHECK(body_text({gzip + "tail", 33, "gzip"}, 512) ==
        "    hello hello hello\n    (gzip, 33b on the wire; what follows its end:)\n    tail\n");
  CHECK(body_text({"plain", 5, "Identity"}, 512) == "    plain\n");
  CHECK(body_text({"", 1234, ""}, 512) == "    1.2k, not recorded (see --bodies)\n");
}

}  // namespace mitm::format
