// Answers that only the end of the connection ends: the program may speak on, in a protocol of its
// own (docker attach), and both are heard until both have ended.
#include <string>

#include "tests/mitm/connection_dialogue.h"
#include "tests/test.h"

using dialogue::Engine;
using dialogue::Peer;
using rig::End;

namespace {

constexpr std::string_view kAttach =
    "POST /containers/c/attach?stdin=1 HTTP/1.1\r\nHost: docker\r\nContent-Length: 0\r\n\r\n";
/// As Docker's own client asks; servers before API 1.21 answer with 200 all the same.
constexpr std::string_view kUpgrade =
    "POST /containers/c/attach?stdin=1 HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\n"
    "Upgrade: tcp\r\n"
    "Content-Length: 0\r\n\r\n";
constexpr std::string_view kStream =
    "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n";

/// What a reader of HTTP would hold or refuse.
constexpr std::string_view kLines[] = {
    "ls\n", "GET / HTTP/1.1\r\nHost", "\r\n\r\n",
    "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"};

std::string attach(Peer& program, Peer& server, std::string_view request) {
  passes(program, server, request);
  passes(server, program, kStream);
  std::string said;
  for (const auto line : kLines) {
    passes(program, server, line);
    passes(server, program, "heard\n");
    said += line;
  }
  return said;
}

}  // namespace

TEST_CASE("lasting: what the program says while it is answered goes to the server") {
  for (const auto request : {kAttach, kUpgrade}) {
    Engine engine{rig::trusting()};
    auto [program, server] = engine.open();
    const std::string said = attach(program, server, request);
    CHECK(engine.started(1).at(0).status == 200);
    CHECK(engine.ended(0).empty());
    program.finish();
    CHECK(server.hear_all() == "");
    CHECK(server.end() == End::fin);
    passes(server, program, "bye\n");
    server.finish();
    CHECK(program.hear_all() == "");
    CHECK(program.end() == End::fin);
    const auto flow = engine.ended(1).at(0);
    CHECK(flow.status == 200);
    CHECK(flow.error == "");
    CHECK(flow.request_bytes == said.size());
    CHECK(flow.request_body == said);
    CHECK(flow.response_body == "heard\nheard\nheard\nheard\nbye\n");
    CHECK(engine.started(0).size() == 1);
    CHECK(engine.idle());
  }
}

TEST_CASE("lasting: a server that has ended its direction still hears the program") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  const std::string said = attach(program, server, kAttach);
  server.finish();
  CHECK(program.hear_all() == "");
  CHECK(program.end() == End::fin);
  passes(program, server, "exit\n");
  program.finish();
  CHECK(server.hear_all() == "");
  CHECK(server.end() == End::fin);
  const auto flow = engine.ended(1).at(0);
  CHECK(flow.error == "");
  CHECK(flow.request_bytes == said.size() + 5);
  CHECK(engine.idle());
}

TEST_CASE("lasting: what was held goes on as soon as the answer begins") {
  for (const auto request : {kAttach, kUpgrade}) {
    Engine engine{rig::trusting()};
    auto [program, server] = engine.open();
    program.say(std::string(request) + "stdin without");
    CHECK(server.hear(request.size()) == request);
    CHECK(server.hears_nothing());
    passes(server, program, kStream);
    CHECK(server.hear(13) == "stdin without");
    passes(program, server, " an end");
    server.finish();
    program.finish();
    CHECK(program.hear_all() == "");
    CHECK(server.hear_all() == "");
    CHECK(engine.ended(1).at(0).request_body == "stdin without an end");
  }
}

TEST_CASE("lasting: inside TLS, and a reset in the middle") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  const auto client = rig::ours().client(), origin = rig::theirs().server("docker");
  REQUIRE(shake(program, client.get(), server, origin.get(), "docker").program);
  attach(program, server, kAttach);
  server.reset();
  program.hear_all();
  CHECK(program.end() == End::reset);
  const auto flow = engine.ended(1).at(0);
  CHECK(flow.status == 200);
  CHECK(flow.error.starts_with("the server: "));
}

TEST_CASE("lasting: an answer of known length is followed by the next request") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  passes(program, server, rig::kGet);
  passes(server, program, rig::kOk);
  program.say("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n");
  CHECK(program.hear_all().starts_with("HTTP/1.1 400"));
  CHECK(server.hear_all() == "");
}

TEST_CASE("lasting: SHOUTcast, and what is not HTTP at all, reach the program") {
  struct Case {
    std::string_view answer;
    int status;
    std::string_view error;
    std::string_view body;
  };
  for (const auto& [answer, status, error, body] :
       {Case{"ICY 200 OK\r\nicy-name: radio\r\nContent-Length: 1\r\n\r\nmusic", 200, "", "music"},
        Case{"+OK POP3 ready\r\n", 0, "the server's answer is not HTTP", "+OK POP3 ready\r\n"}}) {
    CAPTURE(answer);
    Engine engine{rig::trusting()};
    auto [program, server] = engine.open();
    passes(program, server, rig::kGet);
    passes(server, program, answer);
    server.close();
    CHECK(program.hear_all() == "");
    CHECK(program.end() == End::fin);
    const auto flow = engine.ended(1).at(0);
    CHECK(flow.status == status);
    CHECK(flow.error == error);
    CHECK(flow.response_body == body);
  }
}
