// Ends of plain HTTP/1 connections that take a kernel; the others are dialogues
// (http1_session_test).
#include <chrono>
#include <string>

#include <sys/socket.h>

#include "divert/worker/send_queue.h"
#include "tests/mitm/intercept_rig.h"
#include "tests/test.h"

using rig::Rig;

TEST_CASE("http: a reset of the program is noticed while nobody reads from it") {
  Rig rig{rig::trusting()};
  rig.take_little_at_once();
  auto [program, server] = rig.open();
  program.say("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000000\r\n\r\n");
  const std::string block(1 << 20, 'x');
  const timeval soon{0, 300'000};
  ::setsockopt(program.fd(), SOL_SOCKET, SO_SNDTIMEO, &soon, sizeof soon);
  while (program.try_say(block)) {
  }  // the server does not read: every buffer on the way is full now
  const auto began = std::chrono::steady_clock::now();
  program.reset();
  CHECK(rig.ended(1).at(0).error.find("the program: ") == 0);
  CHECK(rig.idle());
  // What the server takes none of is given up once.
  CHECK(std::chrono::steady_clock::now() - began < 2 * divert::kDeliveryTimeout);
}
