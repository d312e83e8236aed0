// What a gate is asked over HTTP/2, and what follows from its answers.
#include <optional>
#include <string>
#include <vector>

#include "mitm/intercept/session/editing.h"
#include "tests/mitm/http2_gate_talk.h"

using namespace gated;
using mitm::flow::Direction;
using mitm::intercept::Decision;
using mitm::intercept::Stage;
using mitm::intercept::Transaction;
using test::TestGate;

TEST_CASE("http2 gate: what it passes goes on byte for byte") {
  TestGate gate;
  Engine engine{rig::trusting(), {}, false, gate};
  dialogue::Http2Dialogue talk{engine};
  for (std::uint32_t stream = 1; stream < 8; stream += 2) {
    const auto head = talk.asks.headers(stream, post("/" + std::to_string(stream)), false);
    passes(talk.program, talk.server, head + data(stream, "hello", false));
    passes(talk.program, talk.server,
           frame(NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM | NGHTTP2_FLAG_PADDED, stream,
                 std::string("\2!", 2) + std::string(2, '\0')));
    const auto early = talk.answers.headers(stream, {{":status", "103"}}, false);
    passes(talk.server, talk.program, window(0, 9) + window(stream, 9) + early);
    const auto answer = talk.answers.headers(stream, {{":status", "200"}, {"x", "y"}}, false);
    passes(talk.server, talk.program, answer + data(stream, "yes", false));
    passes(talk.server, talk.program, talk.answers.headers(stream, {{"end", "1"}}, true));
  }
  const auto flow = engine.ended(4).at(0);
  CHECK(flow.status == 200);
  CHECK(flow.request_bytes == 6);
  CHECK_FALSE(flow.edits);
  CHECK(gate.asked.size() == 8);
}

TEST_CASE("http2 gate: whole messages that it does not change are as they were") {
  TestGate gate;
  gate.heads = Decision::whole;
  Engine engine{rig::trusting(), {}, false, gate};
  Talk talk{engine};
  talk.program.say(talk.asks.headers(1, post("/a", "5"), false) + data(1, "he", false));
  CHECK(talk.server.hears_nothing());
  CHECK(talk.at_program() == "window 0 2\nwindow 1 2\n");
  talk.program.say(data(1, "llo", true));
  CHECK(talk.at_server() == line("headers", 1,
                                 ":method: POST;:scheme: https;:authority: h.test;:path: /a;"
                                 "content-length: 5;") +
                                "data 1 hello\ndata 1 end \n");
  CHECK(talk.at_program() == "window 0 3\n");
  talk.server.say(talk.answers.headers(1, {{":status", "200"}}, false) + data(1, "yes", false));
  CHECK(talk.at_server() == "window 0 3\nwindow 1 3\n");
  CHECK(talk.program.hears_nothing());
  talk.server.say(talk.answers.headers(1, {{"grpc-status", "0"}}, true));
  CHECK(talk.at_program() ==
        "headers 1 :status: 200;\ndata 1 yes\nheaders 1 end grpc-status: 0;\n");
  CHECK(engine.ended(1).at(0).error.empty());
}

TEST_CASE("http2 gate: changes heads and bodies") {
  TestGate gate;
  gate.heads = Decision::whole;
  gate.act = [](Stage stage, Transaction& transaction) {
    if (stage == Stage::request) {
      auto& request = transaction.request();
      request.target = "/b";
      request.fields.set("X-Case", "new");
      request.fields.add("Connection", "close");  // HTTP/2 has no such field
      transaction.set_body(Direction::request, "good bye");
      transaction.note("rule 1");
    } else {
      transaction.response().status = 201;
      transaction.set_body(Direction::response, "");
    }
    return Decision::pass;
  };
  Engine engine{rig::trusting(), {}, false, gate};
  Talk talk{engine};
  talk.program.say(talk.asks.headers(1, post("/a", "5"), false) + data(1, "hello", true));
  CHECK(talk.at_server() == line("headers", 1,
                                 ":method: POST;:scheme: https;:authority: h.test;:path: /b;"
                                 "content-length: 8;x-case: new;") +
                                "data 1 good bye\ndata 1 end \n");
  talk.server.say(talk.answers.headers(1, {{":status", "200"}, {"content-encoding", "br"}}, false) +
                  data(1, "yes", true));
  CHECK(talk.at_program() == "window 0 5\nheaders 1 end :status: 201;\n");
  const auto flow = engine.ended(1).at(0);
  CHECK(flow.url == rig::with_port("https://h.test/a", flow));
  CHECK(flow.status == 200);
  REQUIRE(flow.edits);
  CHECK(flow.edits->by == std::vector<std::string>{"rule 1"});
  CHECK(flow.edits->request->target == "/b");
  CHECK(flow.edits->response->status == 201);
}

