// Dialogues over plain HTTP/1: what the program says, what the server hears, how both see the end, and what
// is reported.
#include <chrono>
#include <future>
#include <string>
#include <thread>

#include "tests/mitm/intercept_rig.h"
#include "tests/test.h"

using mitm::flow::Type;
using rig::End;
using rig::passes;
using rig::Peer;
using rig::Rig;

namespace {

constexpr std::string_view kGet = "GET /a HTTP/1.1\r\nHost: h.test:81\r\n\r\n";
constexpr std::string_view kOk = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

}  // namespace

TEST_CASE("http: an exchange passes byte for byte and is reported whole") {
  Rig rig{rig::trusting()};
  auto [program, server] = rig.open();
  passes(program, server,
         "POST /a?b=c HTTP/1.1\r\nhost: h.test\r\nX-odd:  1\r\nContent-Length: 3\r\n\r\nabc");
  passes(server, program, kOk);
  const auto flow = rig.ended(1).at(0);
  CHECK(flow.type == Type::http);
  CHECK(flow.method == "POST");
  CHECK(flow.url == rig::with_port("http://h.test/a?b=c", flow));
  CHECK(flow.host == "h.test");
  CHECK(flow.http_version == "1.1");
  CHECK(flow.status == 200);
  CHECK(flow.request_headers[1].first == "X-odd");
  CHECK(flow.response_headers.find("content-length") == "2");
  CHECK(flow.request_body == "abc");
  CHECK(flow.response_body == "hi");
  CHECK(flow.request_bytes == 3);
  CHECK(flow.response_bytes == 2);
  CHECK(flow.decision == "intercept");
  CHECK(flow.reason == "test");
  CHECK(flow.error == "");
  CHECK(flow.duration.has_value());
  CHECK(flow.tls == nullptr);
}

TEST_CASE("http: programs are not told of QUIC, and everything else stays where it was") {
  const std::string told =
      "HTTP/1.1 200 OK\r\nAlt-Svc: h3=\":443\"; ma=86400\r\nContent-Length: 2\r\nalt-svc: clear\r\n\r\nhi";
  SUBCASE("blocked") {
    Rig rig{rig::trusting()};
    auto [program, server] = rig.open();
    passes(program, server, kGet);
    server.say(told);
    const auto heard = program.hear(told.size());
    CHECK(heard.find("lt-") == heard.npos);
    CHECK(heard == "HTTP/1.1 200 OK" + std::string(30, ' ') + "\r\nContent-Length: 2" + std::string(16, ' ') +
                       "\r\n\r\nhi");
    CHECK(rig.ended(1).at(0).response_headers.find("alt-svc") == "h3=\":443\"; ma=86400");
  }
  SUBCASE("in pieces") {
    Rig rig{rig::trusting()};
    auto [program, server] = rig.open();
    passes(program, server, kGet);
    server.say(told.substr(0, 30));
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    server.say(told.substr(30));
    CHECK(program.hear(told.size()).find("lt-") == std::string::npos);
  }
  SUBCASE("allowed") {
    auto settings = rig::trusting();
    settings.hide_alt_svc = false;
    Rig rig{settings};
    auto [program, server] = rig.open();
    passes(program, server, kGet);
    passes(server, program, told);
  }
}

TEST_CASE("http: requests on one connection are kept apart, also when pipelined") {
  Rig rig{rig::trusting()};
  auto [program, server] = rig.open();
  std::string requests;
  std::string responses;
  for (int i = 0; i < 100; ++i) {
    requests += fmt::format("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", i);
    responses += fmt::format("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}", i, std::string(i, 'x'));
  }
  passes(program, server, requests);
  passes(server, program, responses);
  const auto flows = rig.ended(100);
  for (int i = 0; i < 100; ++i) {
    CHECK(flows[i].url == rig::with_port(fmt::format("http://h/{}", i), flows[i]));
    CHECK(flows[i].response_bytes == i);
  }
}

