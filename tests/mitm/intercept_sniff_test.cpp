// A program says the first words of its protocol and waits; the server answers. Whatever the words
// were taken for, both arrive, and soon.
#include <string>

#include "tests/mitm/connection_dialogue.h"
#include "tests/protocol_samples.h"
#include "tests/test.h"

using dialogue::Engine;
using dialogue::Peer;
using mitm::sniff::Protocol;
using Type = test::FlatFlow::Type;
using namespace std::string_literals;

namespace {

/// What a server says to it; any bytes, where the protocol is not one that we read.
std::string answer_to(const protocol_samples::Words& words) {
  if (words.expected == Protocol::http1) return "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
  if (words.expected == Protocol::http2) return "\x00\x00\x00\x04\x00\x00\x00\x00\x00"s;
  return "\x00\xff\x16\x03 answer to "s + words.name + "\r\n";
}

void say_byte_by_byte(Peer& peer, const std::string& bytes) {
  for (const char c : bytes) peer.say({&c, 1});
}

}  // namespace

TEST_CASE("first words: they arrive, and so does the answer") {
  auto settings = rig::trusting();
  settings.patience = {std::chrono::hours{1}, std::chrono::milliseconds{10}};
  Engine engine{settings};
  for (const bool whole : {true, false}) {
    for (const auto& words : protocol_samples::all()) {
      if (words.expected == Protocol::tls) continue;
      CAPTURE(std::string(words.name));
      CAPTURE(whole);
      auto [program, server] = engine.open();
      if (whole) {
        program.say(words.bytes);
      } else {
        say_byte_by_byte(program, words.bytes);
      }
      CHECK(engine.wait_for(server, words.bytes.size()) == words.bytes);
      const std::string answer = answer_to(words);
      server.say(answer);
      CHECK(program.hear(answer.size()) == answer);
      hang_up(program, server);
    }
  }
  CHECK(engine.idle());
  // But for TLS, and for HTTP/2 without a request.
  for (const auto& flow : engine.ended(2 * (protocol_samples::all().size() - 5))) {
    CHECK((flow.type == Type::tcp || flow.type == Type::http || flow.type == Type::dns));
    CHECK(flow.error == "");
  }
}

TEST_CASE("first words: behind those of a server that speaks first, nothing is guessed") {
  Engine engine{rig::trusting()};
  for (const auto& words : protocol_samples::all()) {
    CAPTURE(std::string(words.name));
    auto [program, server] = engine.open();
    server.say("hello, who is there?\n");
    CHECK(program.hear(21) == "hello, who is there?\n");
    program.say(words.bytes);
    CHECK(server.hear(words.bytes.size()) == words.bytes);
    server.say("goodbye");
    CHECK(program.hear(7) == "goodbye");
    hang_up(program, server);
  }
  for (const auto& flow : engine.ended(protocol_samples::all().size()))
    CHECK(flow.type == Type::tcp);
}

TEST_CASE("first words: a server that answers half a word is heard") {
  Engine engine{rig::trusting()};
  for (const auto& words : protocol_samples::all()) {
    CAPTURE(std::string(words.name));
    auto [program, server] = engine.open();
    const auto half = words.bytes.substr(0, (words.bytes.size() + 1) / 2);
    program.say(half);
    server.say("an answer too early");
    // A request that is known to be one has its answers read.
    const auto heard =
        mitm::sniff::inspect(half).protocol == Protocol::http1 ? ""s : program.hear(19);
    CHECK((heard.empty() || heard == "an answer too early"));
    program.close();
    server.hear_all();
    server.close();
  }
  CHECK(engine.idle());
}

TEST_CASE("first words: a hello byte by byte or in fragments is answered with our own") {
  Engine engine{rig::trusting()};
  int hellos = 0;
  for (const auto& words : protocol_samples::all()) {
    if (words.expected != Protocol::tls) continue;
    for (const std::size_t piece : {1, 50, 0}) {
      CAPTURE(std::string(words.name));
      CAPTURE(piece);
      auto [program, server] = engine.open();
      say_byte_by_byte(
          program, piece == 0 ? words.bytes : protocol_samples::in_fragments(words.bytes, piece));
      const std::string head = server.hear(6);
      CHECK(head.substr(0, 2) == "\x16\x03");
      CHECK(head[5] == 1);
      server.say("\x15\x03\x01\x00\x02\x02\x28"s);  // handshake_failure
      server.close();
      CHECK(program.hear(1) != "");  // an alert, or the way to a page
      program.close();
      ++hellos;
    }
  }
  CHECK(hellos == 12);
  for (const auto& flow : engine.ended(12)) CHECK(flow.error != "");
}
