// Header blocks that are compressed anew from some block on, as nghttp2's decompressors read them.
#include "mitm/http/http2_writer.h"

#include <nghttp2/nghttp2.h>

#include "tests/mitm/http2_frames.h"
#include "tests/test.h"

using frames::Decompressor;
using mitm::http::Http2Compressor;
using mitm::http::Http2Fields;

namespace {

const Http2Fields kHead{{":method", "GET"}, {":path", "/some/path"}, {"x-long", "a value of mine"}};
constexpr const char* kText = ":method: GET\n:path: /some/path\nx-long: a value of mine\n";

}  // namespace

TEST_CASE("http2 writer: takes over from another compressor at any block") {
  for (const std::uint32_t table : {0U, 100U, 4096U, 65536U}) {
    CAPTURE(table);
    Decompressor receiver{table};
    frames::Packer theirs;
    if (table >= 4096) {
      for (int i = 0; i < 3; ++i)
        CHECK(receiver.read(theirs.pack({{"x-theirs", "value " + std::to_string(i)}})) ==
              "x-theirs: value " + std::to_string(i) + "\n");
      CHECK(receiver.table() > 0);
    }
    Http2Compressor ours{table};
    const std::string first = ours.compress(kHead);
    CHECK(receiver.read(first) == kText);
    const std::string again = ours.compress(kHead);
    CHECK(receiver.read(again) == kText);
    if (table >= 4096) CHECK(again.size() < first.size());
    CHECK(receiver.table() <= std::min(table, 4096U));
  }
}

TEST_CASE("http2 writer: a field that is never to be indexed stays so") {
  Decompressor receiver;
  Http2Compressor ours{4096};
  const Http2Fields fields{{"authorization", "secret", true}, {"x", "y"}};
  CHECK(receiver.read(ours.compress(fields)) == "authorization!: secret\nx: y\n");
  CHECK(receiver.read(ours.compress(fields)) == "authorization!: secret\nx: y\n");
}

TEST_CASE("http2 writer: the receiver's SETTINGS shrink the table") {
  Decompressor receiver;
  Http2Compressor ours{4096};
  CHECK(receiver.read(ours.compress(kHead)) == kText);
  REQUIRE(nghttp2_hd_inflate_change_table_size(receiver.get(), 64) == 0);
  ours.allow(64);
  CHECK(receiver.read(ours.compress(kHead)) == kText);
  CHECK(receiver.table() <= 64);
}

TEST_CASE("http2 writer: a long block is several frames") {
  const std::string block(40'000, 'b');
  const std::string frames = mitm::http::http2_headers(5, block, true, "12345");
  CHECK(frames.substr(0, 9) == std::string("\x00\x40\x00\x01\x21\x00\x00\x00\x05", 9));
  CHECK(frames.substr(9, 5) == "12345");
  const std::string second = frames.substr(9 + 16384, 9);
  CHECK(second == std::string("\x00\x40\x00\x09\x00\x00\x00\x00\x05", 9));
  const std::string third = frames.substr(2 * (9 + 16384), 9);
  CHECK(third[4] == NGHTTP2_FLAG_END_HEADERS);
  CHECK(frames.size() == 3 * 9 + 5 + block.size());
}

TEST_CASE("http2 writer: small frames") {
  CHECK(mitm::http::http2_reset(3, 8) ==
        std::string("\x00\x00\x04\x03\x00\x00\x00\x00\x03\x00\x00\x00\x08", 13));
  CHECK(mitm::http::http2_window_update(0, 65536) ==
        std::string("\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x01\x00\x00", 13));
}