TEST_CASE("http: each request on a connection to a proxy goes by its own host") {
  Rig rig{rig::trusting()};
  auto [program, server] = rig.open();
  for (const std::string host : {"a.test", "b.test:8080", "c.test"}) {
    passes(program, server, fmt::format("GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\n\r\n", host));
    passes(server, program, kOk);
  }
  const auto flows = rig.ended(3);
  CHECK(flows[0].host == "a.test");
  CHECK(flows[1].host == "b.test");
  CHECK(flows[1].url == "http://b.test:8080/");
  CHECK(flows[2].host == "c.test");
}

TEST_CASE("http: more pipelined requests than are let through at once all arrive") {
  Rig rig{rig::trusting()};
  auto [program, server] = rig.open();
  constexpr int kCount = 1000;
  std::string requests;
  for (int i = 0; i < kCount; ++i) requests += kGet;
  program.say(requests);
  for (int i = 0; i < kCount; ++i) {
    REQUIRE(server.hear(kGet.size()) == kGet);
    server.say(kOk);
    REQUIRE(program.hear(kOk.size()) == kOk);
  }
  CHECK(rig.ended(kCount).size() == kCount);
}

TEST_CASE("http: a head in pieces is forwarded when it is whole") {
  Rig rig{rig::trusting()};
  auto [program, server] = rig.open();
  for (const char c : kGet) program.say({&c, 1});
  CHECK(server.hear(kGet.size()) == kGet);
  for (const char c : kOk) server.say({&c, 1});
  CHECK(program.hear(kOk.size()) == kOk);
  CHECK(rig.ended(1).at(0).status == 200);
}

