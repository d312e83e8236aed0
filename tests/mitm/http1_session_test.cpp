// Dialogues of an HTTP/1 session: how connections end, in any phase and by either side, what the
// other one sees, and what is reported.
#include "mitm/intercept/session/http1_session.h"

#include "tests/mitm/authority.h"
#include "tests/mitm/dialogue.h"
#include "tests/test.h"

using mitm::intercept::Http1Session;
using mitm::intercept::Next;
using rig::kGet;
using rig::kOk;
using test::MemoryStream;

namespace {

struct Dialogue : test::Dialogue {
  explicit Dialogue(mitm::intercept::Settings settings = {})
      : test::Dialogue(
            [](auto& recorder, auto& from, auto& to) {
              return std::make_unique<Http1Session>(recorder, from, to, "http");
            },
            std::move(settings)) {}
};

}  // namespace

TEST_CASE("http1: a server's answer to half a head is passed on, and is a flow") {
  const std::string_view late =
      "HTTP/1.1 408 Request Time-out\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
  Dialogue dialogue;
  dialogue.program.say("GET / HTTP/1.1\r\nHost: h");
  dialogue.settle();
  CHECK(dialogue.server.heard() == "");
  dialogue.passes(dialogue.server, dialogue.program, late);
  CHECK(dialogue.program.ending() == "end");
  CHECK(dialogue.is_over());
  const auto flow = dialogue.ended().at(0);
  CHECK(flow.status == 408);
  CHECK(flow.error == "the server answered before the head of the request was complete");
}

TEST_CASE("http1: an idle connection that one side closes is closed for the other") {
  for (const bool by_server : {true, false}) {
    CAPTURE(by_server);
    Dialogue dialogue;
    dialogue.passes(dialogue.program, dialogue.server, kGet);
    dialogue.passes(dialogue.server, dialogue.program, kOk);
    (by_server ? dialogue.server : dialogue.program).end();
    dialogue.settle();
    CHECK((by_server ? dialogue.program : dialogue.server).ending() == "end");
    CHECK(dialogue.is_over());
    CHECK(dialogue.ended().size() == 1);
  }
}

TEST_CASE("http1: a program that has ended its direction still gets its answer") {
  Dialogue dialogue;
  dialogue.program.say(kGet);
  dialogue.program.end();
  dialogue.settle();
  CHECK(dialogue.server.heard() == kGet);
  CHECK(dialogue.server.ending() == "end");
  dialogue.passes(dialogue.server, dialogue.program, kOk);
  CHECK(dialogue.is_over());
  CHECK(dialogue.ended().at(0).error == "");
}

TEST_CASE("http1: a program that ends its direction while it reads slowly gets the whole answer") {
  Dialogue dialogue;
  dialogue.passes(dialogue.program, dialogue.server, kGet);
  dialogue.program.give_room(10);
  dialogue.server.say(kOk);
  dialogue.settle();
  dialogue.program.end();
  dialogue.settle();
  std::string heard = dialogue.program.heard();
  dialogue.program.give_room(1000);
  dialogue.settle();
  CHECK(heard + dialogue.program.heard() == kOk);
  CHECK(dialogue.is_over());
  CHECK(dialogue.ended().at(0).error == "");
}

TEST_CASE("http1: alt-svc is blanked out also where its head comes in pieces") {
  const std::string told =
      "HTTP/1.1 200 OK\r\nAlt-Svc: h3=\":443\"; ma=86400\r\nContent-Length: 2\r\n\r\nhi";
  for (std::size_t cut = 1; cut < told.size(); ++cut) {
    Dialogue dialogue;
    dialogue.passes(dialogue.program, dialogue.server, kGet);
    dialogue.server.say(std::string_view(told).substr(0, cut));
    dialogue.settle();
    dialogue.server.say(std::string_view(told).substr(cut));
    dialogue.settle();
    const std::string heard = dialogue.program.heard();
    CHECK(heard.size() == told.size());
    CHECK(heard.find("lt-") == std::string::npos);
  }
}

TEST_CASE("http1: what the program sends behind an upgrade waits for the answer, and follows it") {
  Dialogue dialogue;
  const std::string_view ask =
      "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n";
  const std::string_view yes = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\n\r\n";
  dialogue.program.say(std::string(ask) + "early");
  dialogue.settle();
  CHECK(dialogue.server.heard() == ask);
  dialogue.program.say("more");
  dialogue.settle();
  CHECK(dialogue.server.heard() == "");
  dialogue.server.say(std::string(yes) + "hi");
  dialogue.settle();
  CHECK(dialogue.program.heard() == yes);
  REQUIRE(dialogue.is_over());
  CHECK(dialogue.next->kind == Next::Kind::raw);
  CHECK(dialogue.from_program.take_unread() == "earlymore");
  CHECK(dialogue.from_server.take_unread() == "hi");
  CHECK(dialogue.server.ending() == "");
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
  const char* seen;   ///< by the other side
  const char* error;  ///< part of the last flow's
  std::size_t flows;
};

