// What a side had said before its connection broke, through a real engine: it arrives, and then the
// reset.
#include <string>
#include <thread>

#include <sys/socket.h>

#include "tests/mitm/intercept_rig.h"
#include "tests/test.h"

using mitm::tls::SslCtxPtr;
using rig::End;
using rig::kGet;
using rig::passes;
using rig::Peer;
using rig::Rig;
using Type = test::FlatFlow::Type;

namespace {

constexpr std::size_t kMuch =
    64 << 10;  ///< more than the program takes at once, less than our kernel does
constexpr std::string_view kNoProtocol = "\x01 hello\n";

/// A program that takes little at a time.
void take_little(const Peer& peer) {
  const int bytes = 4096;
  ::setsockopt(peer.fd(), SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
}

/// As fast as it goes, until the other side has gone.
void upload(Peer& program) {
  const std::string block(64 << 10, 'x');
  while (program.try_say(block)) {
  }
}

}  // namespace

TEST_CASE("last words: the answer to an upload that the server does not want to the end") {
  const std::string_view answer =
      "HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
  const SslCtxPtr client = rig::ours().client(), origin = rig::theirs().server("h.test");
  for (const bool tls : {false, true}) {
    CAPTURE(tls);
    Rig rig{rig::trusting()};
    int told = 0;
    for (std::size_t i = 1; i <= 50; ++i) {
      auto [program, server] = rig.open();
      if (tls) REQUIRE(shake(program, client.get(), server, origin.get(), "h.test").program);
      const std::string_view head =
          "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000000\r\n\r\n";
      passes(program, server, head);
      std::thread sender{[&p = program] { upload(p); }};
      CHECK(server.hear(1000).size() == 1000);
      server.say(answer);
      server.reset();
      sender.join();
      if (program.hear(answer.size()) == answer) ++told;
      CHECK(rig.ended(i).back().status == 413);
    }
    CHECK(told == 50);
  }
}

TEST_CASE("last words: a server's reset waits for a program that is slow") {
  struct Case {
    const char* name;
    std::string_view asked;
    std::string_view answered;
    bool reset;
  };
  const Case cases[] = {
      {"raw, reset", kNoProtocol, "", true},
      {"raw, closed, and the program writes", kNoProtocol, "", false},
      {"HTTP, reset", kGet, "HTTP/1.1 200 OK\r\nContent-Length: 65536\r\n\r\n", true},
      {"HTTP, closed, and the program writes", kGet,
       "HTTP/1.1 200 OK\r\nContent-Length: 65536\r\n\r\n", false},
  };
  for (const auto& one : cases) {
    CAPTURE(one.name);
    Rig rig{rig::trusting()};
    auto [program, server] = rig.open();
    take_little(program);
    passes(program, server, one.asked);
    passes(server, program, one.answered);
    const std::string much(kMuch, 'y');
    server.say(much);
    server.wait_until_taken();
    if (one.reset) {
      server.reset();
    } else {
      server.close();
      for (int i = 0; i < 3; ++i) {
        (void)program.try_say(one.asked);
        std::this_thread::sleep_for(std::chrono::milliseconds{20});
      }
    }
    std::this_thread::sleep_for(std::chrono::milliseconds{100});
    CHECK(program.hear_all().size() == kMuch);
    if (one.reset) CHECK(program.end() == End::reset);
    program.close();
    rig.ended(1);
    CHECK(rig.idle());
  }
}
