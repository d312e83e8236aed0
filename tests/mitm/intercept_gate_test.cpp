// What a gate is asked over HTTP/1, and what follows from its answers.
#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "mitm/intercept/context/gate.h"
#include "mitm/intercept/session/editing.h"
#include "tests/mitm/connection_dialogue.h"
#include "tests/mitm/test_gate.h"
#include "tests/test.h"

using dialogue::Engine;
using mitm::flow::Direction;
using mitm::intercept::Decision;
using mitm::intercept::Gate;
using mitm::intercept::Stage;
using mitm::intercept::Transaction;
using test::TestGate;

namespace {

constexpr const char* kPost =
    "POST /a HTTP/1.1\r\nHost: h.test\r\nX-Case: Kept\r\nContent-Length: 5\r\n\r\nhello";
constexpr const char* kAnswer = "HTTP/1.1 200 Fine\r\nServer: s\r\nContent-Length: 3\r\n\r\nyes";
constexpr const char* kChunked =
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nX-End: 1\r\n\r\n";

}  // namespace

TEST_CASE("gate: what it passes goes on byte for byte") {
  for (const Decision of_heads : {Decision::pass, Decision::whole}) {
    TestGate gate;
    gate.heads = of_heads;
    Engine engine{rig::trusting(), {}, false, gate};
    auto [program, server] = engine.open();
    for (int i = 0; i < 2; ++i) {
      passes(program, server, kPost);
      passes(server, program, kAnswer);
      passes(program, server, rig::kGet);
      passes(server, program, kChunked);
    }
    const auto flows = engine.ended(4);
    CHECK(flows.at(0).status == 200);
    CHECK(flows.at(1).error.empty());
    const std::size_t stages = of_heads == Decision::whole ? 16 : 8;
    CHECK(gate.asked.size() == stages);
  }
}

TEST_CASE("gate: is not asked where it is not interested") {
  TestGate gate;
  gate.interested = false;
  Engine engine{rig::trusting(), {}, false, gate};
  auto [program, server] = engine.open();
  passes(program, server, kPost);
  passes(server, program, kAnswer);
  CHECK(gate.asked.empty());
  gate.interested = true;  // between two messages
  passes(program, server, kPost);
  passes(server, program, kAnswer);
  CHECK(gate.asked == std::vector<Stage>{Stage::request_head, Stage::response_head});
}

TEST_CASE("gate: changes heads, and the bodies pass") {
  TestGate gate;
  gate.act = [](Stage stage, Transaction& transaction) {
    if (stage == Stage::request_head) {
      auto& request = transaction.request();
      request.method = "PUT";
      request.target = "/b";
      request.fields.set("x-case", "changed");
      request.fields.remove("content-length");  // is put right
      transaction.note("rule 1");
    } else {
      auto& response = transaction.response();
      response.status = 201;
      response.reason = "Made";
      response.fields.add("X-New", "1");
    }
    return Decision::pass;
  };
  Engine engine{rig::trusting(), {}, false, gate};
  auto [program, server] = engine.open();
  program.say(kPost);
  CHECK(server.hear(1000) ==
        "PUT /b HTTP/1.1\r\nHost: h.test\r\nX-Case: changed\r\nContent-Length: 5\r\n\r\nhello");
  server.say(kChunked);
  CHECK(program.hear(1000) ==
        "HTTP/1.1 201 Made\r\nTransfer-Encoding: chunked\r\nX-New: 1\r\n\r\n"
        "3;x=y\r\nabc\r\n0\r\nX-End: 1\r\n\r\n");
  const auto flow = engine.ended(1).at(0);
  CHECK(flow.method == "POST");
  CHECK(flow.status == 200);
  REQUIRE(flow.edits);
  CHECK(flow.edits->by == std::vector<std::string>{"rule 1"});
  CHECK(flow.edits->request->method == "PUT");
  CHECK(flow.edits->response->status == 201);
}

TEST_CASE("gate: changes bodies, whose length and coding are put right") {
  TestGate gate;
  gate.heads = Decision::whole;
  gate.act = [](Stage stage, Transaction& transaction) {
    if (stage == Stage::request) {
      CHECK(transaction.body(Direction::request) == "hello");
      transaction.set_body(Direction::request, "good bye");
    }
    if (stage == Stage::response) {
      CHECK(transaction.body(Direction::response) == "abc");
      transaction.set_body(Direction::response, "x");
    }
    return Decision::pass;
  };
  Engine engine{rig::trusting(), {}, false, gate};
  auto [program, server] = engine.open();
  program.say(kPost);
  CHECK(server.hear(1000) ==
        "POST /a HTTP/1.1\r\nHost: h.test\r\nX-Case: Kept\r\nContent-Length: 8\r\n\r\ngood bye");
  server.say(
      "HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n"
      "3\r\nabc\r\n0\r\n\r\n");
  CHECK(program.hear(1000) == "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx");
}

