// Programs that have an explicit proxy connect them (CONNECT): inside the tunnel everything is
// judged by whom the program means, not by where the proxy is.
#include <string>

#include <openssl/x509v3.h>

#include "tests/mitm/connection_dialogue.h"
#include "tests/test.h"

using dialogue::Engine;
using dialogue::Peer;
using mitm::intercept::PinningCache;
using mitm::intercept::PinningSettings;
using mitm::tls::SslCtxPtr;
using rig::by_host;
using rig::End;
using rig::kGet;
using rig::kOk;
using rig::policy_for;
using Type = test::FlatFlow::Type;

namespace {

/// The Host field is not to be believed: it is the target that the proxy goes by.
void connect(Peer& program, Peer& server, std::string_view target) {
  passes(program, server, fmt::format("CONNECT {} HTTP/1.1\r\nHost: proxy.test\r\n\r\n", target));
  passes(server, program, "HTTP/1.1 200 Connection established\r\n\r\n");
}

bool is_for(const Peer& peer, const char* target) {
  const mitm::tls::X509Ptr certificate{SSL_get1_peer_certificate(peer.ssl())};
  return X509_check_host(certificate.get(), target, 0, 0, nullptr) == 1 ||
         X509_check_ip_asc(certificate.get(), target, 0) == 1;
}

}  // namespace

TEST_CASE("connect: without SNI the certificate must name whom the program asked the proxy for") {
  struct Case {
    const char* target;
    const char* host;
    const char* named;  ///< by the server's certificate
    bool good;
  };
  const Case cases[] = {
      {"h.test:443", "h.test", "h.test", true},
      {"H.Test:443", "h.test", "h.test", true},
      {"192.0.2.5:443", "192.0.2.5", "192.0.2.5", true},
      {"[2001:db8::5]:443", "2001:db8::5", "2001:db8::5", true},
      {"h.test:443", "h.test", "other.test", false},
      {"192.0.2.5:443", "192.0.2.5", "127.0.0.1", false},  // the proxy itself
  };
  for (const auto& one : cases) {
    CAPTURE(one.target);
    CAPTURE(one.named);
    Engine engine{rig::with_pages()};
    auto [program, server] = engine.open();
    connect(program, server, one.target);
    const SslCtxPtr client = rig::ours().client(), origin = rig::theirs().server(one.named);
    REQUIRE(shake(program, client.get(), server, origin.get(), nullptr, {"http/1.1"}).program);
    CHECK(is_for(program, one.host));
    program.say("GET /a HTTP/1.1\r\nHost: other\r\n\r\n");
    if (one.good) server.say(kOk);
    program.hear(16);
    const auto flow = engine.ended(2).at(1);
    CHECK(flow.status == (one.good ? 200 : 502));
    CHECK(flow.host == one.host);
    CHECK((flow.error.find("cannot be verified") == flow.error.npos) == one.good);
  }
}

TEST_CASE(
    "connect: a session with one server is not resumed with another one behind the same proxy") {
  Engine engine{rig::with_pages()};
  const SslCtxPtr client = rig::ours().client(), origin = rig::theirs().server("a.test");
  const unsigned char id[] = "one";
  SSL_CTX_set_session_id_context(origin.get(), id, sizeof id);
  std::size_t flows = 0;
  for (const std::string host : {"a.test", "a.test", "b.test"}) {
    auto [program, server] = engine.open({divert::Action::intercept, "test", {}}, 3128);
    connect(program, server, host + ":443");
    REQUIRE(shake(program, client.get(), server, origin.get(), nullptr, {"http/1.1"}).program);
    program.say(kGet);
    if (host == "a.test") server.say(kOk);
    program.hear(16);
    flows += 2;
    CHECK(engine.ended(flows).back().status == (host == "a.test" ? 200 : 502));
    program.close();
    server.close();
    CHECK(engine.idle());
  }
}

