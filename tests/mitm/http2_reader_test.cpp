// One direction of HTTP/2, told as a story: whole, byte by byte, and cut at every offset it must be
// the same.
#include <fmt/format.h>

#include "mitm/http/http2.h"
#include "tests/mitm/http2_frames.h"
#include "tests/test.h"

namespace {

using namespace frames;
using mitm::http::begins_with_settings;
using mitm::http::Http2Head;
using mitm::http::Http2Reader;
using mitm::http::Http2Settings;
using mitm::http::parse_upgrade_settings;
using mitm::http::Side;

struct Story final : Http2Reader::Handler {
  std::string text;
  bool in_body = false;  ///< parts of one body are one

  void tell(const std::string& what) {
    if (in_body) text += '\'';
    text += what;
    in_body = false;
  }
  void headers(std::uint32_t stream, Http2Head& head, bool last) override {
    std::string fields;
    for (std::size_t i = 0; i < head.fields.size(); ++i) {
      const auto [name, value] = head.fields[i];
      fields += fmt::format(
          " {}={}", name,
          value.size() > 50 ? fmt::format("{} bytes", value.size()) : std::string(value));
    }
    tell(fmt::format(" [{} {}{}{}{}]{}", stream, head.method, head.path,
                     head.status ? std::to_string(head.status) : "", fields, last ? "." : ""));
  }
  void data(std::uint32_t stream, std::string_view bytes, bool last) override {
    if (!in_body) text += fmt::format(" {}'", stream);
    in_body = true;
    text += bytes;
    if (!last) return;
    in_body = false;
    text += "'.";
  }
  void reset(std::uint32_t stream, std::uint32_t code) override {
    tell(fmt::format(" reset {} {}", stream, code));
  }
  void promise(std::uint32_t stream, std::uint32_t promised, Http2Head& head) override {
    tell(fmt::format(" {} promises {} {}{}", stream, promised, head.method, head.path));
  }
  void goaway(std::uint32_t code) override { tell(fmt::format(" goaway {}", code)); }
  void settings(const Http2Settings& said) override {
    tell(" settings");
    if (said.table_size) text += fmt::format(" {}", *said.table_size);
    if (said.push) text += *said.push ? " push" : " no push";
  }
};

std::string story(Side side, const std::vector<std::string_view>& pieces, int settings_sent = 0) {
  Http2Reader reader{side};
  for (int i = 0; i < settings_sent; ++i) CHECK(reader.settings_sent({}));
  Story story;
  for (const auto piece : pieces) {
    if (!reader.feed(piece, story)) {
      CHECK_FALSE(reader.feed("x", story));
      return story.text + " ! " + reader.error();
    }
  }
  return story.text;
}

/// However it is cut.
void tells(Side side, const std::string& bytes, const std::string& expected,
           int settings_sent = 0) {
  CAPTURE(expected);
  CHECK(story(side, {bytes}, settings_sent) == expected);
  std::vector<std::string_view> single;
  for (std::size_t i = 0; i < bytes.size(); ++i)
    single.push_back(std::string_view(bytes).substr(i, 1));
  CHECK(story(side, single, settings_sent) == expected);
  for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
    const std::string_view view = bytes;
    REQUIRE(story(side, {view.substr(0, cut), view.substr(cut)}, settings_sent) == expected);
  }
}

std::string padded(std::uint8_t type, std::uint8_t flags, std::uint32_t stream,
                   std::string_view payload, int padding) {
  return frame(type, flags | NGHTTP2_FLAG_PADDED, stream,
               number(static_cast<std::uint32_t>(padding), 1) + std::string(payload) +
                   std::string(static_cast<std::size_t>(padding), '\0'));
}

}  // namespace

