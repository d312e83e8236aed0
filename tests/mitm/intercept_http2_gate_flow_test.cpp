// Windows, and ends of streams and connections, where a gate holds or changes HTTP/2 messages.
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

TEST_CASE("http2 gate: an answer that is held outlives the server's wish for no more") {
  TestGate gate;
  gate.holds = Stage::response_head;
  Engine engine{rig::trusting(), {}, false, gate};
  Talk talk{engine};
  talk.program.say(talk.asks.headers(1, post("/"), false));
  (void)talk.at_server();
  talk.server.say(talk.answers.headers(1, {{":status", "413"}}, true) + reset(1, NGHTTP2_NO_ERROR));
  CHECK(talk.program.hears_nothing());
  gate.resume(Decision::pass);
  engine.runner().settle();
  CHECK(talk.at_program() == "headers 1 end :status: 413;\nreset 1 0\n");
  const auto flow = engine.ended(1).at(0);
  CHECK(flow.status == 413);
  CHECK(flow.error.empty());
}

TEST_CASE("http2 gate: a program that gives up withdraws what is held") {
  TestGate gate;
  gate.holds = Stage::request_head;
  Engine engine{rig::trusting(), {}, false, gate};
  Talk talk{engine};
  talk.program.say(talk.asks.headers(1, get("/"), true) + reset(1, NGHTTP2_CANCEL));
  CHECK(gate.withdrawals == 1);
  CHECK(talk.server.hears_nothing());
  gate.resume(Decision::pass);  // late: nothing
  engine.runner().settle();
  CHECK(talk.server.hears_nothing());
  CHECK(engine.ended(1).at(0).error == "the program reset the stream: CANCEL");
}

TEST_CASE("http2 gate: the server's end waits for an answer that is held") {
  TestGate gate;
  gate.holds = Stage::response_head;
  Engine engine{rig::trusting(), {}, false, gate};
  Talk talk{engine};
  talk.program.say(talk.asks.headers(1, get("/"), true));
  (void)talk.at_server();
  talk.server.say(talk.answers.headers(1, {{":status", "200"}}, true));
  talk.server.finish();
  CHECK(talk.program.hears_nothing());
  gate.resume(Decision::pass);
  engine.runner().settle();
  CHECK(talk.at_program() == "headers 1 end :status: 200;\n");
  CHECK(engine.ended(1).at(0).status == 200);
}

TEST_CASE("http2 gate: a longer body waits for its receiver's windows") {
  TestGate gate;
  gate.heads = Decision::whole;
  gate.act = [](Stage stage, Transaction& transaction) {
    if (stage == Stage::response)
      transaction.set_body(Direction::response, std::string(25, 'b') + "!");
    return Decision::pass;
  };
  Engine engine{rig::trusting(), {}, false, gate};
  Talk talk{engine, {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 10}}};
  talk.program.say(talk.asks.headers(1, get("/"), true));
  (void)talk.at_server();
  talk.server.say(talk.answers.headers(1, {{":status", "200"}}, false) + data(1, "12345", false));
  talk.server.say(data(1, "67890", false));  // the window that the program has given
  CHECK(talk.at_server() == "window 0 5\nwindow 1 5\nwindow 0 5\nwindow 1 5\n");
  talk.server.say(data(1, "abc", true));
  CHECK(talk.at_program() == "headers 1 :status: 200;\ndata 1 bbbbbbbbbb\n");
  CHECK(talk.at_server() == "window 0 3\n");
  SUBCASE("as it reads") {
    talk.program.say(window(1, 10));
    CHECK(talk.at_program() == "data 1 bbbbbbbbbb\n");
    CHECK(talk.server.hears_nothing());
    talk.program.say(window(1, 10));
    CHECK(talk.at_program() == "data 1 bbbbb!\ndata 1 end \n");
  }
  SUBCASE("as it says otherwise") {
    talk.program.say(settings({{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1000}}));
    CHECK(talk.at_server() == "settings\n");
    CHECK(talk.program.hears_nothing());
    talk.server.say(acknowledgement());
    CHECK(talk.at_program() == "settings acknowledged\ndata 1 bbbbbbbbbbbbbbb!\ndata 1 end \n");
  }
  CHECK(engine.ended(1).at(0).error.empty());
}