TEST_CASE("http: chunked bodies with trailers stream, and are reported without framing") {
  Rig rig{rig::trusting()};
  auto [program, server] = rig.open();
  passes(program, server, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
  passes(program, server, "5\r\nhel");
  passes(program, server, "lo\r\n0\r\nT: 1\r\n\r\n");
  passes(server, program, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
  passes(server, program, "0\r\nServer-Timing:  a;dur=1 \r\nX-Sum: 9\r\n\r\n");
  const auto flow = rig.ended(1).at(0);
  CHECK(flow.request_trailers.size() == 1);
  CHECK(flow.request_trailers.find("t") == "1");
  CHECK(flow.response_trailers.size() == 2);
  CHECK(flow.response_trailers.find("server-timing") == "a;dur=1");
  CHECK(flow.response_trailers.find("x-sum") == "9");
  CHECK(flow.request_body == "hello");
  CHECK(flow.response_body == "abc");
  CHECK(flow.request_bytes == 5);
  CHECK(flow.response_bytes == 3);
}

TEST_CASE("http: HEAD, 304 and 204 have no body whatever their fields say") {
  Rig rig{rig::trusting()};
  auto [program, server] = rig.open();
  passes(program, server, "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
  passes(server, program, "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n");
  passes(program, server, kGet);
  passes(server, program, "HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n");
  passes(program, server, kGet);
  passes(server, program, "HTTP/1.1 204 No Content\r\n\r\n");
  passes(program, server, kGet);
  passes(server, program, kOk);
  CHECK(rig.ended(4).at(3).response_body == "hi");
}

TEST_CASE("http: 100-continue and other interim responses do not end the exchange") {
  Rig rig{rig::trusting()};
  auto [program, server] = rig.open();
  passes(program, server, "PUT / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  passes(server, program, "HTTP/1.1 100 Continue\r\n\r\n");
  passes(program, server, "ab");
  passes(server, program, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n");
  passes(server, program, kOk);
  const auto flow = rig.ended(1).at(0);
  CHECK(flow.status == 200);
  CHECK(flow.request_body == "ab");
}

TEST_CASE("http: a response without length ends with the connection") {
  Rig rig{rig::trusting()};
  auto [program, server] = rig.open();
  passes(program, server, "GET / HTTP/1.0\r\n\r\n");
  passes(server, program, "HTTP/1.0 200 OK\r\n\r\nsome");
  server.say("more");
  server.close();
  CHECK(program.hear_all() == "more");
  CHECK(program.end() == End::fin);
  const auto flow = rig.ended(1).at(0);
  CHECK(flow.response_body == "somemore");
  CHECK(flow.error == "");
  CHECK(flow.http_version == "1.0");
}

TEST_CASE("http: an answer before the request is complete, then the rest of both") {
  Rig rig{rig::trusting()};
  auto [program, server] = rig.open();
  passes(program, server, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc");
  passes(server, program, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n");
  passes(program, server, "defghij");
  const auto flow = rig.ended(1).at(0);
  CHECK(flow.status == 413);
  CHECK(flow.request_bytes == 10);
  CHECK(flow.error == "");
}

TEST_CASE("http: an early answer and the end of the connection reach the program") {
  Rig rig{rig::trusting()};
  auto [program, server] = rig.open();
  passes(program, server, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc");
  server.say("HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
  server.finish();
  CHECK(program.hear_all() == "HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
  CHECK(program.end() == End::fin);
  program.close();
  const auto flow = rig.ended(1).at(0);
  CHECK(flow.status == 413);
}

TEST_CASE("http: a server that goes on after its early answer is not listened to without end") {
  Rig rig{rig::trusting()};
  auto [program, server] = rig.open();
  passes(program, server, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc");
  const std::string_view answer = "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n";
  server.say(answer);
  server.say(answer);
  CHECK(program.hear_all() == answer);
  const std::string block(1 << 20, 'x');
  for (int i = 0; i < 64; ++i) {
    if (!server.try_say(block)) break;
  }
  CHECK_FALSE(server.try_say(block));
  const auto flow = rig.ended(1).at(0);
  CHECK(flow.status == 413);
  CHECK(flow.error.find("the server went on after its answer") == 0);
}

TEST_CASE("http: an upgrade passes what follows as raw bytes") {
  Rig rig{rig::trusting()};
  auto [program, server] = rig.open();
  const std::string_view ask = "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n";
  program.say(std::string(ask) + "early");  // what follows must wait for the answer
  CHECK(server.hear(ask.size()) == ask);
  const std::string_view yes = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\n\r\n";
  server.say(std::string(yes) + "\x81\x02hi");
  CHECK(program.hear(yes.size() + 4) == std::string(yes) + "\x81\x02hi");
  CHECK(server.hear(5) == "early");
  passes(program, server, "GET / no HTTP any more\r\n\r\n");
  program.finish();
  CHECK(server.hear_all() == "");
  passes(server, program, "bye");
  server.close();
  CHECK(program.hear_all() == "");
  const auto flows = rig.ended(2);
  CHECK(flows[0].type == Type::http);
  CHECK(flows[0].status == 101);
  CHECK(flows[1].type == Type::tcp);
  CHECK(flows[1].request_bytes == 5 + 26);
  CHECK(flows[1].response_bytes == 4 + 3);
  CHECK(rig.started(1).at(0).type == Type::tcp);
}

TEST_CASE("http: whatever follows an upgrade's request arrives behind the answer") {
  const std::string_view ask = "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n";
  const std::string_view yes = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\n\r\n";
  for (const std::size_t size : {std::size_t{0}, std::size_t{5}, std::size_t{3} << 20}) {
    CAPTURE(size);
    Rig rig{rig::trusting()};
    auto [program, server] = rig.open();
    std::string early(size, '\0');
    for (std::size_t i = 0; i < size; ++i) early[i] = static_cast<char>(i * 2654435761U >> 24);
    std::thread sender{[&, &p = program] {
      p.say(std::string(ask) + early);
      p.finish();
    }};
    CHECK(server.hear(ask.size()) == ask);
    std::this_thread::sleep_for(std::chrono::milliseconds{100});
    server.say(std::string(yes) + "hi");
    CHECK(program.hear(yes.size() + 2) == std::string(yes) + "hi");
    CHECK((server.hear_all() == early));
    CHECK(server.end() == End::fin);
    sender.join();
    passes(server, program, "bye");
    server.close();
    CHECK(program.hear_all() == "");
    CHECK(rig.ended(2).at(1).request_bytes == size);
  }
}

TEST_CASE("http: a refused upgrade goes on with HTTP") {
  Rig rig{rig::trusting()};
  auto [program, server] = rig.open();
  const std::string_view ask = "GET /1 HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n";
  program.say(std::string(ask) + std::string(kGet));
  CHECK(server.hear(ask.size()) == ask);
  passes(server, program, kOk);
  CHECK(server.hear(kGet.size()) == kGet);
  passes(server, program, kOk);
  CHECK(rig.ended(2).at(1).url == "http://h.test:81/a");
}

TEST_CASE("http: inside the tunnel of a CONNECT everything begins anew") {
  Rig rig{rig::trusting()};
  auto [program, server] = rig.open();
  passes(program, server, "CONNECT h.test:443 HTTP/1.1\r\nHost: h.test:443\r\n\r\n");
  passes(server, program, "HTTP/1.1 200 Connection established\r\n\r\n");
  passes(program, server, kGet);
  passes(server, program, kOk);
  const auto flows = rig.ended(2);
  CHECK(flows[0].url == "h.test:443");
  CHECK(flows[1].url == "http://h.test:81/a");
  passes(program, server, "GET /b HTTP/1.1\r\nHost: h.test\r\n\r\n");
  passes(server, program, kOk);
  CHECK(rig.ended(3).at(2).url == "http://h.test:443/b");
}

TEST_CASE("http: a URL has the port of the connection where the request names none") {
  Rig rig{rig::trusting()};
  auto [program, server] = rig.open();
  for (const std::string line :
       {"Host: h.test\r\n", "Host: [::1]\r\n", "Host: h.test:80\r\n", "Host: [::1]:80\r\n", ""}) {
    passes(program, server, fmt::format("GET /a HTTP/1.1\r\n{}\r\n", line));
    passes(server, program, kOk);
  }
  const auto flows = rig.ended(5);
  CHECK(flows[0].url == rig::with_port("http://h.test/a", flows[0]));
  CHECK(flows[1].url == rig::with_port("http://[::1]/a", flows[1]));
  CHECK(flows[2].url == "http://h.test:80/a");
  CHECK(flows[3].url == "http://[::1]:80/a");
  CHECK(flows[4].url == rig::with_port("http://h.test/a", flows[4]));  // by the connection's first request
}

TEST_CASE("http: odd heads in both directions arrive byte for byte, and are shown") {
  Rig rig{rig::trusting()};
  auto [program, server] = rig.open();
  passes(program, server,
         "\r\nGET /a b HTTP/1.1\r\nHost: h.test:81\r\ncache -control: x\r\nno colon\r\nA: \x01\r\n\r\n");
  passes(server, program,
         "HTTP/1.1 099 \x02\r\nSecured by X : y\r\nno colon\r\nA: \x01\x1b\r\nContent-Length: 2\r\n\r\nhi");
  passes(program, server, kGet);
  passes(server, program, kOk);
  const auto flow = rig.ended(2).at(0);
  CHECK(flow.url == "http://h.test:81/a b");
  CHECK(flow.request_headers.find("cache -control") == "x");
  CHECK(flow.request_headers[2].first == "no colon");
  CHECK(flow.status == 99);
  CHECK(flow.response_headers[0].first == "Secured by X");
  CHECK(flow.response_headers.find("a") == "\x01\x1b");
  CHECK(flow.response_body == "hi");
  CHECK(flow.error == "");
  CHECK(flow.refused == "");
}

TEST_CASE("http: the flow keeps what was refused") {
  const std::string_view bad = "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length : 3\r\n\r\nabc";
  const std::string_view worse = "HTTP/1.1 200 OK\r\nA: b\rContent-Length: 3\r\n\r\nabc";
  Rig rig{rig::trusting()};
  {
    auto [program, server] = rig.open();
    program.say(bad);
    CHECK(program.hear_all().starts_with("HTTP/1.1 400"));
  }
  CHECK(rig.ended(1).at(0).refused == bad);
  CHECK(rig.ended(1).at(0).url.ends_with("/x"));
  {
    auto [program, server] = rig.open();
    passes(program, server, kGet);
    server.say(worse);
    CHECK(program.hear_all().starts_with("HTTP/1.1 502"));
  }
  CHECK(rig.ended(2).at(1).refused == worse);
  {
    auto [program, server] = rig.open();
    passes(program, server, kGet);
    server.say("HTTP/1.1 200 OK\r\nConte");
    server.close();
    CHECK(program.hear_all().starts_with("HTTP/1.1 502"));
  }
  CHECK(rig.ended(3).at(2).refused == "HTTP/1.1 200 OK\r\nConte");
  {
    auto [program, server] = rig.open();
    passes(program, server, kGet);
    passes(server, program, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    server.say("zz\r\n" + std::string(32 << 10, 'z'));
    program.hear_all();
  }
  CHECK(rig.ended(4).at(3).refused.starts_with("zz\r\nzzz"));
  CHECK(rig.ended(4).at(3).refused.size() <= 16 << 10);
}

TEST_CASE("http: a request line longer than what is looked at first") {
  Rig rig{rig::trusting()};
  auto [program, server] = rig.open();
  passes(program, server, "GET /" + std::string(100'000, 'x') + " HTTP/1.1\r\nHost: h.test\r\n\r\n");
  passes(server, program, kOk);
  CHECK(rig.ended(1).at(0).type == Type::http);
  CHECK(rig.ended(1).at(0).host == "h.test");
}

TEST_CASE("http: a malformed request is answered with 400 and never reaches the server") {
  Rig rig{rig::trusting()};
  auto [program, server] = rig.open();
  program.say(
      "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
  const std::string page = program.hear_all();
  CHECK(page.starts_with("HTTP/1.1 400 Bad Request\r\n"));
  CHECK(page.find("Content-Length") != page.npos);
  CHECK(page.find("both Content-Length and Transfer-Encoding") != page.npos);
  CHECK(program.end() == End::fin);
  CHECK(server.hear_all() == "");
  const auto flow = rig.ended(1).at(0);
  CHECK(flow.status == 400);
  CHECK(flow.error.find("malformed") != flow.error.npos);
}

TEST_CASE("http: the 400 waits for the answers of the requests before it") {
  Rig rig{rig::trusting()};
  auto [program, server] = rig.open();
  program.say(std::string(kGet) + "GET / HTTP/1.1\r\nContent Length: x\r\n\r\n");
  CHECK(server.hear(kGet.size()) == kGet);
  server.say(kOk);
  const std::string heard = program.hear_all();
  CHECK(heard.starts_with(std::string(kOk) + "HTTP/1.1 400"));
  const auto flows = rig.ended(2);
  CHECK(flows[0].status == 200);
  CHECK(flows[0].error == "");
  CHECK(flows[1].status == 400);
}

TEST_CASE("http: a malformed chunk ends the request, the server sees no orderly end") {
  Rig rig{rig::trusting()};
  auto [program, server] = rig.open();
  passes(program, server, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
  program.say("zz\r\n");
  CHECK(program.hear_all().starts_with("HTTP/1.1 400"));
  server.hear_all();
  CHECK(server.end() == End::reset);
  CHECK(rig.ended(1).at(0).error.find("chunk size") != std::string::npos);
}

TEST_CASE("http: a malformed response becomes a 502 page") {
  Rig rig{rig::trusting()};
  auto [program, server] = rig.open();
  passes(program, server, kGet);
  server.say("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd");
  const std::string page = program.hear_all();
  CHECK(page.starts_with("HTTP/1.1 502 Bad Gateway\r\n"));
  CHECK(program.end() == End::fin);
  const auto flow = rig.ended(1).at(0);
  CHECK(flow.status == 502);
  CHECK(flow.error.find("Content-Length") != flow.error.npos);
}

TEST_CASE("http: a response that goes wrong on the way ends in a reset") {
  Rig rig{rig::trusting()};
  auto [program, server] = rig.open();
  passes(program, server, kGet);
  passes(server, program, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
  server.say("zz\r\n");
  program.hear_all();
  CHECK(program.end() == End::reset);
  const auto flow = rig.ended(1).at(0);
  CHECK(flow.status == 200);
  CHECK(flow.error.find("chunk size") != flow.error.npos);
}

TEST_CASE("http: a 101 nobody asked for and a response nobody asked for are not passed on") {
  Rig rig{rig::trusting()};
  {
    auto [program, server] = rig.open();
    passes(program, server, kGet);
    server.say("HTTP/1.1 101 Switching Protocols\r\n\r\n");
    CHECK(program.hear_all().starts_with("HTTP/1.1 502"));
  }
  auto [program, server] = rig.open();
  passes(program, server, kGet);
  server.say(std::string(kOk) + "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong");
  CHECK(program.hear_all() == kOk);
}

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
    "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: "
    "AAMA\r\n\r\n";
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
    {"program resets in its request", "POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nab", "", false, true,
     End::reset, "the program: ", 1},
    {"program resets in the response", std::string(kGet), "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab",
     false, true, End::reset, "the program: ", 1},
    {"program resets between requests", std::string(kGet), std::string(kOk), false, true, End::reset, "", 1},
    {"program closes in its request", "POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nab", "", false, false,
     End::fin, "in the middle of its request", 1},
    {"program closes while the server thinks", std::string(kGet), "", false, false, End::fin,
     "the program closed its side", 1},
    {"program closes in the response", std::string(kGet), "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab",
     false, false, End::fin, "the program closed its side", 1},
    {"program keeps the body that the server does not want",
     "PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n",
     "HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n", false, false, End::fin, "", 1},
    {"program keeps the body, though it was not told to", "PUT / HTTP/1.1\r\nContent-Length: 9\r\n\r\n",
     "HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n", false, false, End::fin, "in the middle of its request",
     1},
    {"program keeps half of the body that the server does not want",
     "PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\nab",
     "HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n", false, false, End::fin, "in the middle of its request",
     1},
    {"program closes while its upgrade is unanswered", std::string(kUpgrade), "", false, false, End::fin,
     "the program closed its side", 1},
    {"program resets while its upgrade is unanswered", std::string(kUpgrade), "", false, true, End::reset,
     "the program: ", 1},
    {"program closes in an event stream that answers its upgrade", std::string(kUpgrade),
     "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n", false, false, End::fin, "", 1},
    {"program resets in an event stream that answers its upgrade", std::string(kUpgrade),
     "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n", false, true, End::reset,
     "the program: ", 1},
    {"program closes while its CONNECT is unanswered", std::string(kConnect), "", false, false, End::fin,
     "the program closed its side", 1},
    {"program resets while its CONNECT is unanswered", std::string(kConnect), "", false, true, End::reset,
     "the program: ", 1},
    {"program closes with as many requests as may wait", pipelined(256), "", false, false, End::fin,
     "the program closed its side", 256},
    {"program resets with as many requests as may wait", pipelined(256), "", false, true, End::reset,
     "the program: ", 256},
    {"server resets before answering", std::string(kGet), "", true, true, End::reset, "the server: ", 1},
    {"server resets in its response", std::string(kGet), "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab",
     true, true, End::reset, "the server: ", 1},
    {"server resets in a response without length", std::string(kGet), "HTTP/1.1 200 OK\r\n\r\nab", true, true,
     End::reset, "the server: ", 1},
    {"server closes before answering", std::string(kGet), "", true, false, End::fin, "without an answer", 1},
    {"server closes in a response of a length", std::string(kGet),
     "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", true, false, End::fin, "in the middle of its response",
     1},
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

TEST_CASE("http: bodies of 64 MiB pass both ways at once, and only their beginning is kept") {
  Rig rig{rig::trusting()};
  auto [program, server] = rig.open();
  constexpr std::size_t kSize = 64 << 20;
  std::string body(kSize, '\0');
  for (std::size_t i = 0; i < kSize; ++i) body[i] = static_cast<char>(i * 2654435761U >> 24);
  const std::string head = fmt::format("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", kSize);
  const std::string answer = fmt::format("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", kSize);
  std::thread sender{[&, &p = program] { p.say(head + body); }};
  std::thread echo{[&, &s = server] {
    REQUIRE(s.hear(head.size()) == head);
    s.say(answer);
    for (std::size_t left = kSize; left > 0;) {
      const std::string part = s.hear(std::min<std::size_t>(left, 1 << 20));
      REQUIRE(!part.empty());
      s.say(part);
      left -= part.size();
    }
  }};
  CHECK(program.hear(answer.size()) == answer);
  CHECK((program.hear(kSize) == body));
  sender.join();
  echo.join();
  const auto flow = rig.ended(1).at(0);
  CHECK(flow.request_bytes == kSize);
  CHECK(flow.response_bytes == kSize);
  CHECK(flow.request_body == body.substr(0, 4096));
  CHECK(flow.request_body_cut);
  CHECK(flow.response_body_cut);
}

TEST_CASE("http: an event stream shows its start while it lasts") {
  Rig rig{rig::trusting()};
  auto [program, server] = rig.open();
  passes(program, server, kGet);
  passes(server, program, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n");
  const auto start = rig.started(1).at(0);
  CHECK(start.status == 200);
  CHECK_FALSE(start.duration.has_value());
  server.close();
  CHECK(rig.ended(1).at(0).id == start.id);
}

TEST_CASE("http: the decrypted stream is published with its ends") {
  Rig rig{rig::trusting(), {}, true};
  auto [program, server] = rig.open();
  passes(program, server, kGet);
  passes(server, program, kOk);
  program.close();
  CHECK(rig.idle());
  std::string streams[2];
  int ends[2] = {0, 0};
  for (const auto& data : rig.data(4)) {
    const int direction = data.direction == mitm::flow::Direction::request ? 0 : 1;
    CHECK(data.offset == streams[direction].size());
    streams[direction] += data.bytes;
    ends[direction] += data.bytes.empty();
  }
  CHECK(streams[0] == kGet);
  CHECK(streams[1] == kOk);
  CHECK(ends[0] == 1);
  CHECK(ends[1] == 1);
}

TEST_CASE("http: nothing is published behind an end, a page of ours included") {
  Rig rig{rig::trusting(), {}, true};
  auto [program, server] = rig.open();
  passes(program, server, kGet);
  server.say("HTTP/1.1 200 OK\r\nContent-");
  server.finish();
  const std::string page = program.hear_all();
  CHECK(page.find("502") != std::string::npos);
  program.close();
  CHECK(rig.idle());
  std::string said;
  bool ended = false;
  for (const auto& data : rig.data(4)) {
    if (data.direction == mitm::flow::Direction::request) continue;
    CHECK_FALSE(ended);
    ended = data.bytes.empty();
    said += data.bytes;
  }
  CHECK(ended);
  CHECK(said == page);
}
