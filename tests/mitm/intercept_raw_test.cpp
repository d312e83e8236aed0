// Connections that are neither TLS nor HTTP.
#include <chrono>
#include <string>
#include <thread>

#include "tests/mitm/intercept_rig.h"
#include "tests/test.h"

using rig::End;
using rig::passes;
using rig::Peer;
using rig::Rig;
using Type = test::FlatFlow::Type;

TEST_CASE("raw: a server that speaks first is heard at once") {
  Rig rig{rig::trusting()};
  auto [program, server] = rig.open();
  passes(server, program, "220 mail.test ESMTP\r\n");
  passes(program, server, "EHLO me\r\n");
  server.close();
  CHECK(program.hear_all() == "");
  CHECK(program.end() == End::fin);
  program.close();
  const auto flow = rig.ended(1).at(0);
  CHECK(flow.type == Type::tcp);
  CHECK(flow.request_bytes == 9);
  CHECK(flow.response_bytes == 21);
  CHECK(rig.started(1).at(0).id == flow.id);
}

TEST_CASE("raw: a program that has begun a hello does not keep the server from speaking") {
  Rig rig{rig::trusting()};
  auto [program, server] = rig.open();
  program.say("\x16\x03");
  std::this_thread::sleep_for(std::chrono::milliseconds{50});
  passes(server, program, "banner");
  CHECK(server.hear(2) == "\x16\x03");
}

TEST_CASE("raw: a hello that never becomes whole is passed on after a while") {
  Rig rig{rig::trusting()};
  auto [program, server] = rig.open();
  program.say({"\x16\x03\x01", 3});
  CHECK(server.hear(3) == std::string("\x16\x03\x01"));
  program.close();
  server.hear_all();
  CHECK(server.end() == End::fin);
}

TEST_CASE("raw: half-close and reset are passed on in both directions") {
  for (const bool by_server : {true, false}) {
    for (const bool reset : {true, false}) {
      Rig rig{rig::trusting()};
      auto [program, server] = rig.open();
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
      CHECK(rig.ended(1).at(0).error.empty() == !reset);
    }
  }
}

TEST_CASE("raw: a connection on which nobody speaks ends with either side") {
  for (const bool by_server : {true, false}) {
    Rig rig{rig::trusting()};
    auto [program, server] = rig.open();
    Peer& one = by_server ? server : program;
    Peer& other = by_server ? program : server;
    one.close();
    CHECK(other.hear_all() == "");
    CHECK(other.end() == End::fin);
    other.close();
    CHECK(rig.ended(1).at(0).type == Type::tcp);
  }
}