TEST_CASE("http2 gate: what a sender was allowed and its receiver is not waits") {
  TestGate gate;
  gate.heads = Decision::whole;
  Engine engine{rig::trusting(), {}, false, gate};
  // The connection's window is what is short: 65,535.
  Talk talk{engine, {}, {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1 << 20}}};
  gate.act = [](Stage stage, Transaction& transaction) {
    if (stage == Stage::request) transaction.set_body(Direction::request, std::string(65'530, 'b'));
    return Decision::pass;
  };
  talk.program.say(talk.asks.headers(1, post("/"), false) + data(1, "x", true));
  CHECK(talk.at_server().size() > 65'530);
  gate.heads = Decision::pass;
  (void)talk.at_program();
  talk.program.say(talk.asks.headers(3, post("/"), false) + data(3, "12345678", true));
  CHECK(talk.at_server() ==
        "headers 3 :method: POST;:scheme: https;:authority: h.test;:path: /;\ndata 3 12345\n");
  talk.server.say(window(0, 65'530));
  CHECK(talk.at_server() == "data 3 678\ndata 3 end \n");
  CHECK(talk.program.hears_nothing());  // it was allowed before what the server allows now
}

TEST_CASE("http2 gate: whole messages are larger than windows") {
  TestGate gate;
  gate.heads = Decision::whole;
  Engine engine{rig::trusting(), {}, false, gate};
  Talk talk{engine};
  const std::string part(16'000, 'p');
  talk.program.say(talk.asks.headers(1, post("/"), false));
  for (int i = 0; i < 20; ++i) talk.program.say(data(1, part, i == 19));
  std::string heard = talk.at_server();
  CHECK(heard.size() > 65'000);  // all that it allows
  for (int i = 0; i < 5; ++i) {
    talk.server.say(window(0, 65'535) + window(1, 65'535));
    heard += talk.at_server();
  }
  CHECK(heard.ends_with("data 1 end \n"));
  CHECK(std::ranges::count(heard, 'p') - 2 == 20 * 16'000);  // https, :path
}

TEST_CASE("http2 gate: both ends may leave while messages are gathered or wait for windows") {
  TestGate gate;
  gate.heads = Decision::whole;
  gate.act = [](Stage stage, Transaction& transaction) {
    if (stage == Stage::response) transaction.set_body(Direction::response, std::string(100, 'b'));
    return Decision::pass;
  };
  Engine engine{rig::trusting(), {}, false, gate};
  Talk talk{engine, {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 10}}};
  talk.program.say(talk.asks.headers(1, get("/"), true));
  talk.program.say(talk.asks.headers(3, post("/"), false) + data(3, "abc", false));
  (void)talk.at_server();
  talk.server.say(talk.answers.headers(1, {{":status", "200"}}, false) + data(1, "x", true));
  CHECK(talk.at_program().ends_with("data 1 bbbbbbbbbb\n"));
  SUBCASE("the program, for good") {
    talk.program.close();
    talk.server.close();
  }
  SUBCASE("the program, without a reset") {
    talk.program.finish();
    talk.server.finish();
  }
  SUBCASE("the server") {
    talk.server.finish();
    talk.program.close();
  }
  CHECK(engine.idle());
}

TEST_CASE("http2 gate: an answer larger than the program's windows goes on as they open") {
  TestGate gate;
  gate.act = [](Stage, Transaction& transaction) {
    transaction.response().status = 200;
    transaction.set_body(Direction::response, std::string(100'000, 'a'));
    return Decision::answer;
  };
  Engine engine{rig::trusting(), {}, false, gate};
  Talk talk{engine};
  talk.program.say(talk.asks.headers(1, get("/"), true));
  std::string heard = talk.at_program();
  CHECK_FALSE(heard.ends_with("end \n"));
  talk.program.say(window(0, 65'535));
  talk.program.say(window(1, 65'535));
  heard += talk.at_program();
  CHECK(heard.ends_with("end \n"));
  CHECK(talk.server.hears_nothing());
}

TEST_CASE("http2 gate: a decision within a frame does not lose the end behind it") {
  TestGate gate;
  gate.holds = Stage::request_head;
  Engine engine{rig::trusting(), {}, false, gate};
  Talk talk{engine};
  talk.program.say(talk.asks.headers(1, post("/"), false));
  const std::string last = data(1, "hello", true);
  talk.program.say(last.substr(0, 12));
  gate.resume(Decision::pass);
  engine.runner().settle();
  (void)talk.at_server();
  talk.program.say(last.substr(12));
  CHECK(talk.at_server() == "data 1 lo\ndata 1 end \n");
}

TEST_CASE("http2 gate: a body that is cut may be reset") {
  TestGate gate;
  gate.heads = Decision::whole;
  gate.act = [](Stage stage, Transaction& transaction) {
    return stage == Stage::request && transaction.is_cut(Direction::request) ? Decision::reset
                                                                             : Decision::pass;
  };
  Engine engine{rig::trusting(), {}, false, gate};
  Talk talk{engine};
  talk.program.say(talk.asks.headers(1, post("/"), false));
  std::string heard;
  for (std::size_t said = 0; said <= mitm::intercept::Editing::kLargest + 16'000; said += 16'000) {
    talk.program.say(data(1, std::string(16'000, 'p'), false));
    heard += talk.at_program();
  }
  CHECK(heard.find("reset 1 2\n") != std::string::npos);
  CHECK(talk.server.hears_nothing());
}

TEST_CASE("http2 gate: a queue does not outlive those who could take it") {
  TestGate gate;
  gate.heads = Decision::whole;
  gate.act = [](Stage, Transaction& transaction) {
    transaction.set_body(Direction::request, std::string(100'000, 'b'));
    return Decision::pass;
  };
  Engine engine{rig::trusting(), {}, false, gate};
  Talk talk{engine};
  talk.program.say(talk.asks.headers(1, post("/"), false) + data(1, "x", true));
  SUBCASE("the program leaves first") {
    talk.program.finish();
    talk.server.finish();
  }
  SUBCASE("the server leaves first") {
    talk.server.finish();
    talk.program.finish();
  }
  CHECK(engine.idle());
}
