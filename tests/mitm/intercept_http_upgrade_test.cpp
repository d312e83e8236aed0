// What follows HTTP/1 on a connection: another protocol after 101, a tunnel after CONNECT.
#include <string>

#include "tests/mitm/connection_dialogue.h"
#include "tests/test.h"

using dialogue::Engine;
using rig::End;
using Type = test::FlatFlow::Type;

namespace {

constexpr std::string_view kGet = "GET /a HTTP/1.1\r\nHost: h.test:81\r\n\r\n";
constexpr std::string_view kOk = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

}  // namespace

TEST_CASE("http: an upgrade passes what follows as raw bytes") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  const std::string_view ask =
      "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n";
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
  const auto flows = engine.ended(2);
  CHECK(flows[0].type == Type::http);
  CHECK(flows[0].status == 101);
  CHECK(flows[1].type == Type::tcp);
  CHECK(flows[1].request_bytes == 5 + 26);
  CHECK(flows[1].response_bytes == 4 + 3);
  CHECK(engine.started(1).at(0).type == Type::tcp);
}

TEST_CASE("http: whatever follows an upgrade's request arrives behind the answer") {
  const std::string_view ask =
      "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n";
  const std::string_view yes = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\n\r\n";
  for (const std::size_t size : {std::size_t{0}, std::size_t{5}, std::size_t{3} << 20}) {
    CAPTURE(size);
    Engine engine{rig::trusting()};
    auto [program, server] = engine.open();
    std::string early(size, '\0');
    for (std::size_t i = 0; i < size; ++i) early[i] = static_cast<char>(i * 2654435761U >> 24);
    program.say(std::string(ask) + early);
    program.finish();
    CHECK(server.hear(ask.size()) == ask);
    CHECK(server.hears_nothing());
    server.say(std::string(yes) + "hi");
    CHECK(program.hear(yes.size() + 2) == std::string(yes) + "hi");
    CHECK((server.hear_all() == early));
    CHECK(server.end() == End::fin);
    passes(server, program, "bye");
    server.close();
    CHECK(program.hear_all() == "");
    CHECK(engine.ended(2).at(1).request_bytes == size);
  }
}

TEST_CASE("http: a refused upgrade goes on with HTTP") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  const std::string_view ask =
      "GET /1 HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n";
  program.say(std::string(ask) + std::string(kGet));
  CHECK(server.hear(ask.size()) == ask);
  passes(server, program, kOk);
  CHECK(server.hear(kGet.size()) == kGet);
  passes(server, program, kOk);
  CHECK(engine.ended(2).at(1).url == "http://h.test:81/a");
}

TEST_CASE("http: inside the tunnel of a CONNECT everything begins anew") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  passes(program, server, "CONNECT h.test:443 HTTP/1.1\r\nHost: h.test:443\r\n\r\n");
  passes(server, program, "HTTP/1.1 200 Connection established\r\n\r\n");
  passes(program, server, kGet);
  passes(server, program, kOk);
  const auto flows = engine.ended(2);
  CHECK(flows[0].url == "h.test:443");
  CHECK(flows[1].url == "http://h.test:81/a");
  passes(program, server, "GET /b HTTP/1.1\r\nHost: h.test\r\n\r\n");
  passes(server, program, kOk);
  CHECK(engine.ended(3).at(2).url == "http://h.test:443/b");
}
