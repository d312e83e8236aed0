// HTTP/2 that is not passed on, or of which too much would have to be remembered.
#include "mitm/intercept/session/http2_session.h"
#include "tests/mitm/http2_dialogue.h"
#include "tests/mitm/http2_frames.h"
#include "tests/test.h"

using namespace frames;
using dialogue::Engine;
using rig::End;
using Talk = dialogue::Http2Dialogue;

TEST_CASE("http2: what is not HTTP/2 is not passed on") {
  Engine engine{rig::trusting()};
  Talk talk{engine};
  SUBCASE("with a stream open") {
    passes(talk.program, talk.server, talk.asks.headers(1, get("/"), true));
    talk.server.say(frame(NGHTTP2_HEADERS, 4, 1, std::string(9, '\xff')));
    CHECK(talk.program.hear_all() == "");
    CHECK(engine.ended(1).at(0).error ==
          "the server does not speak HTTP/2 as it should: a header block that cannot be "
          "decompressed");
  }
  SUBCASE("with none") {
    talk.program.say(data(0, "x", false));
    CHECK(talk.server.hear_all() == "");
    CHECK(engine.ended(1).at(0).error ==
          "the program does not speak HTTP/2 as it should: DATA without a stream");
  }
  SUBCASE("too many streams at once") {
    std::string many;
    for (std::uint32_t i = 0; i <= 4096; ++i) many += talk.asks.headers(1 + 2 * i, get("/"), false);
    (void)talk.program.try_say(many);
    (void)talk.server.hear_all();
    const auto flows = engine.ended(4096);
    CHECK(flows.size() == 4096);
    CHECK(flows[0].error ==
          "the program does not speak HTTP/2 as it should: too many streams at once");
  }
  CHECK(engine.idle());
}

TEST_CASE("http2: a head, and trailers that end the stream: anything more ends the connection") {
  const std::string few = "headers after the head that do not end the stream";
  const std::string late = "headers on a stream that it has ended";
  Engine engine{rig::trusting()};
  Talk talk{engine};
  passes(talk.program, talk.server, talk.asks.headers(1, get("/"), false));
  std::string error = "the server does not speak HTTP/2 as it should: ";
  SUBCASE("of the program, not ending it") {
    error = "the program does not speak HTTP/2 as it should: " + few;
    talk.program.say(talk.asks.headers(1, {{"a", "b"}}, false));
  }
  SUBCASE("of the program, after its end") {
    error = "the program does not speak HTTP/2 as it should: " + late;
    passes(talk.program, talk.server, talk.asks.headers(1, {{"a", "b"}}, true));
    talk.program.say(talk.asks.headers(1, {{"c", "d"}}, true));
  }
  SUBCASE("of the server, not ending it") {
    error += few;
    for (int i = 0; i < 3; ++i)
      passes(talk.server, talk.program,
             talk.answers.headers(1, {{":status", "103"}, {"link", "</x>"}}, false));
    passes(talk.server, talk.program, talk.answers.headers(1, {{":status", "200"}}, false));
    talk.server.say(talk.answers.headers(1, {{"a", "b"}}, false));
  }
  SUBCASE("of the server, after its end") {
    error += late;
    passes(talk.server, talk.program, talk.answers.headers(1, {{":status", "200"}}, true));
    talk.server.say(talk.answers.headers(1, {{"a", "b"}}, true));
  }
  CHECK(talk.program.hear_all() == "");
  const auto flows = engine.ended(1);
  CHECK(flows.size() == 1);
  CHECK(flows.at(0).error == error);
  CHECK(flows.at(0).response_trailers.empty());
}

TEST_CASE("http2: what comes late for a stream that is over begins no flow") {
  Engine engine{rig::trusting()};
  Talk talk{engine};
  passes(talk.program, talk.server, talk.asks.headers(5, get("/a"), false));
  passes(talk.server, talk.program, reset(5, NGHTTP2_REFUSED_STREAM));
  passes(talk.program, talk.server, talk.asks.headers(5, {{"checksum", "1"}}, true));
  passes(talk.program, talk.server, talk.asks.headers(3, get("/never"), true));
  passes(talk.program, talk.server, talk.asks.headers(7, get("/b"), true));
  for (const std::uint32_t stream : {5U, 3U, 7U})
    passes(talk.server, talk.program, talk.answers.headers(stream, {{":status", "204"}}, true));
  const auto flows = engine.ended(2);
  CHECK(flows.at(0).error == "the server reset the stream: REFUSED_STREAM");
  CHECK(flows.at(1).url == rig::with_port("https://h.test/b", flows.at(1)));
}