TEST_CASE("http2: requests, bodies, trailers, resets and everything that is none of our business") {
  Packer packer;
  std::string bytes{kPreface};
  bytes +=
      settings({{NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, 65536}, {NGHTTP2_SETTINGS_ENABLE_PUSH, 0}});
  bytes += frame(NGHTTP2_WINDOW_UPDATE, 0, 0, number(1 << 20, 4));
  bytes += packer.headers(1, get("/a"), true);
  auto post = get("/b");
  post[0].second = "POST";
  post.emplace_back("X", "y");
  bytes += packer.headers(3, post, false);
  bytes += data(3, "abc", false) + frame(NGHTTP2_PING, 0, 0, "12345678") + data(3, "def", false);
  bytes += packer.headers(3, {{"checksum", "1"}}, true);
  bytes += frame(0x2a, 0xff, 77, "an extension nobody knows");
  bytes += reset(5, NGHTTP2_CANCEL);
  bytes += frame(NGHTTP2_GOAWAY, 0, 0, number(3, 4) + number(NGHTTP2_ENHANCE_YOUR_CALM, 4) + "why");
  tells(Side::request, bytes,
        " settings 65536 no push [1 GET/a]. [3 "
        "POST/b X=y] 3'abcdef' [3  checksum=1]. reset 5 8 goaway 11");
}

TEST_CASE("http2: padding, priority, continuation and promises") {
  Packer packer;
  const std::string block = packer.pack({{":status", "200"}, {"server", "s"}, {"etag", "\"1\""}});
  std::string bytes = settings();
  bytes += padded(NGHTTP2_HEADERS, NGHTTP2_FLAG_PRIORITY, 1,
                  number(0, 4) + "\x10" + block.substr(0, 2), 7);
  bytes += frame(NGHTTP2_CONTINUATION, 0, 1, block.substr(2, 1));
  bytes += frame(NGHTTP2_CONTINUATION, 0, 1);
  bytes += frame(NGHTTP2_CONTINUATION, NGHTTP2_FLAG_END_HEADERS, 1, block.substr(3));
  bytes += padded(NGHTTP2_DATA, 0, 1, "body", 200) + padded(NGHTTP2_DATA, 0, 1, "", 3) +
           data(1, "", true);
  bytes += padded(NGHTTP2_PUSH_PROMISE, NGHTTP2_FLAG_END_HEADERS, 3,
                  number(2, 4) + packer.pack(get("/pushed")), 1);
  bytes += packer.headers(2, {{":status", "100"}}, false);
  bytes += packer.headers(2, {{":status", "204"}}, true);
  tells(Side::response, bytes,
        " settings [1 200 server=s etag=\"1\"] 1'body'. 3 promises 2 GET/pushed [2 100] [2 204].");
}

TEST_CASE("http2: the compression table changes with the acknowledgement, not before") {
  Packer packer;
  Http2Reader reader{Side::response};
  Story story;
  const List fields{{":status", "200"}, {"x-long", std::string(1000, 'x')}};
  REQUIRE(reader.settings_sent({0, {}}));
  REQUIRE(reader.settings_sent({}));
  // Two blocks of the old table, the second one by reference to it.
  REQUIRE(reader.feed(packer.headers(1, fields, true), story));
  REQUIRE(reader.feed(packer.headers(3, fields, true), story));
  REQUIRE(reader.feed(acknowledgement(), story));
  packer.change_table(0);
  REQUIRE(reader.feed(packer.headers(5, fields, true), story));
  REQUIRE(reader.feed(acknowledgement(), story));
  REQUIRE(reader.feed(packer.headers(7, fields, true), story));
  const std::string one = " x-long=1000 bytes].";
  CHECK(story.text == " [1 200" + one + " [3 200" + one + " [5 200" + one + " [7 200" + one);
  CHECK_FALSE(reader.feed(acknowledgement(), story));
}

TEST_CASE("http2: a push is refused from the acknowledgement on that the program wants none") {
  Packer packer;
  Http2Reader reader{Side::response};
  Story story;
  const auto push = [&](std::uint32_t stream) {
    return frame(NGHTTP2_PUSH_PROMISE, NGHTTP2_FLAG_END_HEADERS, 1,
                 number(stream, 4) + packer.pack(get("/")));
  };
  REQUIRE(reader.settings_sent({{}, false}));
  REQUIRE(reader.feed(push(2), story));  // may have been on its way
  REQUIRE(reader.settings_sent({4096, {}}));
  REQUIRE(reader.feed(acknowledgement(), story));
  SUBCASE("for ever") {
    REQUIRE(reader.feed(acknowledgement(), story));
    CHECK_FALSE(reader.feed(push(4), story));
    CHECK(reader.error() == std::string("a push that is not allowed"));
    CHECK(story.text == " 1 promises 2 GET/");
  }
  SUBCASE("until it wants some again") {
    REQUIRE(reader.settings_sent({{}, true}));
    REQUIRE(reader.feed(acknowledgement() + acknowledgement(), story));
    CHECK(reader.feed(push(4), story));
  }
}

