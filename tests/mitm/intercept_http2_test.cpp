// Dialogues over HTTP/2 without TLS: every byte passes as it was, and each stream is a flow.
#include "tests/mitm/http2_dialogue.h"
#include "tests/mitm/http2_frames.h"
#include "tests/test.h"

using namespace frames;
using dialogue::Engine;
using Talk = dialogue::Http2Dialogue;
using TlsTalk = dialogue::Http2TlsDialogue;
using rig::End;
using Type = test::FlatFlow::Type;

namespace {

mitm::intercept::Settings with_bodies() {
  auto settings = rig::trusting();
  settings.body_limit = 5;
  settings.message_limit = 5;
  return settings;
}

}  // namespace

TEST_CASE("http2: streams pass byte for byte, interleaved, and each is a flow") {
  Engine engine{with_bodies()};
  Talk talk{engine};
  auto post = get("/b?c=d");
  post[0].second = "POST";
  post.emplace_back("content-type", "text/plain");
  passes(talk.program, talk.server, talk.asks.headers(1, get("/a"), true));
  passes(talk.program, talk.server, talk.asks.headers(3, post, false));
  passes(talk.server, talk.program,
         talk.answers.headers(1, {{":status", "103"}, {"link", "</x>"}}, false));
  passes(talk.program, talk.server, data(3, "1234", false));
  passes(talk.server, talk.program,
         talk.answers.headers(1, {{":status", "200"}, {"server", "x"}}, false) +
             data(1, "hello", false));
  passes(talk.program, talk.server, data(3, "5678", true));
  passes(talk.server, talk.program, talk.answers.headers(3, {{":status", "204"}}, true));
  const auto second = engine.ended(1).at(0);
  CHECK(second.type == Type::http);
  CHECK(second.http_version == "2");
  CHECK(second.method == "POST");
  CHECK(second.url == rig::with_port("https://h.test/b?c=d", second));
  CHECK(second.host == "h.test");
  CHECK(second.status == 204);
  CHECK(second.request_headers.find("content-type") == "text/plain");
  CHECK(second.request_bytes == 8);
  CHECK(second.request_body == "12345");
  CHECK(second.request_body_cut);
  CHECK(second.error == "");
  passes(talk.server, talk.program, talk.answers.headers(1, {{"grpc-status", "0"}}, true));
  const auto first = engine.ended(2).at(1);
  CHECK(first.url == rig::with_port("https://h.test/a", first));
  CHECK(first.status == 200);
  CHECK(first.response_body == "hello");
  CHECK(first.response_bytes == 5);
  CHECK(first.response_trailers.find("grpc-status") == "0");
}

TEST_CASE("http2: what becomes of a stream that does not end well") {
  struct Case {
    const char* what;
    bool begun;  ///< the server has sent headers
    bool request_open;
    bool complete;  ///< and its whole answer
    bool by_program;
    std::uint32_t code;
    const char* error;
  };
  const Case cases[] = {
      {"cancelled", true, false, false, true, NGHTTP2_CANCEL,
       "the program reset the stream: CANCEL"},
      {"refused", false, false, false, false, NGHTTP2_REFUSED_STREAM,
       "the server reset the stream: REFUSED_STREAM"},
      {"answered early", true, true, true, false, NGHTTP2_NO_ERROR, ""},
      {"answered early, and the program sends no more", true, true, true, true, NGHTTP2_CANCEL, ""},
      {"answered early, which the program takes ill", true, true, true, true,
       NGHTTP2_PROTOCOL_ERROR, "the program reset the stream: PROTOCOL_ERROR"},
      {"broken off", true, false, false, false, NGHTTP2_INTERNAL_ERROR,
       "the server reset the stream: INTERNAL_ERROR"},
  };
  Engine engine{rig::trusting()};
  Talk talk{engine};
  std::uint32_t stream = 1;
  std::size_t ended = 0;
  for (const auto& one : cases) {
    CAPTURE(one.what);
    passes(talk.program, talk.server, talk.asks.headers(stream, get("/"), !one.request_open));
    if (one.begun)
      passes(talk.server, talk.program,
             talk.answers.headers(stream, {{":status", "413"}}, one.complete));
    if (one.by_program) {
      passes(talk.program, talk.server, reset(stream, one.code));
    } else {
      passes(talk.server, talk.program, reset(stream, one.code));
    }
    const auto flow = engine.ended(++ended).back();
    CHECK(flow.error == one.error);
    CHECK(flow.status == (one.begun ? 413 : 0));
    stream += 2;
  }
  // Late frames of streams that are over concern nobody.
  passes(talk.server, talk.program,
         data(1, "late", true) + talk.answers.headers(3, {{":status", "200"}}, true));
}

