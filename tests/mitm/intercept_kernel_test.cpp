// What interception leaves to the kernel: first bytes that are looked at and stay there, ends that
// are noticed while nothing is read, connections that are handed on.
#include <chrono>
#include <string>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "divert/worker/send_queue.h"
#include "tests/mitm/intercept_rig.h"
#include "tests/test.h"

using rig::End;
using rig::kGet;
using rig::kOk;
using rig::passes;
using rig::Rig;
using Type = test::FlatFlow::Type;

TEST_CASE("kernel: a head that comes byte by byte is waited for, and read once") {
  Rig rig{rig::trusting()};
  auto [program, server] = rig.open();
  const int now = 1;
  ::setsockopt(program.fd(), IPPROTO_TCP, TCP_NODELAY, &now, sizeof now);
  for (const char c : kGet) program.say({&c, 1});
  CHECK(server.hear(kGet.size()) == kGet);
  passes(server, program, kOk);
  CHECK(rig.ended(1).at(0).status == 200);
}

TEST_CASE("kernel: half a hello and an end are passed on without waiting for the rest") {
  auto settings = rig::trusting();
  settings.patience.begun = std::chrono::hours{1};
  Rig rig{settings};
  auto [program, server] = rig.open();
  program.say("\x16\x03\x01");
  program.finish();
  CHECK(server.hear_all() == "\x16\x03\x01");
  passes(server, program, "no");
  server.finish();
  CHECK(program.hear_all() == "");
  CHECK(program.end() == End::fin);
  CHECK(rig.ended(1).at(0).type == Type::tcp);
}

TEST_CASE("kernel: what was looked at is relayed when its host passes") {
  Rig rig{rig::trusting(), rig::policy_for("h.test", divert::Action::pass)};
  auto [program, server] = rig.open(rig::by_host(divert::Action::intercept, divert::Action::pass));
  passes(program, server, kGet);
  passes(server, program, kOk);
  program.finish();
  CHECK(server.hear_all() == "");
  CHECK(server.end() == End::fin);
  server.finish();
  CHECK(program.hear_all() == "");
  const auto flow = rig.ended(1).at(0);
  CHECK(flow.type == Type::pass);
  CHECK(flow.request_bytes == kGet.size());
  CHECK(flow.response_bytes == kOk.size());
}

TEST_CASE("kernel: a reset of the program is noticed while nobody reads from it") {
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