TEST_CASE("http2: settings of an upgrade hold at once") {
  struct Case {
    const char* field;
    std::optional<std::uint32_t> table_size;
    std::optional<bool> push;
  };
  const Case cases[] = {
      {"AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA", 16384, true},  // Java's HttpClient
      {"AAMAAABkAAQCAAAAAAIAAAAA", {}, false},                    // curl
      {"AAIAAAAA==", {}, false},
      {"", {}, {}},
      {"AAEAAEA", {}, {}},
      {"not / base64url", {}, {}},
      {"AAEP_7__", 0xfffbfff, {}},
  };
  for (const auto& one : cases) {
    CAPTURE(one.field);
    const auto settings = parse_upgrade_settings(one.field);
    CHECK(settings.table_size == one.table_size);
    CHECK(settings.push == one.push);
  }
  Packer packer{16384};
  packer.change_table(16384);
  Story story;
  Http2Reader reader{Side::response};
  REQUIRE(reader.settings_agreed({16384, {}}));
  CHECK(reader.feed(packer.headers(1, {{":status", "204"}}, true), story));
  CHECK(story.text == " [1 204].");
  CHECK_FALSE(reader.settings_agreed({Http2Reader::kTableLimit + 1, {}}));
}

TEST_CASE("http2: what no two endpoints would say to each other ends the reading") {
  Packer packer;
  const std::string preface(kPreface);
  const std::string block = packer.pack(get("/"));
  const std::string open = frame(NGHTTP2_HEADERS, 0, 1, block);
  struct Case {
    const char* what;
    Side side;
    std::string bytes;
    const char* error;
  };
  const Case cases[] = {
      {"no preface", Side::request, "GET / HTTP/1.1\r\n", "no HTTP/2 preface"},
      {"DATA of the connection", Side::response, data(0, "x", false), "DATA without a stream"},
      {"HEADERS of the connection", Side::response, frame(NGHTTP2_HEADERS, 4, 0, block),
       "headers without a stream"},
      {"padding beyond the frame", Side::response,
       frame(NGHTTP2_DATA, NGHTTP2_FLAG_PADDED, 1,
             "\x05"
             "abc"),
       "more padding than frame"},
      {"padding without its length", Side::response, frame(NGHTTP2_DATA, NGHTTP2_FLAG_PADDED, 1),
       "a padded frame without padding length"},
      {"padding beyond the headers", Side::response,
       frame(NGHTTP2_HEADERS, NGHTTP2_FLAG_PADDED | 4, 1,
             "\x05"
             "abc"),
       "more padding than frame"},
      {"headers too short for their priority", Side::response,
       frame(NGHTTP2_HEADERS, NGHTTP2_FLAG_PRIORITY | 4, 1, "abc"), "more padding than frame"},
      {"another frame in a block", Side::request, preface + open + data(1, "x", false),
       "another frame in the middle of a header block"},
      {"another stream in a block", Side::request,
       preface + open + frame(NGHTTP2_CONTINUATION, 4, 3, ""),
       "another frame in the middle of a header block"},
      {"continuation of nothing", Side::response, frame(NGHTTP2_CONTINUATION, 4, 1, block),
       "CONTINUATION of nothing"},
      {"garbage for headers", Side::response, frame(NGHTTP2_HEADERS, 4, 1, std::string(9, '\xff')),
       "a header block that cannot be decompressed"},
      {"a huge frame", Side::response, number((256 << 10) + 1, 3) + "\x01\x04" + number(1, 4),
       "a frame too large for us"},
      {"a push by the program", Side::request,
       preface + frame(NGHTTP2_PUSH_PROMISE, 4, 1, number(2, 4) + block),
       "a push that is not allowed"},
      {"settings of a stream", Side::response, frame(NGHTTP2_SETTINGS, 0, 1),
       "SETTINGS of a stream"},
      {"settings cut", Side::response, frame(NGHTTP2_SETTINGS, 0, 0, "12345"),
       "malformed SETTINGS"},
      {"an acknowledgement of nothing", Side::response, acknowledgement(),
       "an acknowledgement of SETTINGS that were not sent"},
      {"a reset that is too short", Side::response, frame(NGHTTP2_RST_STREAM, 0, 1, "123"),
       "a malformed RST_STREAM"},
      {"a goaway that is too short", Side::response, frame(NGHTTP2_GOAWAY, 0, 0, "1234567"),
       "a malformed GOAWAY"},
  };
  for (const auto& one : cases) {
    CAPTURE(one.what);
    tells(one.side, one.bytes, fmt::format(" ! {}", one.error));
  }
}

