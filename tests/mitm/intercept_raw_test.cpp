// Connections that are neither TLS nor HTTP.
#include <chrono>
#include <string>

#include "tests/mitm/connection_dialogue.h"
#include "tests/test.h"

using dialogue::Engine;
using dialogue::Peer;
using rig::End;
using Type = test::FlatFlow::Type;

TEST_CASE("raw: a server that speaks first is heard at once") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  passes(server, program, "220 mail.test ESMTP\r\n");
  passes(program, server, "EHLO me\r\n");
  server.close();
  CHECK(program.hear_all() == "");
  CHECK(program.end() == End::fin);
  program.close();
  const auto flow = engine.ended(1).at(0);
  CHECK(flow.type == Type::tcp);
  CHECK(flow.request_bytes == 9);
  CHECK(flow.response_bytes == 21);
  CHECK(engine.started(1).at(0).id == flow.id);
}

TEST_CASE("raw: a program that has begun a hello does not keep the server from speaking") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  program.say("\x16\x03");
  passes(server, program, "banner");
  CHECK(server.hear(2) == "\x16\x03");
}

TEST_CASE("raw: a hello that never becomes whole is passed on after a while") {
  auto settings = rig::trusting();
  settings.patience.begun = std::chrono::milliseconds{20};
  Engine engine{settings};
  auto [program, server] = engine.open();
  program.say({"\x16\x03\x01", 3});
  CHECK(server.hears_nothing());
  CHECK(engine.wait_for(server, 3) == std::string("\x16\x03\x01"));
  program.close();
  server.hear_all();
  CHECK(server.end() == End::fin);
}

TEST_CASE("raw: half-close and reset are passed on in both directions") {
  for (const bool by_server : {true, false}) {
    for (const bool reset : {true, false}) {
      Engine engine{rig::trusting()};
      auto [program, server] = engine.open();
      passes(program, server, "\x01 hello\n");
      Peer& one = by_server ? server : program;
      Peer& other = by_server ? program : server;
      if (reset) {
        one.reset();
        other.hear_all();
        CHECK(other.end() == End::reset);
      } else {
        one.finish();
        CHECK(other.hear_all() == "");
        CHECK(other.end() == End::fin);
        passes(other, one, "still here");
        other.close();
        CHECK(one.hear_all() == "");
      }
      CHECK(engine.ended(1).at(0).error.empty() == !reset);
    }
  }
}

TEST_CASE("raw: a connection on which nobody speaks ends with either side") {
  for (const bool by_server : {true, false}) {
    Engine engine{rig::trusting()};
    auto [program, server] = engine.open();
    Peer& one = by_server ? server : program;
    Peer& other = by_server ? program : server;
    one.close();
    CHECK(other.hear_all() == "");
    CHECK(other.end() == End::fin);
    other.close();
    CHECK(engine.ended(1).at(0).type == Type::tcp);
  }
}
