// Rules on hosts, which are known only from the first bytes.
#include <string>

#include "tests/mitm/connection_dialogue.h"
#include "tests/test.h"

using dialogue::Engine;
using mitm::tls::SslCtxPtr;
using rig::by_host;
using rig::End;
using rig::kGet;
using rig::kOk;
using rig::policy_for;
using Type = test::FlatFlow::Type;

TEST_CASE("rules: a host that passes reaches its server untouched, the first bytes included") {
  Engine engine{rig::trusting(), policy_for("h.test", divert::Action::pass)};
  auto [program, server] = engine.open(by_host(divert::Action::intercept, divert::Action::pass));
  const SslCtxPtr client = rig::strangers().client();
  const SslCtxPtr origin = rig::strangers().server("h.test");
  const auto done = shake(program, client.get(), server, origin.get(), "h.test", {"h2"});
  CHECK(done.program);  // with the server's own certificate
  CHECK(alpn_of(program) == "h2");
  passes(program, server, kGet);
  hang_up(program, server);
  const auto flow = engine.ended(1).at(0);
  CHECK(flow.type == Type::pass);
  CHECK(flow.decision == "pass");
  CHECK(flow.host == "h.test");
}

TEST_CASE("rules: a host that is blocked is reset, by SNI or Host") {
  for (const bool tls : {true, false}) {
    Engine engine{rig::trusting(), policy_for("h.test", divert::Action::block)};
    auto [program, server] = engine.open(by_host(divert::Action::intercept, divert::Action::block));
    if (tls) {
      const SslCtxPtr client = rig::ours().client();
      CHECK_FALSE(program.start_tls(client.get(), false, "h.test"));
    } else {
      program.say(kGet);
      program.hear_all();
      CHECK(program.end() == End::reset);
    }
    server.hear_all();
    CHECK(server.end() == End::reset);
    const auto flow = engine.ended(1).at(0);
    CHECK(flow.type == Type::block);
    CHECK(flow.decision == "block");
  }
}

TEST_CASE("rules: another host is intercepted as the verdict says") {
  Engine engine{rig::trusting(), policy_for("other.test", divert::Action::block)};
  auto [program, server] = engine.open(by_host(divert::Action::intercept, divert::Action::block));
  passes(program, server, kGet);
  passes(server, program, kOk);
  CHECK(engine.ended(1).at(0).type == Type::http);
}
