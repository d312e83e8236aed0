// Ends of plain HTTP/1 connections that take a kernel; the others are dialogues
// (http1_session_test).
#include <chrono>
#include <string>
#include <thread>

#include <sys/socket.h>

#include "tests/mitm/intercept_rig.h"
#include "tests/test.h"

using rig::End;
using rig::kGet;
using rig::kOk;
using rig::passes;
using rig::Peer;
using rig::Rig;
using Type = test::FlatFlow::Type;

TEST_CASE("http: half a head and an end reach the server at once, and so does its answer") {
  for (const std::string_view half :
       {"GET / HT", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: h", "\x16\x03\x01"}) {
    CAPTURE(half);
    const std::string_view bad = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
    Rig rig{rig::trusting()};
    auto [program, server] = rig.open();
    const auto began = std::chrono::steady_clock::now();
    program.say(half);
    program.finish();
    CHECK(server.hear_all() == half);
    server.say(bad);
    server.finish();
    CHECK(program.hear_all() == bad);
    CHECK(std::chrono::steady_clock::now() - began <
          std::chrono::seconds{3});  // not the 5 that half a hello gets
    const auto flow = rig.ended(1).at(0);
    if (flow.type == Type::http) CHECK(flow.status == 400);
    if (flow.type == Type::http)
      CHECK(flow.error == "the program closed the connection in the middle of its request");
    CHECK(rig.idle());
  }
}

TEST_CASE("http: a reset of the program is noticed while nobody reads from it") {
  Rig rig{rig::trusting()};
  auto [program, server] = rig.open();
  program.say("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000000\r\n\r\n");
  std::string block(1 << 20, 'x');
  timeval soon{0, 300'000};
  ::setsockopt(program.fd(), SOL_SOCKET, SO_SNDTIMEO, &soon, sizeof soon);
  while (program.try_say(block)) {
  }  // the server does not read: every buffer on the way is full now
  program.reset();
  CHECK(rig.ended(1).at(0).error.find("the program: ") == 0);
  CHECK(rig.idle());
}
