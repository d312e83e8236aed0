// One direction of WebSocket, told as a story.
#include "mitm/http/websocket.h"
#include "tests/mitm/message_transcript.h"
#include "tests/mitm/websocket_frames.h"

using namespace websocket;
using mitm::http::Fields;
using mitm::http::PermessageDeflate;
using mitm::http::Side;
using mitm::http::websocket_terms;
using mitm::http::WebSocketReader;
using story::Make;
using story::tells;

namespace {

constexpr std::size_t kLimit = 4096;

Make reader(Side side, std::optional<PermessageDeflate> deflate = {}, std::size_t limit = kLimit) {
  return [=] { return std::make_unique<WebSocketReader>(side, deflate, limit); };
}
Make server(std::optional<PermessageDeflate> deflate = {}, std::size_t limit = kLimit) {
  return reader(Side::response, deflate, limit);
}
Make program(std::optional<PermessageDeflate> deflate = {}, std::size_t limit = kLimit) {
  return reader(Side::request, deflate, limit);
}

std::string bytes(std::initializer_list<int> list) {
  std::string out;
  for (const int byte : list) out += static_cast<char>(byte);
  return out;
}

mitm::http::WebSocketTerms terms(std::string_view value) {
  Fields fields;
  fields.add("Upgrade", "websocket");
  fields.add("sec-websocket-EXTENSIONS", value);
  return websocket_terms(fields);
}

}  // namespace

TEST_CASE("websocket: the examples of RFC 6455 section 5.7") {
  tells(server(), bytes({0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f}), "[text 5/7 Hello]");
  tells(program(), bytes({0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58}),
        "[text 5/11 Hello]");
  tells(server(), bytes({0x01, 0x03, 0x48, 0x65, 0x6c, 0x80, 0x02, 0x6c, 0x6f}),
        "[text 5/9 Hello]");
  tells(server(), bytes({0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f}), "[ping 5/7 Hello]");
  tells(program(), bytes({0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58}),
        "[pong 5/11 Hello]");
}

TEST_CASE("websocket: messages of every length form, empty ones too") {
  tells(
      program(),
      asks(kText, "") + asks(kBinary, std::string(125, 'a')) + asks(kBinary, std::string(126, 'b')),
      "[text 0/6 ][binary 125/131 ...][binary 126/134 ...]");
  const std::string large(70000, 'c');
  CHECK(story::told(server({}, 50), {says(kBinary, large) + says(kText, "x")}) ==
        "[binary 70000/70010 " + std::string(50, 'c') + "~][text 1/3 x]");
}

TEST_CASE("websocket: fragments with control frames between them are one message") {
  tells(program(),
        asks(kText, "one ", false) + asks(kPing, "p") + asks(kMore, "", false) +
            asks(kMore, "two", true) + asks(kBinary, "3"),
        "[ping 1/7 p][text 7/25 one two][binary 1/7 3]");
}

TEST_CASE("websocket: closing, with code and reason and without") {
  tells(server(), says(kClose, bytes({0x03, 0xe8}) + "bye"), "[close 1000 bye 5/7 ]");
  tells(server(), says(kClose, ""), "[close 0  0/2 ]");
  tells(program(), asks(kClose, bytes({0x03, 0xf0})), "[close 1008  2/8 ]");
}

TEST_CASE(
    "websocket: the whole message is counted, as much as the limit is kept, nothing at limit 0") {
  tells(program({}, 5), asks(kText, "123", false) + asks(kMore, "4567") + asks(kText, "12345"),
        "[text 7/19 12345~][text 5/11 12345]");
  tells(program({}, 0),
        asks(kText, "secret") + asks(kPing, "x") + asks(kClose, bytes({0x03, 0xe9})),
        "[text 6/12 ~][ping 1/7 ~][close 1001  2/8 ]");
}

TEST_CASE("websocket: the examples of RFC 7692 section 7.2.3") {
  const PermessageDeflate deflate;
  const auto hello = bytes({0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00});
  tells(server(deflate), bytes({0xc1, 0x07}) + hello, "[text compressed 5/9 Hello]");
  tells(server(deflate), bytes({0x41, 0x03, 0xf2, 0x48, 0xcd, 0x80, 0x04, 0xc9, 0xc9, 0x07, 0x00}),
        "[text compressed 5/11 Hello]");
  // The second one refers to the first one's window.
  tells(server(deflate),
        bytes({0xc1, 0x07}) + hello + bytes({0xc1, 0x05, 0xf2, 0x00, 0x11, 0x00, 0x00}),
        "[text compressed 5/9 Hello][text compressed 5/7 Hello]");
  // A stored block, and a last block followed by an empty one.
  tells(server(deflate),
        bytes({0xc1, 0x0b, 0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00}),
        "[text compressed 5/13 Hello]");
  tells(server(deflate), bytes({0xc1, 0x08, 0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00}),
        "[text compressed 5/10 Hello]");
  tells(server(deflate),
        bytes({0xc1, 0x0d, 0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07,
               0x00}),
        "[text compressed 5/15 Hello]");
  // An empty message.
  tells(server(deflate), bytes({0xc1, 0x01, 0x00}), "[text compressed 0/3 ]");
  // What follows a last block may refer to what came before it.
  tells(server(deflate),
        bytes({0xc1, 0x08, 0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00}) +
            bytes({0xc1, 0x05, 0xf2, 0x00, 0x11, 0x00, 0x00}),
        "[text compressed 5/10 Hello][text compressed 5/7 Hello]");
}

