// HTTP/1 that is not passed on, of either side: what each of them gets instead, and what is
// reported.
#include <string>

#include "tests/mitm/connection_dialogue.h"
#include "tests/test.h"

using dialogue::Engine;
using rig::End;
using rig::kGet;
using rig::kOk;

TEST_CASE("http: the flow keeps what was refused") {
  const std::string_view bad = "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length : 3\r\n\r\nabc";
  const std::string_view worse = "HTTP/1.1 200 OK\r\nA: b\rContent-Length: 3\r\n\r\nabc";
  Engine engine{rig::trusting()};
  {
    auto [program, server] = engine.open();
    program.say(bad);
    CHECK(program.hear_all().starts_with("HTTP/1.1 400"));
  }
  CHECK(engine.ended(1).at(0).refused == bad);
  CHECK(engine.ended(1).at(0).url.ends_with("/x"));
  {
    auto [program, server] = engine.open();
    passes(program, server, kGet);
    server.say(worse);
    CHECK(program.hear_all().starts_with("HTTP/1.1 502"));
  }
  CHECK(engine.ended(2).at(1).refused == worse);
  {
    auto [program, server] = engine.open();
    passes(program, server, kGet);
    server.say("HTTP/1.1 200 OK\r\nConte");
    server.close();
    CHECK(program.hear_all().starts_with("HTTP/1.1 502"));
  }
  CHECK(engine.ended(3).at(2).refused == "HTTP/1.1 200 OK\r\nConte");
  {
    auto [program, server] = engine.open();
    passes(program, server, kGet);
    passes(server, program, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    server.say("zz\r\n" + std::string(32 << 10, 'z'));
    program.hear_all();
  }
  CHECK(engine.ended(4).at(3).refused.starts_with("zz\r\nzzz"));
  CHECK(engine.ended(4).at(3).refused.size() <= 16 << 10);
}

TEST_CASE("http: a malformed request is answered with 400 and never reaches the server") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  program.say(
      "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: "
      "chunked\r\n\r\n0\r\n\r\n");
  const std::string page = program.hear_all();
  CHECK(page.starts_with("HTTP/1.1 400 Bad Request\r\n"));
  CHECK(page.find("Content-Length") != page.npos);
  CHECK(page.find("both Content-Length and Transfer-Encoding") != page.npos);
  CHECK(program.end() == End::fin);
  CHECK(server.hear_all() == "");
  const auto flow = engine.ended(1).at(0);
  CHECK(flow.status == 400);
  CHECK(flow.error.find("malformed") != flow.error.npos);
}

TEST_CASE("http: the 400 waits for the answers of the requests before it") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  program.say(std::string(kGet) + "GET / HTTP/1.1\r\nContent Length: x\r\n\r\n");
  CHECK(server.hear(kGet.size()) == kGet);
  server.say(kOk);
  const std::string heard = program.hear_all();
  CHECK(heard.starts_with(std::string(kOk) + "HTTP/1.1 400"));
  const auto flows = engine.ended(2);
  CHECK(flows[0].status == 200);
  CHECK(flows[0].error == "");
  CHECK(flows[1].status == 400);
}

TEST_CASE("http: a malformed chunk ends the request, the server sees no orderly end") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  passes(program, server,
         "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
  program.say("zz\r\n");
  CHECK(program.hear_all().starts_with("HTTP/1.1 400"));
  server.hear_all();
  CHECK(server.end() == End::reset);
  CHECK(engine.ended(1).at(0).error.find("chunk size") != std::string::npos);
}

TEST_CASE("http: a malformed response becomes a 502 page") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  passes(program, server, kGet);
  server.say("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd");
  const std::string page = program.hear_all();
  CHECK(page.starts_with("HTTP/1.1 502 Bad Gateway\r\n"));
  CHECK(program.end() == End::fin);
  const auto flow = engine.ended(1).at(0);
  CHECK(flow.status == 502);
  CHECK(flow.error.find("Content-Length") != flow.error.npos);
}

TEST_CASE("http: a response that goes wrong on the way ends in a reset") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  passes(program, server, kGet);
  passes(server, program, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
  server.say("zz\r\n");
  program.hear_all();
  CHECK(program.end() == End::reset);
  const auto flow = engine.ended(1).at(0);
  CHECK(flow.status == 200);
  CHECK(flow.error.find("chunk size") != flow.error.npos);
}

TEST_CASE("http: a 101 nobody asked for and a response nobody asked for are not passed on") {
  Engine engine{rig::trusting()};
  {
    auto [program, server] = engine.open();
    passes(program, server, kGet);
    server.say("HTTP/1.1 101 Switching Protocols\r\n\r\n");
    CHECK(program.hear_all().starts_with("HTTP/1.1 502"));
  }
  auto [program, server] = engine.open();
  passes(program, server, kGet);
  server.say(std::string(kOk) + "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong");
  CHECK(program.hear_all() == kOk);
}
