// Codings undone: what real encoders made, cut anywhere, and what nobody made.
#include "mitm/http/content_coding.h"

#include <brotli/encode.h>
#include <zlib.h>
#include <zstd.h>

#include "tests/test.h"

namespace {

using mitm::http::decode_content;

std::string zlib_made(std::string_view text, int window_bits) {
  z_stream stream{};
  REQUIRE(deflateInit2(&stream, 9, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  std::string out(text.size() + 100, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string brotli_made(std::string_view text) {
  std::string out(text.size() + 100, '\0');
  std::size_t size = out.size();
  REQUIRE(BrotliEncoderCompress(9, BROTLI_DEFAULT_WINDOW, BROTLI_MODE_TEXT, text.size(),
                                reinterpret_cast<const std::uint8_t*>(text.data()), &size,
                                reinterpret_cast<std::uint8_t*>(out.data())));
  out.resize(size);
  return out;
}

std::string zstd_made(std::string_view text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

std::string sample() {
  std::string text;
  for (int i = 0; i < 500; ++i) text += "line " + std::to_string(i * i) + "\n";
  return text;
}

}  // namespace

TEST_CASE(
    "content_coding: what real encoders made comes back, whole, limited and cut at every offset") {
  const std::string text = sample();
  const std::pair<const char*, std::string> cases[] = {
      {"gzip", zlib_made(text, MAX_WBITS + 16)},
      {"x-gzip", zlib_made(text, MAX_WBITS + 16)},
      {"deflate", zlib_made(text, MAX_WBITS)},
      {"Deflate", zlib_made(text, -MAX_WBITS)},
      {"br", brotli_made(text)},
      {"zstd", zstd_made(text)},
      {"zstd, identity, gzip", zlib_made(zstd_made(text), MAX_WBITS + 16)},
  };
  for (const auto& [coding, coded] : cases) {
    CAPTURE(coding);
    const auto whole = decode_content(coding, coded, 1 << 20);
    REQUIRE(whole);
    CHECK(whole->whole);
    CHECK(whole->bytes == text);
    const auto limited = decode_content(coding, coded, 100);
    if (std::string_view(coding).find(',') == std::string_view::npos) {
      REQUIRE(limited);
      CHECK_FALSE(limited->whole);
      CHECK(limited->bytes == text.substr(0, 100));
    }
    for (std::size_t cut = 0; cut < coded.size(); ++cut) {
      const auto part = decode_content(coding, std::string_view(coded).substr(0, cut), 1 << 20);
      if (!part) continue;
      CHECK_FALSE(part->whole);
      REQUIRE(text.starts_with(part->bytes));
    }
  }
}

TEST_CASE(
    "content_coding: all members of a gzip body come back, cut at every offset, at every limit") {
  const auto member = [](std::string_view text) { return zlib_made(text, MAX_WBITS + 16); };
  const std::string coded = member("first ") + member("") + member("second ") + member("third");
  const std::string text = "first second third";
  const auto whole = decode_content("gzip", coded, 1 << 20);
  REQUIRE(whole);
  CHECK(whole->whole);
  CHECK(whole->bytes == text);
  CHECK(whole->trailing == 0);
  for (std::size_t cut = 0; cut < coded.size(); ++cut) {
    const auto part = decode_content("gzip", std::string_view(coded).substr(0, cut), 1 << 20);
    if (!part) continue;
    REQUIRE(text.starts_with(part->bytes));
    CHECK_FALSE(part->damaged);
    // Nobody can tell the end of a member from the end of the body.
    const bool between = cut == member("first ").size() ||
                         cut == (member("first ") + member("")).size() ||
                         cut == (member("first ") + member("") + member("second ")).size();
    CHECK(part->whole == between);
  }
  for (std::size_t limit = 1; limit < text.size(); ++limit) {
    const auto part = decode_content("gzip", coded, limit);
    REQUIRE(part);
    CHECK_FALSE(part->whole);
    CHECK(part->bytes == text.substr(0, limit));
  }
  const auto frames = decode_content("zstd", zstd_made("one ") + zstd_made("two"), 100);
  REQUIRE(frames);
  CHECK(frames->bytes == "one two");
}

TEST_CASE("content_coding: what follows the end is counted, what is damaged is said") {
  const std::string text = sample();
  for (const auto& [coding, coded] :
       {std::pair{"gzip", zlib_made(text, MAX_WBITS + 16)}, {"br", brotli_made(text)}}) {
    CAPTURE(coding);
    const auto more = decode_content(coding, coded + "tail", 1 << 20);
    REQUIRE(more);
    CHECK(more->bytes == text);
    CHECK(more->trailing == 4);
    std::string broken = coded;
    for (std::size_t at = broken.size() / 2; at < broken.size() / 2 + 20; ++at) broken[at] = '\xff';
    const auto part = decode_content(coding, broken, 1 << 20);
    REQUIRE(part);
    CHECK(part->damaged == (std::string_view(coding) == "gzip"));  // br has no checksum
    CHECK_FALSE(part->whole);
  }
  CHECK_FALSE(decode_content("deflate", "plain words that nobody has coded", 100));
}

TEST_CASE("content_coding: bombs stay small, and what is no such coding is said to be none") {
  const std::string zeros(10 << 20, '\0');
  const auto bomb = decode_content("gzip", zlib_made(zeros, MAX_WBITS + 16), 1000);
  REQUIRE(bomb);
  CHECK(bomb->bytes.size() == 1000);
  CHECK_FALSE(bomb->whole);
  for (const char* coding : {"gzip", "br", "zstd"})
    CHECK_FALSE(decode_content(coding, "not coded at all", 100));
  for (const char* coding : {"compress", "gzip;q=1", "gzip,gzip,gzip,gzip,gzip"})
    CHECK_FALSE(decode_content(coding, "x", 100));
  CHECK(decode_content("", "plain", 100)->bytes == "plain");
  CHECK(decode_content("identity", "plain", 3)->bytes == "pla");
  CHECK_FALSE(decode_content("identity", "plain", 3)->whole);
}
