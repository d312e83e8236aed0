// Dialogues over plain HTTP/1: what the program says, what the server hears, and what is reported.
#include <chrono>
#include <string>
#include <thread>

#include "tests/mitm/connection_dialogue.h"
#include "tests/test.h"

using dialogue::Engine;
using rig::End;
using Type = test::FlatFlow::Type;

namespace {

constexpr std::string_view kGet = "GET /a HTTP/1.1\r\nHost: h.test:81\r\n\r\n";
constexpr std::string_view kOk = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

}  // namespace

TEST_CASE("http: an exchange passes byte for byte and is reported whole") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  passes(program, server,
         "POST /a?b=c HTTP/1.1\r\nhost: h.test\r\nX-odd:  1\r\nContent-Length: 3\r\n\r\nabc");
  passes(server, program, kOk);
  const auto flow = engine.ended(1).at(0);
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
      "HTTP/1.1 200 OK\r\nAlt-Svc: h3=\":443\"; ma=86400\r\nContent-Length: 2\r\nalt-svc: "
      "clear\r\n\r\nhi";
  SUBCASE("blocked") {
    Engine engine{rig::trusting()};
    auto [program, server] = engine.open();
    passes(program, server, kGet);
    server.say(told);
    const auto heard = program.hear(told.size());
    CHECK(heard.find("lt-") == heard.npos);
    CHECK(heard == "HTTP/1.1 200 OK" + std::string(30, ' ') + "\r\nContent-Length: 2" +
                       std::string(16, ' ') + "\r\n\r\nhi");
    CHECK(engine.ended(1).at(0).response_headers.find("alt-svc") == "h3=\":443\"; ma=86400");
  }
  SUBCASE("allowed") {
    auto settings = rig::trusting();
    settings.hide_alt_svc = false;
    Engine engine{settings};
    auto [program, server] = engine.open();
    passes(program, server, kGet);
    passes(server, program, told);
  }
}

TEST_CASE("http: requests on one connection are kept apart, also when pipelined") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  std::string requests;
  std::string responses;
  for (int i = 0; i < 100; ++i) {
    requests += fmt::format("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", i);
    responses +=
        fmt::format("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}", i, std::string(i, 'x'));
  }
  passes(program, server, requests);
  passes(server, program, responses);
  const auto flows = engine.ended(100);
  for (int i = 0; i < 100; ++i) {
    CHECK(flows[i].url == rig::with_port(fmt::format("http://h/{}", i), flows[i]));
    CHECK(flows[i].response_bytes == i);
  }
}

TEST_CASE("http: each request on a connection to a proxy goes by its own host") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  for (const std::string host : {"a.test", "b.test:8080", "c.test"}) {
    passes(program, server, fmt::format("GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\n\r\n", host));
    passes(server, program, kOk);
  }
  const auto flows = engine.ended(3);
  CHECK(flows[0].host == "a.test");
  CHECK(flows[1].host == "b.test");
  CHECK(flows[1].url == "http://b.test:8080/");
  CHECK(flows[2].host == "c.test");
}

TEST_CASE("http: more pipelined requests than are let through at once all arrive") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  constexpr int kCount = 1000;
  std::string requests;
  for (int i = 0; i < kCount; ++i) requests += kGet;
  program.say(requests);
  for (int i = 0; i < kCount; ++i) {
    REQUIRE(server.hear(kGet.size()) == kGet);
    server.say(kOk);
    REQUIRE(program.hear(kOk.size()) == kOk);
  }
  CHECK(engine.ended(kCount).size() == kCount);
}

TEST_CASE("http: a head in pieces is forwarded when it is whole") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  for (const char c : kGet) program.say({&c, 1});
  CHECK(server.hear(kGet.size()) == kGet);
  for (const char c : kOk) server.say({&c, 1});
  CHECK(program.hear(kOk.size()) == kOk);
  CHECK(engine.ended(1).at(0).status == 200);
}