TEST_CASE("http2 gate: begins in the middle of a connection") {
  TestGate gate;
  gate.interested = false;
  Engine engine{rig::trusting(), {}, false, gate};
  Talk talk{engine};
  talk.program.say(talk.asks.headers(1, post("/old"), false) + data(1, "abc", false));
  CHECK(talk.at_server().ends_with("/old;\ndata 1 abc\n"));
  gate.interested = true;
  gate.act = [](Stage, Transaction& transaction) {
    if (transaction.flow().response.status == 0) transaction.request().fields.add("x-new", "1");
    return Decision::pass;
  };
  for (std::uint32_t stream = 3; stream < 8; stream += 2) {
    talk.program.say(talk.asks.headers(stream, get("/new"), true));
    CHECK(talk.at_server() ==
          line("headers", stream, "end " + (kGet + std::string("/new;x-new: 1;"))));
    talk.server.say(talk.answers.headers(stream, {{":status", "204"}}, true));
    CHECK(talk.at_program() == line("headers", stream, "end :status: 204;"));
  }
  talk.program.say(data(1, "def", false) + talk.asks.headers(1, {{"trailer", "1"}}, true));
  CHECK(talk.at_server() == "data 1 def\nheaders 1 end trailer: 1;\n");
  talk.server.say(talk.answers.headers(1, {{":status", "200"}}, true));
  CHECK(talk.at_program() == "headers 1 end :status: 200;\n");
  CHECK(engine.ended(4).at(3).status == 200);
}

TEST_CASE("http2 gate: a request that is held is overtaken") {
  TestGate gate;
  gate.holds = Stage::request_head;
  Engine engine{rig::trusting(), {}, false, gate};
  Talk talk{engine};
  talk.program.say(talk.asks.headers(1, post("/slow"), false) + window(1, 1000));
  talk.program.say(data(1, "abc", false));
  CHECK(talk.server.hears_nothing());
  CHECK(talk.at_program() == "window 0 3\n");
  gate.holds.reset();
  talk.program.say(talk.asks.headers(3, get("/quick"), true));
  CHECK(talk.at_server() == line("headers", 3, "end " + (kGet + std::string("/quick;"))));
  gate.resume(Decision::pass);
  engine.runner().settle();
  CHECK(talk.at_server() ==
        "headers 5 :method: POST;:scheme: https;:authority: h.test;:path: /slow;\n"
        "window 5 1000\ndata 5 abc\n");
  talk.program.say(talk.asks.headers(5, get("/later"), true) + data(1, "def", true));
  CHECK(talk.at_server() ==
        line("headers", 7, "end " + (kGet + std::string("/later;"))) + "data 5 end def\n");
  talk.server.say(window(5, 10) + talk.answers.headers(7, {{":status", "203"}}, true));
  CHECK(talk.at_program() == "window 1 10\nheaders 5 end :status: 203;\n");
  SUBCASE("all are answered") {
    talk.server.say(talk.answers.headers(5, {{":status", "201"}}, true));
    CHECK(talk.at_program() == "headers 1 end :status: 201;\n");
    talk.server.say(talk.answers.headers(3, {{":status", "202"}}, true));
    CHECK(talk.at_program() == "headers 3 end :status: 202;\n");
    const auto flows = engine.ended(3);
    CHECK(flows.at(0).status == 203);
    CHECK(flows.at(1).status == 201);
    CHECK(flows.at(2).status == 202);
  }
  SUBCASE("resets go where they belong") {
    talk.server.say(reset(5, NGHTTP2_REFUSED_STREAM));
    CHECK(talk.at_program() == "reset 1 7\n");
    talk.program.say(reset(3, NGHTTP2_CANCEL) + window(1, 5) + window(3, 5));
    CHECK(talk.at_server() == "reset 3 8\n");
    CHECK(engine.ended(3).at(2).error == "the program reset the stream: CANCEL");
  }
  SUBCASE("the last stream of a GOAWAY, too") {
    talk.server.say(frame(NGHTTP2_GOAWAY, 0, 0, number(3, 4) + number(0, 4)));
    CHECK(talk.at_program() == "goaway 3\nreset 1 7\n");
  }
}

