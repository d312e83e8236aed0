// Alternative services hidden in place: whole, byte by byte and cut at every offset the bytes are
// as many, and whoever decompresses them finds the same fields but for one name.
#include "mitm/http/http2_alt_svc.h"

#include <algorithm>

#include "mitm/http/http2.h"
#include "tests/mitm/http2_frames.h"
#include "tests/test.h"

namespace {

using namespace frames;
using mitm::http::Http2AltSvc;
using mitm::http::Http2Head;
using mitm::http::Http2Reader;
using mitm::http::Http2Settings;
using mitm::http::Side;

/// What a program finds in the bytes, block by block.
struct Found final : Http2Reader::Handler {
  std::vector<List> blocks;

  void block(const Http2Head& head) {
    List& list = blocks.emplace_back();
    for (std::size_t i = 0; i < head.fields.size(); ++i) list.emplace_back(head.fields[i]);
  }
  void headers(std::uint32_t, Http2Head& head, bool) override { block(head); }
  void data(std::uint32_t, std::string_view bytes, bool) override {
    blocks.push_back({{"body", std::string(bytes)}});
  }
  void reset(std::uint32_t, std::uint32_t) override {}
  void promise(std::uint32_t, std::uint32_t, Http2Head& head) override { block(head); }
  void goaway(std::uint32_t) override {}
  void settings(const Http2Settings&) override {}
};

std::vector<List> found(std::string_view bytes) {
  Http2Reader reader{Side::response};
  Found found;
  CHECK(reader.feed(bytes, found));
  return found.blocks;
}

std::string hidden(std::string bytes, std::vector<std::size_t> cuts) {
  Http2AltSvc alt_svc;
  std::size_t from = 0;
  cuts.push_back(bytes.size());
  for (const auto to : cuts) {
    alt_svc.hide(std::span(bytes).subspan(from, to - from));
    from = to;
  }
  return bytes;
}

/// `changed`: how many octets differ then.
std::string hides(const std::string& bytes, int changed) {
  const std::string result = hidden(bytes, {});
  std::vector<std::size_t> everywhere;
  for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
    REQUIRE(hidden(bytes, {cut}) == result);
    everywhere.push_back(cut);
  }
  CHECK(hidden(bytes, everywhere) == result);
  int differ = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) differ += bytes[i] != result[i] ? 1 : 0;
  CHECK(differ == changed);
  auto expected = found(bytes);
  for (auto& block : expected) {
    for (auto& [name, value] : block) {
      if (name == "alt-svc") name = "alt-sv0";
    }
  }
  CHECK(found(result) == expected);
  return result;
}

/// A field whose name and value are spelled out without Huffman's code; `kind`: the octet it begins
/// with.
std::string literal(char kind, const std::string& name, const std::string& value) {
  return kind + number(static_cast<std::uint32_t>(name.size()), 1) + name +
         number(static_cast<std::uint32_t>(value.size()), 1) + value;
}

std::string block(std::uint32_t stream, const std::string& fields) {
  return frame(NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, stream, fields);
}

const List kAnswer{{":status", "200"}, {"alt-svc", "h3=\":443\"; ma=86400"}, {"server", "x"}};

}  // namespace

TEST_CASE("http2_alt_svc: a name in Huffman's code, and references to it afterwards") {
  Packer packer;
  std::string bytes = settings();
  bytes += packer.headers(1, kAnswer, false);
  CHECK(bytes.find("\x1d\x09\x59\x1d\xc9") != bytes.npos);
  bytes += packer.headers(3, kAnswer, false);  // by index
  bytes +=
      packer.headers(5, {{":status", "200"}, {"alt-svc", "clear"}}, false);  // the name by index
  hides(bytes, 1);
}

TEST_CASE("http2_alt_svc: a plain name, in every kind of literal") {
  std::string bytes;
  std::uint32_t stream = 1;
  for (const char kind : {'\x40', '\x00', '\x10'}) {
    bytes +=
        block(stream, "\x88" + literal(kind, "alt-svc", "clear") + literal(kind, "x", "alt-svc"));
    stream += 2;
  }
  hides(bytes, 3);
}