TEST_CASE("http2: RST_STREAM behind an early answer comes in a TLS record of its own") {
  Engine engine{rig::trusting()};
  TlsTalk talk{engine};
  passes(talk.program, talk.server, talk.asks.headers(1, get("/a"), false));
  passes(talk.program, talk.server, talk.asks.headers(3, get("/b"), false));
  auto& answers = talk.answers;
  const std::string parts[] = {
      answers.headers(1, {{":status", "413"}}, false) + data(1, "no", true),
      reset(1, NGHTTP2_NO_ERROR) + answers.headers(3, {{":status", "413"}}, true),
      reset(3, NGHTTP2_NO_ERROR)};
  talk.server.say(parts[0] + parts[1] + parts[2]);
  for (const auto& part : parts) CHECK((talk.program.hear_record() == part));
  for (const auto& flow : engine.ended(2)) CHECK(flow.status == 413);
}

TEST_CASE("http2: RST_STREAM is parted from the answer wherever it lies in what is read") {
  // What is read is looked at in steps of 4096 bytes; the frame has 13, the first 9 of them its
  // header.
  for (const std::size_t at : {4080, 4087, 4090, 4096}) {
    CAPTURE(at);
    Engine engine{rig::trusting()};
    TlsTalk talk{engine};
    passes(talk.program, talk.server, talk.asks.headers(1, get("/a"), false));
    std::string answer = talk.answers.headers(1, {{":status", "413"}}, false);
    answer += data(1, std::string(at - answer.size() - 9, 'x'), true);
    REQUIRE(answer.size() == at);
    const std::string all = answer + reset(1, NGHTTP2_NO_ERROR);
    talk.server.say(all);
    const std::string heard = talk.program.hear_record();
    CHECK(heard.size() >= answer.size());
    CHECK(heard.size() < all.size());
    CHECK(heard + talk.program.hear(all.size() - heard.size()) == all);
  }
}

TEST_CASE(
    "http2: a program that has counted the bytes of "
    "its answer does not wait for the stream's end") {
  for (const char* length : {"5", "6"}) {
    for (const bool by_reset : {false, true}) {
      CAPTURE(length);
      CAPTURE(by_reset);
      Engine engine{rig::trusting()};
      Talk talk{engine};
      passes(talk.program, talk.server, talk.asks.headers(1, get("/"), true));
      passes(talk.server, talk.program,
             talk.answers.headers(1, {{":status", "200"}, {"content-length", length}}, false) +
                 data(1, "hello", false));
      if (by_reset) {
        passes(talk.program, talk.server, reset(1, NGHTTP2_CANCEL));
      } else {
        talk.program.finish();
        CHECK(talk.server.hear_all() == "");
      }
      talk.server.finish();
      CHECK(engine.ended(1).at(0).error.empty() == (length == std::string("5")));
    }
  }
}

TEST_CASE("http2: a connection that ends ends its streams, and the flows say why") {
  Engine engine{rig::trusting()};
  SUBCASE("in order, after GOAWAY") {
    Talk talk{engine};
    passes(talk.program, talk.server, talk.asks.headers(1, get("/"), true));
    passes(talk.server, talk.program,
           frame(NGHTTP2_GOAWAY, 0, 0, number(0, 4) + number(NGHTTP2_ENHANCE_YOUR_CALM, 4)));
    talk.server.finish();
    talk.program.finish();
    CHECK(talk.program.hear_all() == "");
    CHECK(talk.program.end() == End::fin);
    CHECK(engine.ended(1).at(0).error ==
          "the server closed the connection before the answer was complete (the server said "
          "ENHANCE_YOUR_CALM)");
  }
  SUBCASE("by the program, then by the server") {
    Talk talk{engine};
    passes(talk.program, talk.server, talk.asks.headers(1, get("/"), true));
    talk.program.finish();
    CHECK(talk.server.hear_all() == "");
    talk.server.finish();
    CHECK(talk.program.hear_all() == "");
    CHECK(engine.ended(1).at(0).error ==
          "the program closed its side of the connection before the answer was complete");
  }
  SUBCASE("by the server, which the program takes ill") {
    Talk talk{engine};
    passes(talk.program, talk.server, talk.asks.headers(1, get("/"), true));
    talk.server.finish();
    CHECK(talk.program.hear_all() == "");
    talk.program.reset();
    CHECK(engine.ended(1).at(0).error ==
          "the server closed the connection before the answer was complete");
  }
  SUBCASE("by a reset") {
    Talk talk{engine};
    passes(talk.program, talk.server, talk.asks.headers(1, get("/"), true));
    talk.server.reset();
    CHECK(talk.program.hear_all() == "");
    CHECK(talk.program.end() == End::reset);
    CHECK(engine.ended(1).at(0).error == "the server: connection reset by peer");
  }
  CHECK(engine.idle());
}

TEST_CASE("http2: a tunnel is a flow whose body is what it carries") {
  Engine engine{with_bodies()};
  Talk talk{engine};
  passes(talk.program, talk.server,
         talk.asks.headers(1, {{":method", "CONNECT"}, {":authority", "far.test:443"}}, false));
  passes(talk.server, talk.program, talk.answers.headers(1, {{":status", "200"}}, false));
  passes(talk.program, talk.server, data(1, "\x16\x03\x01opaque", false));
  passes(talk.server, talk.program, data(1, "back", true));
  passes(talk.program, talk.server, data(1, "", true));
  const auto flow = engine.ended(1).at(0);
  CHECK(flow.type == Type::http);
  CHECK(flow.method == "CONNECT");
  CHECK(flow.url == "far.test:443");
  CHECK(flow.host == "far.test");
  CHECK(flow.status == 200);
  CHECK(flow.request_bytes == 9);
  CHECK(flow.response_body == "back");
  CHECK(flow.error == "");
}