const Abort kAborts[] = {
    {"program resets while the server thinks", std::string(kGet), "", false, true, "reset",
     "the program: ", 1},
    {"program resets in its request", "POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nab", "", false,
     true, "reset", "the program: ", 1},
    {"program resets in the response", std::string(kGet),
     "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", false, true, "reset", "the program: ", 1},
    {"program resets between requests", std::string(kGet), std::string(kOk), false, true, "reset",
     "", 1},
    {"program closes in its request", "POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nab", "", false,
     false, "end", "in the middle of its request", 1},
    {"program closes while the server thinks", std::string(kGet), "", false, false, "end",
     "the program closed its side", 1},
    {"program closes in the response", std::string(kGet),
     "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", false, false, "end",
     "the program closed its side", 1},
    {"program keeps the body that the server does not want",
     "PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n",
     "HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n", false, false, "end", "", 1},
    {"program keeps the body, though it was not told to",
     "PUT / HTTP/1.1\r\nContent-Length: 9\r\n\r\n", "HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n",
     false, false, "end", "in the middle of its request", 1},
    {"program keeps half of the body that the server does not want",
     "PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\nab",
     "HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n", false, false, "end",
     "in the middle of its request", 1},
    {"program closes while its upgrade is unanswered", std::string(kUpgrade), "", false, false,
     "end", "the program closed its side", 1},
    {"program resets while its upgrade is unanswered", std::string(kUpgrade), "", false, true,
     "reset", "the program: ", 1},
    {"program closes in an event stream that answers its upgrade", std::string(kUpgrade),
     "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n", false, false, "end",
     "", 1},
    {"program resets in an event stream that answers its upgrade", std::string(kUpgrade),
     "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n", false, true, "reset",
     "the program: ", 1},
    {"program closes while its CONNECT is unanswered", std::string(kConnect), "", false, false,
     "end", "the program closed its side", 1},
    {"program resets while its CONNECT is unanswered", std::string(kConnect), "", false, true,
     "reset", "the program: ", 1},
    {"program closes with as many requests as may wait", pipelined(256), "", false, false, "end",
     "the program closed its side", 256},
    {"program resets with as many requests as may wait", pipelined(256), "", false, true, "reset",
     "the program: ", 256},
    {"server resets before answering", std::string(kGet), "", true, true, "reset",
     "the server: ", 1},
    {"server resets in its response", std::string(kGet),
     "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", true, true, "reset", "the server: ", 1},
    {"server resets in a response without length", std::string(kGet), "HTTP/1.1 200 OK\r\n\r\nab",
     true, true, "reset", "the server: ", 1},
    {"server closes before answering", std::string(kGet), "", true, false, "end",
     "without an answer", 1},
    {"server closes in a response of a length", std::string(kGet),
     "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", true, false, "end",
     "in the middle of its response", 1},
    {"server closes in a chunked response", std::string(kGet),
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", true, false, "end",
     "in the middle of its response", 1},
};

}  // namespace

TEST_CASE("http1: an abort in any phase reaches the other side and the flow") {
  for (const auto& abort : kAborts) {
    CAPTURE(abort.name);
    Dialogue dialogue;
    dialogue.passes(dialogue.program, dialogue.server, abort.said);
    dialogue.passes(dialogue.server, dialogue.program, abort.answered);
    MemoryStream& one = abort.by_server ? dialogue.server : dialogue.program;
    MemoryStream& other = abort.by_server ? dialogue.program : dialogue.server;
    if (abort.with_reset) {
      one.lose("connection reset by peer");
    } else {
      one.end();
    }
    dialogue.settle();
    CHECK(other.heard() == "");
    CHECK(other.ending() == abort.seen);
    other.end();
    dialogue.settle();
    CHECK(dialogue.is_over());
    const auto flows = dialogue.ended();
    REQUIRE(flows.size() == abort.flows);
    CHECK(flows.back().error.find(abort.error) != std::string::npos);
    CHECK(flows.back().error.empty() == std::string_view(abort.error).empty());
  }
}