TEST_CASE("gate: holds a request until it says, and what follows waits") {
  TestGate gate;
  gate.holds = Stage::request_head;
  Engine engine{rig::trusting(), {}, false, gate};
  auto [program, server] = engine.open();
  program.say(kPost);
  program.say(rig::kGet);
  CHECK(server.hears_nothing());
  REQUIRE(gate.held.size() == 1);
  gate.holds.reset();
  gate.resume(Decision::pass);
  engine.runner().settle();
  CHECK(server.hear(1000) == std::string(kPost) + std::string(rig::kGet));
  server.say(kAnswer);
  CHECK(program.hear(1000) == kAnswer);
}

TEST_CASE("gate: holds a response") {
  for (const Stage stage : {Stage::response_head, Stage::response}) {
    TestGate gate;
    gate.heads = Decision::whole;
    gate.holds = stage;
    Engine engine{rig::trusting(), {}, false, gate};
    auto [program, server] = engine.open();
    passes(program, server, rig::kGet);
    server.say(kChunked);
    CHECK(program.hears_nothing());
    gate.heads = Decision::pass;
    gate.resume(Decision::pass);
    engine.runner().settle();
    CHECK(program.hear(1000) == kChunked);
    CHECK(engine.ended(1).at(0).error.empty());
    gate.holds.reset();
    passes(program, server, rig::kGet);
    passes(server, program, rig::kOk);
  }
}

TEST_CASE("gate: answers in place of the server, in turn") {
  TestGate gate;
  gate.act = [](Stage stage, Transaction& transaction) {
    if (stage != Stage::request_head || transaction.flow().request.method != "POST")
      return Decision::pass;
    auto& answer = transaction.response();
    answer.status = 418;
    answer.reason = "Teapot";
    answer.fields.add("Content-Type", "text/plain");
    transaction.set_body(Direction::response, "short");
    transaction.note("mock");
    return Decision::answer;
  };
  constexpr const char* kMock =
      "HTTP/1.1 418 Teapot\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nshort";
  Engine engine{rig::trusting(), {}, false, gate};
  auto [program, server] = engine.open();
  SUBCASE("alone") {
    program.say(kPost);
    CHECK(program.hear(1000) == kMock);
    CHECK(server.hears_nothing());
    passes(program, server, rig::kGet);
    passes(server, program, rig::kOk);
    const auto flow = engine.ended(2).at(0);
    CHECK(flow.status == 418);
    REQUIRE(flow.edits);
    CHECK(flow.edits->answered);
    CHECK(flow.request_bytes == 5);
  }
  SUBCASE("behind one that the server answers") {
    program.say(std::string(rig::kGet) + kPost);
    CHECK(server.hear(1000) == rig::kGet);
    CHECK(program.hears_nothing());
    server.say(rig::kOk);
    CHECK(program.hear(1000) == std::string(rig::kOk) + kMock);
  }
  SUBCASE("a program that wants the end gets it") {
    program.say("POST / HTTP/1.1\r\nHost: h.test\r\nConnection: close\r\n\r\n");
    CHECK(program.hear_all().starts_with("HTTP/1.1 418 Teapot\r\n"));
    CHECK(program.end() == rig::End::fin);
  }
}

TEST_CASE("gate: resets") {
  TestGate gate;
  gate.act = [](Stage, Transaction& transaction) {
    transaction.note("rule 7");
    return Decision::reset;
  };
  Engine engine{rig::trusting(), {}, false, gate};
  auto [program, server] = engine.open();
  program.say(kPost);
  CHECK(program.hear_all().empty());
  CHECK(program.end() == rig::End::reset);
  CHECK(engine.ended(1).at(0).error == "reset by rule 7");
}

TEST_CASE("gate: a program that leaves while its request is held withdraws it") {
  TestGate gate;
  gate.holds = Stage::request_head;
  Engine engine{rig::trusting(), {}, false, gate};
  auto [program, server] = engine.open();
  program.say(kPost);
  program.reset();
  CHECK(gate.withdrawals == 1);
  gate.resume(Decision::pass);  // late: nothing
  CHECK(engine.idle());
}

TEST_CASE("gate: a server that leaves while a request is held can be answered for") {
  TestGate gate;
  gate.holds = Stage::request_head;
  Engine engine{rig::trusting(), {}, false, gate};
  auto [program, server] = engine.open();
  program.say(kPost);
  server.say("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n");
  server.finish();
  CHECK(program.hears_nothing());
  SUBCASE("by the gate") {
    gate.held.at(0).transaction->response().status = 200;
    gate.resume(Decision::answer);
    engine.runner().settle();
    CHECK(program.hear_all().starts_with("HTTP/1.1 200 \r\n"));
    CHECK(program.end() == rig::End::fin);
  }
  SUBCASE("not at all") {
    gate.resume(Decision::pass);
    engine.runner().settle();
    CHECK(program.hear_all().starts_with("HTTP/1.1 502 Bad Gateway\r\n"));
  }
}