TEST_CASE("http2: programs are not told of QUIC, unless that is allowed") {
  for (const bool allowed : {false, true}) {
    CAPTURE(allowed);
    auto settings = rig::trusting();
    settings.hide_alt_svc = !allowed;
    Engine engine{settings};
    Talk talk{engine};
    passes(talk.program, talk.server, talk.asks.headers(1, get("/"), true));
    std::string told =
        talk.answers.headers(1, {{":status", "200"}, {"alt-svc", "h3=\":443\""}}, true);
    told += frame(NGHTTP2_ALTSVC, 0, 0, number(1, 2) + "xh3=\":443\"");
    for (std::size_t i = 0; i < told.size(); i += 7) talk.server.say(told.substr(i, 7));
    const std::string heard = talk.program.hear(told.size());
    CHECK(heard.size() == told.size());
    CHECK((heard == told) == allowed);
    CHECK((heard.find("\x1d\x09\x59\x1d\xc9") != heard.npos) ==
          allowed);  // alt-svc in Huffman's code
    CHECK(engine.ended(1).at(0).response_headers.find("alt-svc") == "h3=\":443\"");
    const std::string body = data(1, "alt-svc", false);  // it is not looked for there
    passes(talk.server, talk.program, body);
  }
}

TEST_CASE("http2: a push is a flow of its own; gRPC and event streams show that they have begun") {
  Engine engine{rig::trusting()};
  Talk talk{engine};
  passes(talk.program, talk.server, talk.asks.headers(1, get("/"), true));
  passes(talk.server, talk.program,
         frame(NGHTTP2_PUSH_PROMISE, NGHTTP2_FLAG_END_HEADERS, 1,
               number(2, 4) + talk.answers.pack(get("/style"))));
  passes(talk.server, talk.program,
         talk.answers.headers(2, {{":status", "200"}}, false) + data(2, "css", true));
  CHECK(engine.ended(1).at(0).url == rig::with_port("https://h.test/style", engine.ended(1).at(0)));
  passes(talk.server, talk.program,
         talk.answers.headers(1, {{":status", "200"}, {"content-type", "application/grpc+proto"}},
                              false));
  CHECK(engine.started(1).at(0).status == 200);
}

TEST_CASE("http2: a server may say its settings first") {
  Engine engine{rig::trusting()};
  Packer asks, answers;
  SUBCASE("and speaks HTTP/2") {
    auto [program, server] = engine.open();
    server.say(settings({{3, 100}}));
    passes(program, server,
           std::string(kPreface) + settings() + asks.headers(1, get("/first"), true));
    CHECK(program.hear(15) == settings({{3, 100}}));
    passes(server, program, answers.headers(1, {{":status", "204"}}, true));
    CHECK(engine.ended(1).at(0).status == 204);
  }
  SUBCASE("and speaks something else, as the program shows") {
    auto [program, server] = engine.open();
    server.say(settings());
    passes(program, server, std::string("\0\1\2", 3));
    CHECK(program.hear(9) == settings());
    program.finish();
    CHECK(server.hear_all() == "");
    server.close();
    CHECK(engine.ended(1).at(0).type == Type::tcp);
  }
}

TEST_CASE("http2: begun by prior knowledge or by an upgrade") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  passes(program, server,
         "GET /up HTTP/1.1\r\nHost: h.test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: "
         "h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n");
  Packer asks, answers;
  passes(server, program,
         "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n");
  passes(server, program,
         settings() + answers.headers(1, {{":status", "200"}}, false) + data(1, "first", true));
  passes(
      program, server,
      std::string(kPreface) + settings() + acknowledgement() + asks.headers(3, get("/more"), true));
  passes(server, program, acknowledgement() + answers.headers(3, {{":status", "404"}}, true));
  const auto flows = engine.ended(3);
  CHECK(flows[0].status == 101);
  CHECK(flows[1].url == rig::with_port("http://h.test/up", flows[1]));
  CHECK(flows[1].http_version == "2");
  CHECK(flows[1].status == 200);
  CHECK(flows[1].response_bytes == 5);
  CHECK(flows[2].url == rig::with_port("https://h.test/more", flows[2]));
  CHECK(flows[2].status == 404);
}

TEST_CASE("http2: the settings of an upgrade hold from the server's first answer on") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  passes(program, server,
         "GET /up HTTP/1.1\r\nHost: h.test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: "
         "h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n\r\n");
  passes(server, program,
         "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n");
  Packer answers{16384};
  answers.change_table(16384);
  passes(server, program, settings() + answers.headers(1, {{":status", "204"}}, true));
  const auto flow = engine.ended(2).at(1);
  CHECK(flow.status == 204);
  CHECK(flow.error == "");
}