TEST_CASE("http2_alt_svc: blocks with padding, priority and continuations, promises, trailers") {
  const std::string fields =
      "\x88" + literal('\x40', "alt-svc", "clear") + literal('\x40', "x", "y");
  const std::uint8_t all = NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_PADDED | NGHTTP2_FLAG_PRIORITY;
  std::string bytes;
  bytes += frame(NGHTTP2_HEADERS, all, 1,
                 "\x0b" + number(0x40076161, 4) + "\x10" + fields +
                     "\x40\x07"
                     "alt-svc\1y");
  bytes += frame(NGHTTP2_PUSH_PROMISE, NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_PADDED, 1,
                 "\x02" + number(2, 4) + fields + std::string(2, '\0'));
  int changed = 2;
  for (std::size_t cut = 0; cut <= fields.size(); ++cut) {
    bytes +=
        frame(NGHTTP2_HEADERS, 0, 3, fields.substr(0, cut)) + frame(NGHTTP2_CONTINUATION, 0, 3);
    bytes += frame(NGHTTP2_CONTINUATION, NGHTTP2_FLAG_END_HEADERS, 3, fields.substr(cut));
    ++changed;
  }
  bytes += frame(NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_END_STREAM, 3,
                 literal('\x00', "alt-svc", "clear"));
  hides(bytes, changed + 1);
}

TEST_CASE("http2_alt_svc: numbers of several octets") {
  Packer packer;
  List many{{":status", "200"}};
  for (int i = 0; i < 80; ++i) many.emplace_back("x", std::to_string(i));
  many.emplace_back("long",
                    std::string(5000, '\x7f'));  // longer in Huffman's code, so it stays plain
  std::string bytes = packer.headers(1, many, false);
  bytes += packer.headers(3, kAnswer, false);
  packer.change_table(0);
  packer.change_table(4096);
  bytes +=
      packer.headers(5, many, false);  // with new sizes of the table, and references beyond 127
  many.emplace_back("alt-svc", "clear");
  bytes += packer.headers(7, many, false);
  hides(bytes, 2);
}

TEST_CASE("http2_alt_svc: frames, of the connection and of streams") {
  const std::string payload = number(0, 2) + "h3=\":443\"";
  const std::string result = hides(
      settings() + frame(NGHTTP2_ALTSVC, 0, 0, number(8, 2) + "https://x") +
          frame(NGHTTP2_ALTSVC, 0, 1, payload) + frame(NGHTTP2_ALTSVC, 0, 1) + block(1, "\x88"),
      3);
  CHECK(result.find(frame(0xfa, 0, 1, payload)) != result.npos);
}

TEST_CASE("http2_alt_svc: what only looks like it stays") {
  std::string fields = "\x88";
  for (const char* name : {"alt-svd", "alt-svcs", "alt-sv", "xlt-svc", "\x1d\x09\x59\x1d\xc9"})
    fields += literal('\x40', name, "alt-svc");
  fields += "\x40\x85\x1d\x09\x59\x1d\xcb\x01x";  // alt-sve
  std::string bytes = settings() + block(1, fields);
  bytes += data(1,
                "\x40\x07"
                "alt-svc\x01x",
                false) +
           data(1, frame(NGHTTP2_ALTSVC, 0, 0, "x"), false);
  bytes += frame(NGHTTP2_PING, 0, 0,
                 "\x40\x07"
                 "alt-sv") +
           frame(0x2a, 4, 1, literal('\x40', "alt-svc", "x"));
  CHECK(hides(bytes, 0) == bytes);
}

TEST_CASE("http2_alt_svc: bytes that are no HTTP/2 do no harm") {
  std::string bytes = block(1, std::string(40, '\xff')) +
                      block(1, "\x40\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f") +
                      frame(NGHTTP2_HEADERS, NGHTTP2_FLAG_PADDED, 1, "\xff") +
                      frame(NGHTTP2_HEADERS, NGHTTP2_FLAG_PADDED, 1) + "\xff\xff\xff\x01\xff";
  const auto result = hidden(bytes, {});
  for (std::size_t cut = 0; cut <= bytes.size(); ++cut) CHECK(hidden(bytes, {cut}) == result);
  CHECK(result == bytes);
}