TEST_CASE("http: chunked bodies with trailers stream, and are reported without framing") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  passes(program, server, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
  passes(program, server, "5\r\nhel");
  passes(program, server, "lo\r\n0\r\nT: 1\r\n\r\n");
  passes(server, program, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
  passes(server, program, "0\r\nServer-Timing:  a;dur=1 \r\nX-Sum: 9\r\n\r\n");
  const auto flow = engine.ended(1).at(0);
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
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  passes(program, server, "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
  passes(server, program, "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n");
  passes(program, server, kGet);
  passes(server, program, "HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n");
  passes(program, server, kGet);
  passes(server, program, "HTTP/1.1 204 No Content\r\n\r\n");
  passes(program, server, kGet);
  passes(server, program, kOk);
  CHECK(engine.ended(4).at(3).response_body == "hi");
}

TEST_CASE("http: 100-continue and other interim responses do not end the exchange") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  passes(program, server,
         "PUT / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  passes(server, program, "HTTP/1.1 100 Continue\r\n\r\n");
  passes(program, server, "ab");
  passes(server, program, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n");
  passes(server, program, kOk);
  const auto flow = engine.ended(1).at(0);
  CHECK(flow.status == 200);
  CHECK(flow.request_body == "ab");
}

TEST_CASE("http: a response without length ends with the connection") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  passes(program, server, "GET / HTTP/1.0\r\n\r\n");
  passes(server, program, "HTTP/1.0 200 OK\r\n\r\nsome");
  server.say("more");
  server.close();
  CHECK(program.hear_all() == "more");
  CHECK(program.end() == End::fin);
  const auto flow = engine.ended(1).at(0);
  CHECK(flow.response_body == "somemore");
  CHECK(flow.error == "");
  CHECK(flow.http_version == "1.0");
}

TEST_CASE("http: an answer before the request is complete, then the rest of both") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  passes(program, server, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc");
  passes(server, program, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n");
  passes(program, server, "defghij");
  const auto flow = engine.ended(1).at(0);
  CHECK(flow.status == 413);
  CHECK(flow.request_bytes == 10);
  CHECK(flow.error == "");
}

TEST_CASE("http: an early answer and the end of the connection reach the program") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  passes(program, server, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc");
  server.say("HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
  server.finish();
  CHECK(program.hear_all() ==
        "HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
  CHECK(program.end() == End::fin);
  program.close();
  const auto flow = engine.ended(1).at(0);
  CHECK(flow.status == 413);
}

TEST_CASE("http: half a head and an end reach the server at once, and so does its answer") {
  auto settings = rig::trusting();
  settings.patience.begun = std::chrono::hours{1};
  for (const std::string_view half :
       {"GET / HT", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: h", "\x16\x03\x01"}) {
    CAPTURE(half);
    const std::string_view bad = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
    Engine engine{settings};
    auto [program, server] = engine.open();
    program.say(half);
    program.finish();
    CHECK(server.hear_all() == half);
    server.say(bad);
    server.finish();
    CHECK(program.hear_all() == bad);
    const auto flow = engine.ended(1).at(0);
    if (flow.type == Type::http) CHECK(flow.status == 400);
    if (flow.type == Type::http)
      CHECK(flow.error == "the program closed the connection in the middle of its request");
    CHECK(engine.idle());
  }
}

TEST_CASE("http: a server that goes on after its early answer is not listened to without end") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  passes(program, server, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc");
  const std::string_view answer = "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n";
  server.say(answer);
  server.say(answer);
  CHECK(program.hear_all() == answer);
  CHECK_FALSE(server.try_say("x"));
  const auto flow = engine.ended(1).at(0);
  CHECK(flow.status == 413);
  CHECK(flow.error.find("the server went on after its answer") == 0);
}

TEST_CASE("http: a URL has the port of the connection where the request names none") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  for (const std::string line :
       {"Host: h.test\r\n", "Host: [::1]\r\n", "Host: h.test:80\r\n", "Host: [::1]:80\r\n", ""}) {
    passes(program, server, fmt::format("GET /a HTTP/1.1\r\n{}\r\n", line));
    passes(server, program, kOk);
  }
  const auto flows = engine.ended(5);
  CHECK(flows[0].url == rig::with_port("http://h.test/a", flows[0]));
  CHECK(flows[1].url == rig::with_port("http://[::1]/a", flows[1]));
  CHECK(flows[2].url == "http://h.test:80/a");
  CHECK(flows[3].url == "http://[::1]:80/a");
  CHECK(flows[4].url ==
        rig::with_port("http://h.test/a", flows[4]));  // by the connection's first request
}

TEST_CASE("http: odd heads in both directions arrive byte for byte, and are shown") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  passes(program, server,
         "\r\nGET /a b HTTP/1.1\r\nHost: h.test:81\r\ncache -control: x\r\nno colon\r\nA: "
         "\x01\r\n\r\n");
  passes(server, program,
         "HTTP/1.1 099 \x02\r\nSecured by X "
         ": y\r\nno colon\r\nA: \x01\x1b\r\nContent-Length: 2\r\n\r\nhi");
  passes(program, server, kGet);
  passes(server, program, kOk);
  const auto flow = engine.ended(2).at(0);
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

TEST_CASE("http: a request line longer than what is looked at first") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  passes(program, server,
         "GET /" + std::string(100'000, 'x') + " HTTP/1.1\r\nHost: h.test\r\n\r\n");
  passes(server, program, kOk);
  CHECK(engine.ended(1).at(0).type == Type::http);
  CHECK(engine.ended(1).at(0).host == "h.test");
}

TEST_CASE("http: bodies of 64 MiB pass both ways at once, and only their beginning is kept") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  constexpr std::size_t kSize = 64 << 20;
  std::string body(kSize, '\0');
  for (std::size_t i = 0; i < kSize; ++i) body[i] = static_cast<char>(i * 2654435761U >> 24);
  const std::string head =
      fmt::format("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", kSize);
  const std::string answer = fmt::format("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", kSize);
  passes(program, server, head);
  passes(server, program, answer);
  constexpr std::size_t kPart = 1 << 20;
  for (std::size_t at = 0; at < kSize; at += kPart) {
    const std::string_view part = std::string_view(body).substr(at, kPart);
    program.say(part);
    const std::string heard = server.hear(kPart);
    REQUIRE((heard == part));
    server.say(heard);
    REQUIRE((program.hear(kPart) == part));
  }
  const auto flow = engine.ended(1).at(0);
  CHECK(flow.request_bytes == kSize);
  CHECK(flow.response_bytes == kSize);
  CHECK(flow.request_body == body.substr(0, 4096));
  CHECK(flow.request_body_cut);
  CHECK(flow.response_body_cut);
}

TEST_CASE("http: the decrypted stream is published with its ends") {
  Engine engine{rig::trusting(), {}, true};
  auto [program, server] = engine.open();
  passes(program, server, kGet);
  passes(server, program, kOk);
  program.close();
  CHECK(engine.idle());
  std::string streams[2];
  int ends[2] = {0, 0};
  for (const auto& data : engine.data(4)) {
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
  Engine engine{rig::trusting(), {}, true};
  auto [program, server] = engine.open();
  passes(program, server, kGet);
  server.say("HTTP/1.1 200 OK\r\nContent-");
  server.finish();
  const std::string page = program.hear_all();
  CHECK(page.find("502") != std::string::npos);
  program.close();
  CHECK(engine.idle());
  std::string said;
  bool ended = false;
  for (const auto& data : engine.data(4)) {
    if (data.direction == mitm::flow::Direction::request) continue;
    CHECK_FALSE(ended);
    ended = data.bytes.empty();
    said += data.bytes;
  }
  CHECK(ended);
  CHECK(said == page);
}

TEST_CASE("http: a request whose response does not come is shown while it waits") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  passes(program, server, kGet);
  engine.tick(std::chrono::milliseconds{1900});
  CHECK(engine.started(0).empty());
  engine.tick(std::chrono::seconds{2});
  engine.tick(std::chrono::seconds{3});
  REQUIRE(engine.started(1).size() == 1);
  const auto start = engine.started(1).at(0);
  CHECK(start.type == Type::http);
  CHECK(start.status == 0);
  CHECK(start.target == "/a");
  CHECK(engine.ended(0).empty());
  passes(server, program, kOk);
  const auto flow = engine.ended(1).at(0);
  CHECK(flow.id == start.id);
  CHECK(flow.status == 200);
}

TEST_CASE("http: what a server says before its answer, and the words of its status, are known") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  passes(program, server, kGet);
  passes(server, program, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
  passes(server, program, "HTTP/1.1 100 Continue\r\n\r\n");
  passes(server, program, "HTTP/1.1 200 All  right\r\nContent-Length: 2\r\n\r\nhi");
  const auto flow = engine.ended(1).at(0);
  CHECK(flow.status_text == "All  right");
  REQUIRE(flow.interim.size() == 2);
  CHECK(flow.interim[0].status == 103);
  CHECK(flow.interim[0].fields.find("link") == "</a>");
  CHECK(flow.interim[1].status == 100);
  REQUIRE(flow.request_ended);
  REQUIRE(flow.response_began);
  REQUIRE(flow.response_ended);
  CHECK(*flow.request_ended <= *flow.interim[0].at);
  CHECK(*flow.interim[1].at <= *flow.response_began);
  CHECK(*flow.response_began <= *flow.response_ended);
  CHECK(*flow.response_ended <= *flow.duration);
}

TEST_CASE("http: the time of a request begins with its first byte") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  passes(program, server, kGet);
  passes(server, program, kOk);
  program.say("GET /a HT");
  std::this_thread::sleep_for(std::chrono::milliseconds{5});  // that is what is measured
  program.say("TP/1.1\r\nHost: h.test\r\n\r\n");
  server.hear(std::string("GET /a HTTP/1.1\r\nHost: h.test\r\n\r\n").size());
  passes(server, program, kOk);
  CHECK(*engine.ended(2).at(1).request_ended >= std::chrono::milliseconds{5});
}

TEST_CASE("http: the events of a connection come in the order in which things happen") {
  using namespace mitm::flow;
  Engine engine{rig::trusting()};
  {
    auto [program, server] = engine.open();
    passes(program, server, kGet);
    CHECK(engine.kinds(3) == std::vector{index_of<ConnectionOpened>(), index_of<RequestHead>(),
                                         index_of<RequestEnd>()});
    passes(server, program, kOk);
    CHECK(engine.kinds(5)[3] == index_of<ResponseHead>());
    CHECK(engine.kinds(5)[4] == index_of<HttpEnd>());
    hang_up(program, server);
  }
  CHECK(engine.kinds(6).back() == index_of<ConnectionEnd>());
}