TEST_CASE("http2: what a server may make us remember is bounded") {
  // Each block is a reference to one large field, many times over.
  const std::pair<std::string, std::string> large{"x", std::string(2000, 'x')};
  Engine engine{rig::trusting()};
  std::size_t most = mitm::intercept::Http2Session::kHeldLimit / (100 * 2000);
  SUBCASE("by pushes") {
    Talk talk{engine};
    passes(talk.program, talk.server, talk.asks.headers(1, get("/"), true));
    passes(talk.server, talk.program, talk.answers.headers(1, {{":status", "200"}, large}, false));
    List pushed = get("/p");
    pushed.insert(pushed.end(), 100, large);
    std::string bomb;
    for (std::uint32_t i = 1; i <= 4000; ++i)
      bomb += frame(NGHTTP2_PUSH_PROMISE, NGHTTP2_FLAG_END_HEADERS, 1,
                    number(2 * i, 4) + talk.answers.pack(pushed));
    (void)talk.server.try_say(bomb);
    (void)talk.program.hear_all();
    CHECK(talk.program.end() == End::reset);
  }
  SUBCASE("by answers") {
    most *= 2;  // the requests are flows, too
    Talk talk{engine};
    List answer{{":status", "200"}};
    passes(talk.program, talk.server, talk.asks.headers(1, get("/"), false));
    passes(talk.server, talk.program, talk.answers.headers(1, {{":status", "200"}, large}, false));
    answer.insert(answer.end(), 100, large);
    std::string asked, bomb;
    for (std::uint32_t i = 1; i < most; ++i) {
      asked += talk.asks.headers(1 + 2 * i, get("/"), true);
      bomb += talk.answers.headers(1 + 2 * i, answer, false);
    }
    passes(talk.program, talk.server, asked);
    (void)talk.server.try_say(bomb);
    (void)talk.program.hear_all();
    CHECK(talk.program.end() == End::reset);
  }
  CHECK(engine.idle());
  const auto flows = engine.ended(1);
  CHECK(flows.size() <= most + 1);
  CHECK(
      flows.at(0).error ==
      "the server does not speak HTTP/2 as it should: more header fields at once than we can hold");
}

TEST_CASE("http2: streams that have ended are not counted among what is remembered") {
  Engine engine{rig::trusting()};
  Talk talk{engine};
  const List answer{
      {":status", "204"}, {"x", std::string(30000, 'x')}, {"y", std::string(30000, 'y')}};
  const std::size_t enough = mitm::intercept::Http2Session::kHeldLimit / 60000 + 2;
  for (std::uint32_t i = 0; i < enough; ++i) {
    passes(talk.program, talk.server, talk.asks.headers(1 + 2 * i, get("/"), true));
    passes(talk.server, talk.program, talk.answers.headers(1 + 2 * i, answer, true));
  }
  CHECK(engine.ended(enough).back().error == "");
}

TEST_CASE("http2: a push that the program does not want") {
  Engine engine{rig::trusting()};
  Talk talk{engine, {{NGHTTP2_SETTINGS_ENABLE_PUSH, 0}}};
  passes(talk.program, talk.server, talk.asks.headers(1, get("/"), true));
  talk.server.say(frame(NGHTTP2_PUSH_PROMISE, NGHTTP2_FLAG_END_HEADERS, 1,
                        number(2, 4) + talk.answers.pack(get("/style"))));
  CHECK(talk.program.hear_all() == "");
  const auto flows = engine.ended(1);
  CHECK(flows.size() == 1);
  CHECK(flows.at(0).error ==
        "the server does not speak HTTP/2 as it should: a push that is not allowed");
}