TEST_CASE("http2 gate: a response that is held") {
  for (const Stage stage : {Stage::response_head, Stage::response}) {
    TestGate gate;
    gate.heads = Decision::whole;
    gate.holds = stage;
    Engine engine{rig::trusting(), {}, false, gate};
    Talk talk{engine};
    talk.program.say(talk.asks.headers(1, get("/"), true));
    talk.program.say(talk.asks.headers(3, get("/"), true));
    CHECK_FALSE(talk.at_server().empty());
    talk.server.say(talk.answers.headers(1, {{":status", "200"}}, false) + data(1, "abc", true));
    CHECK(talk.program.hears_nothing());
    CHECK(engine.ended(0).empty());
    gate.holds.reset();
    gate.heads = Decision::pass;
    talk.server.say(talk.answers.headers(3, {{":status", "201"}}, true));
    CHECK(talk.at_program() == "headers 3 end :status: 201;\n");
    gate.resume(Decision::pass);
    engine.runner().settle();
    CHECK(talk.at_program() == "headers 1 :status: 200;\ndata 1 abc\ndata 1 end \n");
    CHECK(engine.ended(2).at(1).error.empty());
  }
}

TEST_CASE("http2 gate: answers in place of the server") {
  TestGate gate;
  gate.act = [](Stage stage, Transaction& transaction) {
    if (stage != Stage::request_head || transaction.flow().request.method != "POST")
      return Decision::pass;
    transaction.response().status = 418;
    transaction.response().fields.add("X-Mock", "1");
    transaction.set_body(Direction::response, "short");
    transaction.note("mock");
    return Decision::answer;
  };
  Engine engine{rig::trusting(), {}, false, gate};
  Talk talk{engine};
  talk.program.say(talk.asks.headers(1, post("/"), false));
  CHECK(talk.at_program() ==
        "headers 1 :status: 418;x-mock: 1;content-length: 5;\ndata 1 short\ndata 1 end \n");
  talk.program.say(data(1, "body", true));
  CHECK(talk.at_program() == "window 0 4\n");
  CHECK(talk.server.hears_nothing());
  const auto flow = engine.ended(1).at(0);
  CHECK(flow.status == 418);
  CHECK(flow.request_bytes == 4);
  REQUIRE(flow.edits);
  CHECK(flow.edits->answered);
  talk.program.say(talk.asks.headers(3, get("/"), true));
  CHECK(talk.at_server() == line("headers", 3, "end " + (kGet + std::string("/;"))));
  talk.server.say(talk.answers.headers(3, {{":status", "200"}, {"x", "y"}}, true));
  CHECK(talk.at_program() == "headers 3 end :status: 200;x: y;\n");
}

TEST_CASE("http2 gate: an answer waits for the server's SETTINGS") {
  TestGate gate;
  gate.act = [](Stage, Transaction& transaction) {
    transaction.response().status = 204;
    return Decision::answer;
  };
  Engine engine{rig::trusting(), {}, false, gate};
  auto [program, server] = engine.open();
  Packer asks;
  Transcript by_program, by_server;
  program.say(std::string(kPreface) + settings() + asks.headers(1, get("/"), true));
  CHECK(by_program.read(server.hear(1 << 20)) == "settings\n");
  CHECK(program.hears_nothing());
  server.say(settings({{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 1}}) + acknowledgement());
  CHECK(by_server.read(program.hear(1 << 20)) ==
        "settings\nheaders 1 end :status: 204;\nsettings acknowledged\n");
}

TEST_CASE("http2 gate: resets a stream, and others go on") {
  TestGate gate;
  std::optional<Stage> at;
  gate.act = [&](Stage stage, Transaction& transaction) {
    if (stage != at || transaction.flow().request.target == "/good") return Decision::pass;
    transaction.note("rule 7");
    return Decision::reset;
  };
  Engine engine{rig::trusting(), {}, false, gate};
  Talk talk{engine};
  at = Stage::request_head;
  talk.program.say(talk.asks.headers(1, post("/"), false) + data(1, "x", true));
  CHECK(talk.at_program() == "reset 1 2\nwindow 0 1\n");
  CHECK(talk.server.hears_nothing());
  CHECK(engine.ended(1).at(0).error == "reset by rule 7");
  at = Stage::response_head;
  talk.program.say(talk.asks.headers(3, get("/"), true));
  talk.program.say(talk.asks.headers(5, get("/good"), true));
  (void)talk.at_server();
  talk.server.say(talk.answers.headers(3, {{":status", "200"}}, false) + data(3, "abc", true));
  CHECK(talk.at_program() == "reset 3 2\n");
  CHECK(talk.at_server() == "reset 3 8\nwindow 0 3\n");
  talk.server.say(talk.answers.headers(5, {{":status", "204"}}, true));
  CHECK(talk.at_program() == "headers 5 end :status: 204;\n");
  CHECK(engine.ended(3).at(1).error == "reset by rule 7");
}

