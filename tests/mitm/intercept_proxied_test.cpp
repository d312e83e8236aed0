// Programs that begin with a PROXY protocol header: it arrives unchanged, and what follows is
// intercepted.
#include <string>

#include "tests/mitm/connection_dialogue.h"
#include "tests/test.h"

using dialogue::Engine;
using Type = test::FlatFlow::Type;
using namespace std::string_literals;

namespace {

const std::string kText = "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n";
const std::string kBinary =
    "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\xdc\x04\x01\xbb"s;
const std::string kReason = "; behind a PROXY protocol header";

}  // namespace

TEST_CASE("proxied: the header arrives at once, TLS behind it is intercepted") {
  for (const auto& header : {kText, kBinary}) {
    Engine engine{rig::trusting()};
    auto [program, server] = engine.open();
    passes(program, server, header);
    const auto client = rig::ours().client(), origin = rig::theirs().server("h.test");
    const auto done = shake(program, client.get(), server, origin.get(), "h.test");
    REQUIRE(done.program);
    REQUIRE(done.server);
    passes(program, server, rig::kGet);
    passes(server, program, rig::kOk);
    const auto flow = engine.ended(1).at(0);
    CHECK(flow.type == Type::http);
    CHECK(flow.host == "h.test");
    const std::string more = header == kText ? ": TCP4 192.0.2.1 192.0.2.2 56324 443" : "";
    CHECK(flow.reason == "test" + kReason + more);
  }
}

TEST_CASE("proxied: with the request behind it in one piece, and byte by byte") {
  for (const bool whole : {true, false}) {
    for (const auto& header : {kText, kBinary}) {
      Engine engine{rig::trusting(), {}, true};
      auto [program, server] = engine.open();
      const std::string all = header + std::string(rig::kGet);
      if (whole) {
        program.say(all);
      } else {
        for (const char c : all) program.say({&c, 1});
      }
      CHECK(server.hear(all.size()) == all);
      passes(server, program, rig::kOk);
      CHECK(engine.ended(1).at(0).url.starts_with("http://h.test"));
      std::string seen;
      for (const auto& data : engine.data(2)) {
        if (data.direction == mitm::flow::Direction::request) seen += data.bytes;
      }
      CHECK(seen.starts_with(header));
    }
  }
}

TEST_CASE("proxied: a server that speaks first need not wait, and the bytes are counted") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  passes(program, server, kText);
  passes(server, program, "220 ready\r\n");
  passes(program, server, "QUIT\r\n");
  hang_up(program, server);
  const auto flow = engine.ended(1).at(0);
  CHECK(flow.type == Type::tcp);
  CHECK(flow.request_bytes == kText.size() + 6);
}

TEST_CASE("proxied: rules on the host behind it hold") {
  for (const auto action : {divert::Action::pass, divert::Action::block}) {
    Engine engine{rig::trusting(), rig::policy_for("h.test", action)};
    auto [program, server] = engine.open(rig::by_host(divert::Action::intercept, action));
    program.say(kText + std::string(rig::kGet));
    if (action == divert::Action::pass) {
      CHECK(server.hear(kText.size() + rig::kGet.size()) == kText + std::string(rig::kGet));
      passes(server, program, rig::kOk);
    }
    hang_up(program, server);
    const auto flow = engine.ended(1).at(0);
    CHECK(flow.type == (action == divert::Action::pass ? Type::pass : Type::block));
    if (action == divert::Action::pass)
      CHECK(flow.request_bytes == kText.size() + rig::kGet.size());
  }
}