TEST_CASE("gate: half a connection that is closed behind a held request stays half") {
  TestGate gate;
  gate.holds = Stage::request_head;
  Engine engine{rig::trusting(), {}, false, gate};
  auto [program, server] = engine.open();
  program.say(rig::kGet);
  program.finish();
  CHECK(server.hears_nothing());
  gate.resume(Decision::pass);
  engine.runner().settle();
  CHECK(server.hear(1000) == rig::kGet);
  server.say(rig::kOk);
  CHECK(program.hear(1000) == rig::kOk);
}

TEST_CASE("gate: who waits for 100-continue is told to go on when the whole request is wanted") {
  TestGate gate;
  gate.heads = Decision::whole;
  Engine engine{rig::trusting(), {}, false, gate};
  auto [program, server] = engine.open();
  program.say(
      "PUT / HTTP/1.1\r\nHost: h.test\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  CHECK(program.hear(1000) == "HTTP/1.1 100 Continue\r\n\r\n");
  CHECK(server.hears_nothing());
  program.say("ab");
  CHECK(server.hear(1000).ends_with("\r\n\r\nab"));
  server.say("HTTP/1.1 100 Continue\r\n\r\n");  // for the same
  CHECK(program.hears_nothing());
  passes(server, program, rig::kOk);
}

TEST_CASE("gate: a response that ends with the connection is whole then") {
  TestGate gate;
  gate.heads = Decision::whole;
  gate.act = [](Stage stage, Transaction& transaction) {
    if (stage == Stage::response) {
      CHECK(transaction.body(Direction::response) == "some more");
      transaction.set_body(Direction::response, "other");
    }
    return Decision::pass;
  };
  bool holds = false;
  SUBCASE("passed") {}
  SUBCASE("held") {
    holds = true;
  }
  if (holds) gate.holds = Stage::response;
  Engine engine{rig::trusting(), {}, false, gate};
  auto [program, server] = engine.open();
  passes(program, server, "GET / HTTP/1.0\r\n\r\n");
  server.say("HTTP/1.0 200 OK\r\n\r\nsome ");
  server.say("more");
  server.finish();
  if (holds) {
    CHECK(program.hears_nothing());
    gate.held.at(0).transaction->set_body(Direction::response, "other");
    gate.resume(Decision::pass);
    engine.runner().settle();
  }
  CHECK(program.hear_all() == "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nother");
  CHECK(program.end() == rig::End::fin);
  CHECK(engine.ended(1).at(0).error.empty());
}

TEST_CASE("gate: what is too large to be held passes, with the head that the gate makes of it") {
  TestGate gate;
  gate.heads = Decision::whole;
  gate.act = [](Stage, Transaction& transaction) {
    CHECK(transaction.is_cut(Direction::request));
    CHECK(transaction.body(Direction::request).empty());
    transaction.request().fields.add("X-Long", "1");
    return Decision::pass;
  };
  Engine engine{rig::trusting(), {}, false, gate};
  auto [program, server] = engine.open();
  const std::size_t size = mitm::intercept::Editing::kLargest + 100;
  program.say(fmt::format("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", size));
  const std::string part(1 << 20, 'p');
  std::string heard;
  for (std::size_t said = 0; said < size; said += part.size()) {
    program.say(std::string_view(part).substr(0, size - said));
    heard += server.hear(1 << 25);
  }
  const std::string head =
      fmt::format("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\nX-Long: 1\r\n\r\n", size);
  CHECK(heard.size() == head.size() + size);
  CHECK(heard.starts_with(head));
  CHECK(gate.asked == std::vector<Stage>{Stage::request_head, Stage::request});
}

TEST_CASE("gate: a status that has no body takes it away, and one that has one brings it") {
  TestGate gate;
  int status = 0;
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
  auto [program, server] = engine.open();
  for (int i = 0; i < 2; ++i) {
    status = 204;
    passes(program, server, rig::kGet);
    server.say("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel");
    server.say("lo");
    CHECK(program.hear(1000) == "HTTP/1.1 204 OK\r\n\r\n");
    status = 200;
    passes(program, server, rig::kGet);
    server.say("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n");
    CHECK(program.hear(1000) == "HTTP/1.1 200 Not Modified\r\nContent-Length: 0\r\n\r\n");
  }
  CHECK(engine.ended(4).at(3).error.empty());
}

TEST_CASE("gate: what others know of a flow does not change behind them") {
  Transaction transaction(std::make_shared<mitm::flow::HttpFlow>());
  transaction.note("one");
  const auto known = transaction.edits();
  transaction.note("two");
  CHECK(known->by == std::vector<std::string>{"one"});
  CHECK(transaction.edits()->by == std::vector<std::string>{"one", "two"});
}

TEST_CASE("gate: who waits for 100-continue is told to go on in any request") {
  TestGate gate;
  gate.heads = Decision::whole;
  Engine engine{rig::trusting(), {}, false, gate};
  auto [program, server] = engine.open();
  passes(program, server, rig::kGet);
  passes(server, program, rig::kOk);
  program.say(
      "PUT / HTTP/1.1\r\nHost: h.test\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  CHECK(program.hear(1000) == "HTTP/1.1 100 Continue\r\n\r\n");
}

TEST_CASE("gate: a program that leaves in the middle of a request that is gathered") {
  TestGate gate;
  gate.heads = Decision::whole;
  Engine engine{rig::trusting(), {}, false, gate};
  auto [program, server] = engine.open();
  program.say("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc");
  program.finish();
  server.finish();
  CHECK(engine.idle());
  CHECK(engine.ended(1).at(0).error.find("the program") != std::string::npos);
}

TEST_CASE("gate: an answer reaches the program when the server has gone before") {
  TestGate gate;
  gate.heads = Decision::whole;
  gate.act = [](Stage, Transaction& transaction) {
    transaction.response().status = 204;
    return Decision::answer;
  };
  Engine engine{rig::trusting(), {}, false, gate};
  auto [program, server] = engine.open();
  program.say("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab");
  server.finish();
  program.say("cd");
  CHECK(program.hear_all() == "HTTP/1.1 204 \r\n\r\n");
}

TEST_CASE("gate: what the server breaks off passes as far as it has come") {
  TestGate gate;
  gate.heads = Decision::whole;
  gate.act = [](Stage stage, Transaction& transaction) {
    if (stage == Stage::response) {
      CHECK(transaction.is_cut(Direction::response));
      transaction.response().fields.set("X-Seen", "1");
    }
    return Decision::pass;
  };
  Engine engine{rig::trusting(), {}, false, gate};
  auto [program, server] = engine.open();
  passes(program, server, rig::kGet);
  server.say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc");
  server.finish();
  CHECK(program.hear_all() == "HTTP/1.1 200 OK\r\nContent-Length: 100\r\nX-Seen: 1\r\n\r\nabc");
  CHECK_FALSE(engine.ended(1).at(0).error.empty());
}

TEST_CASE("gate: a reset at the end of the connection") {
  TestGate gate;
  gate.heads = Decision::whole;
  gate.act = [](Stage stage, Transaction&) {
    return stage == Stage::response ? Decision::reset : Decision::pass;
  };
  Engine engine{rig::trusting(), {}, false, gate};
  auto [program, server] = engine.open();
  passes(program, server, rig::kGet);
  server.say("HTTP/1.1 200 OK\r\n\r\nbody");
  server.finish();
  CHECK(program.hear_all().empty());
  CHECK(program.end() == rig::End::reset);
  CHECK(gate.withdrawals == 0);
}

TEST_CASE("gate: an answer that is not HTTP passes") {
  TestGate gate;
  gate.act = [](Stage stage, Transaction& transaction) {
    if (stage == Stage::response_head) transaction.response().fields.set("X-Seen", "1");
    return Decision::pass;
  };
  Engine engine{rig::trusting(), {}, false, gate};
  auto [program, server] = engine.open();
  passes(program, server, rig::kGet);
  passes(server, program, "SSH-2.0-x\r\n");
}

TEST_CASE("gate: a request to switch protocols is sent when it is decided") {
  TestGate gate;
  gate.heads = Decision::whole;
  gate.holds = Stage::request;
  Engine engine{rig::trusting(), {}, false, gate};
  auto [program, server] = engine.open();
  constexpr const char* kUpgrade =
      "GET /chat HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
      "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
  program.say(kUpgrade);
  CHECK(server.hears_nothing());
  gate.resume(Decision::pass);
  engine.runner().settle();
  CHECK(server.hear(1000) == kUpgrade);
}

TEST_CASE("gate: what delimits a body cannot be doubled") {
  TestGate gate;
  gate.act = [](Stage stage, Transaction& transaction) {
    if (stage == Stage::request_head) transaction.request().fields.add("Content-Length", "7");
    return Decision::pass;
  };
  Engine engine{rig::trusting(), {}, false, gate};
  auto [program, server] = engine.open();
  program.say(kPost);
  CHECK(server.hear(1000) ==
        "POST /a HTTP/1.1\r\nHost: h.test\r\nX-Case: Kept\r\nContent-Length: 5\r\n\r\nhello");
}