TEST_CASE(
    "websocket: compressed messages of both directions, "
    "with context and without, of small windows") {
  const std::string_view said = "again and again and again, the same words";
  for (const bool takeover : {true, false}) {
    for (const int bits : {9, 12, 15}) {
      for (const bool masked : {true, false}) {
        CAPTURE(takeover);
        CAPTURE(bits);
        Deflater deflater{takeover, bits};
        std::string stream;
        std::string expected;
        for (int i = 0; i < 3; ++i) {
          const auto coded = deflater.deflate(said);
          const auto one = frame(kText | kCompressed, coded.substr(0, 3), masked, false);
          const auto two = frame(kMore, coded.substr(3), masked);
          stream += one + two;
          expected +=
              fmt::format("[text compressed {}/{} {}]", said.size(), one.size() + two.size(), said);
        }
        stream += frame(kText, "plain", masked);
        expected += fmt::format("[text 5/{} plain]", masked ? 11 : 7);
        tells(reader(masked ? Side::request : Side::response, PermessageDeflate{takeover, bits}),
              stream, expected);
      }
    }
  }
}

TEST_CASE(
    "websocket: a compressed message beyond the limit is "
    "unfolded, counted, and the next one is read") {
  Deflater deflater;
  const std::string large(300'000, 'x');
  const auto first = asks(kBinary | kCompressed, deflater.deflate(large));
  const auto second = asks(kBinary | kCompressed, deflater.deflate("xxxxx and more"));
  CHECK(story::told(program(PermessageDeflate{}, 14), {first, second}) ==
        fmt::format(
            "[binary compressed 300000/{} xxxxxxxxxxxxxx~][binary compressed 14/{} xxxxx and more]",
            first.size(), second.size()));
}

TEST_CASE("websocket: what cannot be decompressed is said, and frames are followed on") {
  const std::string bad = bytes({0xc1, 0x03, 0xff, 0xff, 0xff});
  tells(server(PermessageDeflate{}),
        bad + says(kText, "plain") + says(kText | kCompressed, "coded"),
        "[text compressed ?/5 ~][text 5/7 plain][text compressed ?/7 ~] ! a compressed message "
        "cannot be decompressed");
  // Somewhat compressible, so that it is not for its ratio.
  std::string large(WebSocketReader::kUnfolded + 1, '\0');
  for (std::size_t at = 0; at < large.size(); at += 100)
    large[at] = static_cast<char>(at * 2654435761U >> 24);
  Deflater deflater;
  const auto bomb = says(kBinary | kCompressed, deflater.deflate(large));
  CHECK(story::told(server(PermessageDeflate{}, 1), {bomb, says(kText, "on")}) ==
        fmt::format("[binary compressed ?/{} {}~][text 2/4 o~] ! "
                    "a compressed message unfolds to more than 64 MiB",
                    bomb.size(), std::string(1, '\0')));
}

TEST_CASE(
    "websocket: messages that unfold to far more than "
    "they are end the decompression, not the reading") {
  constexpr std::string_view kWhy =
      " ! compressed messages unfold to more than 200 times their size";
  const auto zeros = [](std::size_t size) {
    return Deflater{false}.deflate(std::string(size, '\0'));
  };
  const PermessageDeflate deflate{false, 15};
  const auto once = says(kBinary | kCompressed, zeros(WebSocketReader::kAtFirst * 3 / 2));
  CHECK(once.size() < 30'000);
  CHECK(story::told(server(deflate, 1), {once, says(kText, "on")}) ==
        fmt::format("[binary compressed ?/{} {}~][text 2/4 o~]{}", once.size(),
                    std::string(1, '\0'), kWhy));
  // A little at a time is reported as well, and not before.
  const auto little = says(kBinary | kCompressed, zeros(1 << 20));
  const auto reader = server(deflate, 1)();
  story::Teller teller;
  for (int i = 0; i < 16; ++i) reader->feed(little, teller);
  CHECK(reader->error() == nullptr);
  for (int i = 0; i < 16; ++i) reader->feed(little, teller);
  REQUIRE(reader->error() != nullptr);
  CHECK(kWhy.ends_with(reader->error()));
}

TEST_CASE("websocket: what people say is never too much, however long they talk") {
  const PermessageDeflate deflate{true, 15};
  std::string words;
  for (int i = 0; i < 20'000; ++i) words += fmt::format("{{\"id\":{},\"state\":\"idle\"}},", i);
  Deflater deflater;
  const auto reader = server(deflate, 1)();
  story::Teller teller;
  for (int i = 0; i < 100; ++i)
    reader->feed(says(kText | kCompressed, deflater.deflate(words)), teller);
  CHECK(reader->error() == nullptr);
}

TEST_CASE("websocket: nothing is decompressed when no payload is wanted") {
  Deflater deflater;
  const auto hello = asks(kText | kCompressed, deflater.deflate("Hello"));
  tells(program(PermessageDeflate{}, 0), hello + asks(kText, "plain"),
        fmt::format("[text compressed ?/{} ~][text 5/11 ~]", hello.size()));
  // Not even that it cannot be.
  tells(server(PermessageDeflate{}, 0), bytes({0xc1, 0x03, 0xff, 0xff, 0xff}),
        "[text compressed ?/5 ~]");
}

TEST_CASE("websocket: what is not WebSocket ends the reading, and what came before it is kept") {
  const struct {
    const char* what;
    Make make;
    std::string bytes;
    const char* why;
  } cases[] = {
      {"reserved opcode", server(), says(3, ""), "a frame has a reserved opcode"},
      {"reserved control opcode", server(), says(11, ""), "a frame has a reserved opcode"},
      {"compressed, but not agreed on", server(), says(kText | kCompressed, ""),
       "a frame has a reserved bit"},
      {"reserved bit", server(PermessageDeflate{}), says(kText | 0x20U, ""),
       "a frame has a reserved bit"},
      {"compressed control frame", server(PermessageDeflate{}), says(kPing | kCompressed, ""),
       "a frame has a reserved bit"},
      {"masked", server(), asks(kText, "x"), "a frame of the server is masked"},
      {"not masked", program(), says(kText, "x"), "a frame of the program is not masked"},
      {"long control frame", server(), says(kPing, std::string(126, 'x')),
       "a control frame is longer than 125 bytes"},
      {"fragmented control frame", server(), says(kPing, "x", false),
       "a control frame is fragmented"},
      {"nothing to go on with", server(), says(kMore, "x"), "a message goes on that has not begun"},
      {"begun within another", server(), says(kText, "x", false) + says(kText, "y"),
       "a message begins before the one before it has ended"},
      {"impossible length", server(), bytes({0x82, 0x7f, 0x80, 0, 0, 0, 0, 0, 0, 0}),
       "a frame has an impossible length"},
      {"HTTP", server(), "HTTP/1.1 400 Bad Request\r\n\r\n", "a frame has a reserved bit"},
  };
  for (const auto& one : cases) {
    CAPTURE(one.what);
    const bool masked = std::string_view(one.what) == "not masked";
    tells(one.make, frame(kText, "a", masked) + one.bytes + says(kText, "ignored"),
          fmt::format("[text 1/{} a] ! {}", masked ? 7 : 3, one.why));
  }
}

TEST_CASE("websocket: what was agreed on about compression") {
  using D = PermessageDeflate;
  CHECK_FALSE(terms("").program.has_value());
  CHECK(websocket_terms({}).unknown == "");
  CHECK(terms("permessage-deflate").program == D{});
  CHECK(terms("permessage-deflate").server == D{});
  const auto some =
      terms("permessage-deflate; server_no_context_takeover;client_max_window_bits=10");
  CHECK(some.program == D{true, 10});
  CHECK(some.server == D{false, 15});
  const auto all = terms(
      " Permessage-Deflate ;client_no_context_takeover ; server_max_window_bits = \"9\" ; "
      "client_max_window_bits");
  CHECK(all.program == D{false, 15});
  CHECK(all.server == D{true, 9});
  CHECK(terms("permessage-deflate; server_max_window_bits=99").server == D{});
  CHECK(terms("permessage-deflate; server_max_window_bits=").server == D{});
  CHECK(terms("permessage-deflate; server_max_window_bits=\"").server == D{});
  CHECK(terms("permessage-deflate, x-other; a=b").unknown == "x-other");
  const auto quoted =
      terms(R"(permessage-deflate; x="a, b; c\"d"; server_max_window_bits="1\0" ; y="\\"; )"
            R"(client_no_context_takeover)");
  CHECK(quoted.unknown == "");
  CHECK(quoted.server == D{true, 10});
  CHECK(quoted.program == D{false, 15});
  CHECK(terms(R"(x-other; a="permessage-deflate, b")").unknown == "x-other");
  CHECK_FALSE(terms(R"(x-other; a="permessage-deflate, b")").program.has_value());
  CHECK(terms("permessage-deflate; x=\"never ends, y").program == D{});
}