TEST_CASE("connect: rules on the host hold for the SNI inside, else for the target") {
  for (const char* sni : {"h.test", static_cast<const char*>(nullptr)}) {
    CAPTURE((sni == nullptr));
    Engine engine{rig::trusting(), policy_for("h.test", divert::Action::pass)};
    auto [program, server] = engine.open(by_host(divert::Action::intercept, divert::Action::pass));
    // A target that a rule passes passes with all that is said to the proxy: this one comes second.
    passes(program, server, "GET http://one.test/ HTTP/1.1\r\nHost: one.test\r\n\r\n");
    passes(server, program, kOk);
    connect(program, server, sni != nullptr ? "198.51.100.1:443" : "h.test:443");
    const SslCtxPtr client = rig::strangers().client(), origin = rig::strangers().server("h.test");
    const auto done = shake(program, client.get(), server, origin.get(), sni);
    REQUIRE_MESSAGE(done.program, program.tls_error());  // with the server's own certificate
    passes(program, server, kGet);
    passes(server, program, kOk);
    hang_up(program, server);
    const auto flow = engine.ended(3).at(2);
    CHECK(flow.type == Type::pass);
    CHECK(flow.host == "h.test");
    CHECK(flow.reason == "rules[0], host h.test");
  }
}

TEST_CASE("connect: a rule on the host blocks inside") {
  Engine engine{rig::trusting(), policy_for("h.test", divert::Action::block)};
  auto [program, server] = engine.open(by_host(divert::Action::intercept, divert::Action::block));
  connect(program, server, "198.51.100.1:443");
  const SslCtxPtr client = rig::ours().client();
  CHECK_FALSE(program.start_tls(client.get(), false, "h.test"));
  server.hear_all();
  CHECK(server.end() == End::reset);
  CHECK(engine.ended(2).at(1).type == Type::block);
}

TEST_CASE("connect: what was learned passes inside, with what has been read of either side") {
  auto settings = rig::trusting();
  settings.learned = std::make_shared<PinningCache>(PinningSettings{.after = 1});
  Engine engine{settings};
  engine.program("/usr/bin/curl");
  const SslCtxPtr client = rig::theirs().client(), origin = rig::theirs().server("h.test");
  for (const bool passing : {false, true}) {
    CAPTURE(passing);
    auto [program, server] = engine.open();
    const std::string_view ask =
        "CONNECT 198.51.100.1:443 HTTP/1.1\r\nHost: 198.51.100.1:443\r\n\r\n";
    passes(program, server, ask);
    passes(server, program, "HTTP/1.1 200 OK\r\n\r\n");
    CHECK(shake(program, client.get(), server, origin.get(), "h.test").program == passing);
    if (passing) passes(program, server, kGet);
    hang_up(program, server);
    CHECK(engine.idle());
    const auto flow = engine.ended(passing ? 4 : 2).back();
    CHECK(flow.type == (passing ? Type::pass : Type::tls_error));
    CHECK(flow.host == "h.test");
    if (passing) CHECK(flow.reason.starts_with("learned: "));
  }
}

TEST_CASE(
    "connect: a server that speaks first, in one breath with the proxy's answer, and passes") {
  Engine engine{rig::trusting(), policy_for("h.test", divert::Action::pass)};
  auto [program, server] = engine.open(by_host(divert::Action::intercept, divert::Action::pass));
  passes(program, server, "GET http://one.test/ HTTP/1.1\r\nHost: one.test\r\n\r\n");
  passes(server, program, kOk);
  passes(program, server, "CONNECT h.test:25 HTTP/1.1\r\nHost: h.test:25\r\n\r\n");
  passes(server, program, "HTTP/1.1 200 OK\r\n\r\n220 hello\r\n");
  passes(program, server, "QUIT\r\n");
  hang_up(program, server);
  const auto flow = engine.ended(3).at(2);
  CHECK(flow.type == Type::pass);
  CHECK(flow.request_bytes == 6);
  CHECK(flow.response_bytes == 11);
}
