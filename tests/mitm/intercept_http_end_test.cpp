// How connections of plain HTTP/1 end, in any phase and by either side: what the other one sees,
// and what is reported.
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

TEST_CASE("http: a server's answer to half a head is passed on, and is a flow") {
  const std::string_view late =
      "HTTP/1.1 408 Request Time-out\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
  Rig rig{rig::trusting()};
  auto [program, server] = rig.open();
  program.say("GET / HTTP/1.1\r\nHost: h");
  std::this_thread::sleep_for(std::chrono::milliseconds{100});
  server.say(late);
  server.finish();
  CHECK(program.hear_all() == late);
  CHECK(program.end() == End::fin);
  const auto flow = rig.ended(1).at(0);
  CHECK(flow.status == 408);
  CHECK(flow.error == "the server answered before the head of the request was complete");
  program.close();
  CHECK(rig.idle());
}

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

TEST_CASE("http: an idle connection that the server closes is closed for the program") {
  Rig rig{rig::trusting()};
  auto [program, server] = rig.open();
  passes(program, server, kGet);
  passes(server, program, kOk);
  server.close();
  CHECK(program.hear_all() == "");
  CHECK(program.end() == End::fin);
  CHECK(rig.idle());
}

TEST_CASE("http: an idle connection that the program closes is closed for the server") {
  Rig rig{rig::trusting()};
  auto [program, server] = rig.open();
  passes(program, server, kGet);
  passes(server, program, kOk);
  program.close();
  CHECK(server.hear_all() == "");
  CHECK(server.end() == End::fin);
  CHECK(rig.idle());
}

TEST_CASE("http: a program that has ended its direction still gets its answer") {
  Rig rig{rig::trusting()};
  auto [program, server] = rig.open();
  program.say(kGet);
  program.finish();
  CHECK(server.hear_all() == kGet);
  server.say(kOk);
  CHECK(program.hear(kOk.size()) == kOk);
  server.close();
  CHECK(program.hear_all() == "");
  CHECK(rig.ended(1).at(0).error == "");
}

namespace {

constexpr std::string_view kUpgrade =
    "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    "HTTP2-Settings: AAMA\r\n\r\n";
constexpr std::string_view kConnect = "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n";

std::string pipelined(std::size_t requests) {
  std::string all;
  while (requests-- > 0) all += kGet;
  return all;
}

struct Abort {
  const char* name;
  std::string said;      ///< by the program, heard by the server
  std::string answered;  ///< by the server, heard by the program
  bool by_server;
  bool with_reset;
  End seen;           ///< by the other side
  const char* error;  ///< part of the last flow's
  std::size_t flows;
};

const Abort kAborts[] = {
    {"program resets while the server thinks", std::string(kGet), "", false, true, End::reset,
     "the program: ", 1},
    {"program resets in its request", "POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nab", "", false,
     true, End::reset, "the program: ", 1},
    {"program resets in the response", std::string(kGet),
     "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", false, true, End::reset, "the program: ", 1},
    {"program resets between requests", std::string(kGet), std::string(kOk), false, true,
     End::reset, "", 1},
    {"program closes in its request", "POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nab", "", false,
     false, End::fin, "in the middle of its request", 1},
    {"program closes while the server thinks", std::string(kGet), "", false, false, End::fin,
     "the program closed its side", 1},
    {"program closes in the response", std::string(kGet),
     "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", false, false, End::fin,
     "the program closed its side", 1},
    {"program keeps the body that the server does not want",
     "PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n",
     "HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n", false, false, End::fin, "", 1},
    {"program keeps the body, though it was not told to",
     "PUT / HTTP/1.1\r\nContent-Length: 9\r\n\r\n", "HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n",
     false, false, End::fin, "in the middle of its request", 1},
    {"program keeps half of the body that the server does not want",
     "PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\nab",
     "HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n", false, false, End::fin,
     "in the middle of its request", 1},
    {"program closes while its upgrade is unanswered", std::string(kUpgrade), "", false, false,
     End::fin, "the program closed its side", 1},
    {"program resets while its upgrade is unanswered", std::string(kUpgrade), "", false, true,
     End::reset, "the program: ", 1},
    {"program closes in an event stream that answers its upgrade", std::string(kUpgrade),
     "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n", false, false,
     End::fin, "", 1},
    {"program resets in an event stream that answers its upgrade", std::string(kUpgrade),
     "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n", false, true,
     End::reset, "the program: ", 1},
    {"program closes while its CONNECT is unanswered", std::string(kConnect), "", false, false,
     End::fin, "the program closed its side", 1},
    {"program resets while its CONNECT is unanswered", std::string(kConnect), "", false, true,
     End::reset, "the program: ", 1},
    {"program closes with as many requests as may wait", pipelined(256), "", false, false, End::fin,
     "the program closed its side", 256},
    {"program resets with as many requests as may wait", pipelined(256), "", false, true,
     End::reset, "the program: ", 256},
    {"server resets before answering", std::string(kGet), "", true, true, End::reset,
     "the server: ", 1},
    {"server resets in its response", std::string(kGet),
     "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", true, true, End::reset, "the server: ", 1},
    {"server resets in a response without length", std::string(kGet), "HTTP/1.1 200 OK\r\n\r\nab",
     true, true, End::reset, "the server: ", 1},
    {"server closes before answering", std::string(kGet), "", true, false, End::fin,
     "without an answer", 1},
    {"server closes in a response of a length", std::string(kGet),
     "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", true, false, End::fin,
     "in the middle of its response", 1},
    {"server closes in a chunked response", std::string(kGet),
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", true, false, End::fin,
     "in the middle of its response", 1},
};

}  // namespace

TEST_CASE("http: an abort in any phase reaches the other side and the flow") {
  for (const auto& abort : kAborts) {
    CAPTURE(abort.name);
    Rig rig{rig::trusting()};
    auto [program, server] = rig.open();
    passes(program, server, abort.said);
    passes(server, program, abort.answered);
    Peer& one = abort.by_server ? server : program;
    Peer& other = abort.by_server ? program : server;
    if (abort.with_reset) {
      one.reset();
    } else {
      one.close();
    }
    CHECK(other.hear_all() == "");
    CHECK(other.end() == abort.seen);
    other.close();
    const auto flows = rig.ended(abort.flows);
    CHECK(flows.back().error.find(abort.error) != std::string::npos);
    CHECK(flows.back().error.empty() == std::string_view(abort.error).empty());
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
