// A program says the first words of its protocol and waits; the server answers. Whatever the words
// were taken for, both arrive, and soon.
#include <chrono>
#include <string>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "tests/mitm/intercept_rig.h"
#include "tests/protocol_samples.h"
#include "tests/test.h"

using mitm::sniff::Protocol;
using rig::Peer;
using rig::Rig;
using Type = test::FlatFlow::Type;
using namespace std::string_literals;

namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kSoon = std::chrono::seconds{3};  // less than what a hello that has begun may take

/// What a server says to it; any bytes, where the protocol is not one that we read.
std::string answer_to(const protocol_samples::Words& words) {
  if (words.expected == Protocol::http1) return "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
  if (words.expected == Protocol::http2) return "\x00\x00\x00\x04\x00\x00\x00\x00\x00"s;
  return "\x00\xff\x16\x03 answer to "s + words.name + "\r\n";
}

void say_byte_by_byte(Peer& peer, const std::string& bytes) {
  const int now = 1;
  ::setsockopt(peer.fd(), IPPROTO_TCP, TCP_NODELAY, &now, sizeof now);
  for (const char c : bytes) peer.say({&c, 1});
}

}  // namespace

TEST_CASE("first words: they arrive, and so does the answer") {
  Rig rig{rig::trusting()};
  for (const bool whole : {true, false}) {
    for (const auto& words : protocol_samples::all()) {
      if (words.expected == Protocol::tls) continue;
      CAPTURE(std::string(words.name));
      CAPTURE(whole);
      const auto began = Clock::now();
      auto [program, server] = rig.open();
      if (whole) {
        program.say(words.bytes);
      } else {
        say_byte_by_byte(program, words.bytes);
      }
      CHECK(server.hear(words.bytes.size()) == words.bytes);
      const std::string answer = answer_to(words);
      server.say(answer);
      CHECK(program.hear(answer.size()) == answer);
      CHECK(Clock::now() - began < kSoon);
      rig::hang_up(program, server);
    }
  }
  CHECK(rig.idle());
  // But for TLS, and for HTTP/2 without a request.
  for (const auto& flow : rig.ended(2 * (protocol_samples::all().size() - 5))) {
    CHECK((flow.type == Type::tcp || flow.type == Type::http || flow.type == Type::dns));
    CHECK(flow.error == "");
  }
}

TEST_CASE("first words: behind those of a server that speaks first, nothing is guessed") {
  Rig rig{rig::trusting()};
  for (const auto& words : protocol_samples::all()) {
    CAPTURE(std::string(words.name));
    auto [program, server] = rig.open();
    server.say("hello, who is there?\n");
    CHECK(program.hear(21) == "hello, who is there?\n");
    program.say(words.bytes);
    CHECK(server.hear(words.bytes.size()) == words.bytes);
    server.say("goodbye");
    CHECK(program.hear(7) == "goodbye");
    rig::hang_up(program, server);
  }
  for (const auto& flow : rig.ended(protocol_samples::all().size())) CHECK(flow.type == Type::tcp);
}

TEST_CASE("first words: a server that answers half a word is heard") {
  Rig rig{rig::trusting()};
  for (const auto& words : protocol_samples::all()) {
    CAPTURE(std::string(words.name));
    const auto began = Clock::now();
    auto [program, server] = rig.open();
    const auto half = words.bytes.substr(0, (words.bytes.size() + 1) / 2);
    program.say(half);
    server.say("an answer too early");
    // A request that is known to be one has its answers read.
    const auto heard =
        mitm::sniff::inspect(half).protocol == Protocol::http1 ? ""s : program.hear(19);
    CHECK((heard.empty() || heard == "an answer too early"));
    CHECK(Clock::now() - began < kSoon);
    program.close();
    server.hear_all();
    CHECK(Clock::now() - began < kSoon);  // it hears of the program's end, too
    server.close();
  }
  CHECK(rig.idle());
}

TEST_CASE("first words: a hello byte by byte or in fragments is answered with our own") {
  Rig rig{rig::trusting()};
  int hellos = 0;
  for (const auto& words : protocol_samples::all()) {
    if (words.expected != Protocol::tls) continue;
    for (const std::size_t piece : {1, 50, 0}) {
      CAPTURE(std::string(words.name));
      CAPTURE(piece);
      const auto began = Clock::now();
      auto [program, server] = rig.open();
      say_byte_by_byte(
          program, piece == 0 ? words.bytes : protocol_samples::in_fragments(words.bytes, piece));
      const std::string head = server.hear(6);
      CHECK(head.substr(0, 2) == "\x16\x03");
      CHECK(head[5] == 1);
      server.say("\x15\x03\x01\x00\x02\x02\x28"s);  // handshake_failure
      server.close();
      CHECK(program.hear(1) != "");  // an alert, or the way to a page
      CHECK(Clock::now() - began < kSoon);
      program.close();
      ++hellos;
    }
  }
  CHECK(hellos == 12);
  for (const auto& flow : rig.ended(12)) CHECK(flow.error != "");
}