TEST_CASE("http2: a name or value may take 64 KiB on the wire") {
  constexpr std::size_t kMost = 64 << 10;
  for (const bool plain : {true, false}) {
    for (const std::size_t size : {kMost, kMost + 1}) {
      for (const bool name : {true, false}) {
        CAPTURE(plain);
        CAPTURE(size);
        CAPTURE(name);
        Packer packer;
        Story story;
        Http2Reader reader{Side::response};
        // The one is longer in Huffman's code, and so is sent as it is; the other has five bits a
        // letter.
        const std::string text = plain ? std::string(size, '\x7f') : std::string(size * 8 / 5, 'a');
        const bool read =
            reader.feed(packer.headers(1, {{name ? text : "x", name ? "x" : text}}, true), story);
        CHECK(read == (size == kMost));
        if (!read)
          CHECK(reader.error() == std::string("a header block that cannot be decompressed"));
      }
    }
  }
}

TEST_CASE("http2: floods are bounded") {
  Packer packer;
  Story story;
  SUBCASE("CONTINUATION without end") {
    Http2Reader reader{Side::response};
    REQUIRE(reader.feed(frame(NGHTTP2_HEADERS, 0, 1, packer.pack({{":status", "200"}})), story));
    int sent = 0;
    while (reader.feed(frame(NGHTTP2_CONTINUATION, 0, 1), story))
      REQUIRE(++sent < Http2Reader::kBlockFrames);
    CHECK(reader.error() == std::string("a header block of too many frames"));
  }
  SUBCASE("a header bomb: one byte each, thousands of bytes unpacked") {
    Http2Reader reader{Side::response};
    const List fields{{":status", "200"}, {"x", std::string(2000, 'x')}};
    REQUIRE(reader.feed(packer.headers(1, fields, false), story));
    const std::string reference = packer.pack({fields[1]});
    REQUIRE(reference.size() == 1);
    std::string block;
    for (int i = 0; i < 1000; ++i) block += reference;
    CHECK_FALSE(reader.feed(frame(NGHTTP2_HEADERS, 4, 3, block), story));
    CHECK(reader.error() == std::string("header fields too large for us"));
  }
  SUBCASE("SETTINGS that nobody acknowledges") {
    Http2Reader reader{Side::response};
    std::size_t sent = 0;
    while (reader.settings_sent({})) REQUIRE(++sent <= Http2Reader::kUnacknowledged);
    CHECK(sent == Http2Reader::kUnacknowledged);
  }
  SUBCASE("a table of gigabytes") {
    Http2Reader reader{Side::response};
    CHECK(reader.settings_sent({Http2Reader::kTableLimit, {}}));
    CHECK_FALSE(reader.settings_sent({0x7fffffff, {}}));
  }
}

TEST_CASE("http2: what a server may say before it has heard anything") {
  CHECK(begins_with_settings(settings()));
  CHECK(begins_with_settings(settings({{3, 100}, {5, 16384}}) + "more"));
  CHECK_FALSE(begins_with_settings(""));
  CHECK_FALSE(begins_with_settings(settings().substr(0, 8)));
  CHECK_FALSE(begins_with_settings(frame(NGHTTP2_SETTINGS, 1, 0)));
  CHECK_FALSE(begins_with_settings(frame(NGHTTP2_SETTINGS, 0, 1)));
  CHECK_FALSE(begins_with_settings(frame(NGHTTP2_SETTINGS, 0, 0, "seven b")));
  CHECK_FALSE(begins_with_settings(frame(NGHTTP2_GOAWAY, 0, 0, std::string(12, 'x'))));
  CHECK_FALSE(begins_with_settings("HTTP/1.1 200 OK\r\n"));
  CHECK_FALSE(
      begins_with_settings(std::string("\x4a\0\0\0\x0a"
                                       "8.0.36\0",
                                       12)));  // MySQL
}