TEST_CASE("http2 gate: fields that are never indexed, and priorities, stay so") {
  TestGate gate;
  gate.act = [](Stage stage, Transaction& transaction) {
    if (stage == Stage::request_head) transaction.request().fields.set("x-new", "1");
    return Decision::pass;
  };
  Engine engine{rig::trusting(), {}, false, gate};
  Talk talk{engine};
  const std::string secret = std::string("\x10\x06secret\x03", 9) + "abc";
  const std::string block = talk.asks.pack(get("/")) + secret;
  const std::string priority = number(0x80000000U, 4) + "\x0f";
  talk.program.say(frame(NGHTTP2_HEADERS,
                         NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_END_STREAM | NGHTTP2_FLAG_PRIORITY,
                         1, priority + block));
  const std::string said = talk.server.hear(1 << 20);
  CHECK(said.substr(9, 5) == priority);
  CHECK(talk.by_program.read(said) ==
        line("headers", 1, "end " + (kGet + std::string("/;secret!: abc;x-new: 1;"))));
}

TEST_CASE("http2 gate: who waits for 100-continue is told to go on") {
  TestGate gate;
  gate.heads = Decision::whole;
  Engine engine{rig::trusting(), {}, false, gate};
  Talk talk{engine};
  List head = post("/");
  head.emplace_back("expect", "100-continue");
  talk.program.say(talk.asks.headers(1, head, false));
  CHECK(talk.at_program() == "headers 1 :status: 100;\n");
  CHECK(talk.server.hears_nothing());
  talk.program.say(data(1, "ab", true));
  CHECK(talk.at_server().ends_with("data 1 ab\ndata 1 end \n"));
  (void)talk.at_program();
  talk.server.say(talk.answers.headers(1, {{":status", "100"}}, false));  // for the same
  CHECK(talk.program.hears_nothing());
  talk.server.say(talk.answers.headers(1, {{":status", "204"}}, true));
  CHECK(talk.at_program() == "headers 1 end :status: 204;\n");
}

TEST_CASE("http2 gate: frames may come in any pieces") {
  TestGate gate;
  gate.heads = Decision::whole;
  Engine engine{rig::trusting(), {}, false, gate};
  Talk talk{engine};
  const std::string asks = talk.asks.headers(1, post("/a"), false) + data(1, "hello", true);
  for (const char byte : asks) talk.program.say(std::string(1, byte));
  CHECK(talk.at_server().ends_with("data 1 hello\ndata 1 end \n"));
  const std::string answers =
      talk.answers.headers(1, {{":status", "200"}}, false) + data(1, "yes", true);
  (void)talk.at_program();
  for (const char byte : answers) talk.server.say(std::string(1, byte));
  CHECK(talk.at_program() == "headers 1 :status: 200;\ndata 1 yes\ndata 1 end \n");
}

TEST_CASE("http2 gate: a status that has no body takes it away, and one that has one brings it") {
  TestGate gate;
  int status = 204;
  gate.act = [&](Stage stage, Transaction& transaction) {
    if (stage == Stage::response_head || stage == Stage::response)
      transaction.response().status = status;
    return Decision::pass;
  };
  SUBCASE("head by head") {}
  SUBCASE("as a whole") {
    gate.heads = Decision::whole;
  }
  Engine engine{rig::trusting(), {}, false, gate};
  Talk talk{engine};
  talk.program.say(talk.asks.headers(1, get("/"), true));
  (void)talk.at_server();
  const std::string head =
      talk.answers.headers(1, {{":status", "200"}, {"content-length", "5"}, {"x", "y"}}, false);
  talk.server.say(head + data(1, "hel", false));
  talk.server.say(data(1, "lo", true));
  CHECK(talk.at_program() == "headers 1 end :status: 204;x: y;\n");
  CHECK(talk.at_server().starts_with("window 0 3\n"));
  status = 200;
  talk.program.say(talk.asks.headers(3, get("/"), true));
  talk.server.say(talk.answers.headers(3, {{":status", "304"}, {"content-length", "5"}}, true));
  CHECK(talk.at_program() == "headers 3 end :status: 200;content-length: 0;\n");
  CHECK(engine.ended(2).at(0).status == 200);
}

TEST_CASE("http2 gate: a table that shrinks while a head is held") {
  TestGate gate;
  gate.holds = Stage::request_head;
  Engine engine{rig::trusting(), {}, false, gate};
  Talk talk{engine};
  talk.program.say(talk.asks.headers(1, get("/some/long/path"), true));
  talk.server.say(settings({{NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, 0}}));
  CHECK(talk.at_program() == "settings\n");
  talk.program.say(acknowledgement());
  CHECK(talk.at_server() == "settings acknowledged\n");
  Transcript server{0};
  gate.resume(Decision::pass);
  engine.runner().settle();
  CHECK(server.read(talk.server.hear(1000)) ==
        line("headers", 1, "end " + (kGet + std::string("/some/long/path;"))));
}
