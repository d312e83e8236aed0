// Programs that do not trust us, through a real engine: what the flow says, and when they begin to
// pass.
#include <string>

#include <openssl/err.h>

#include "tests/mitm/connection_dialogue.h"
#include "tests/test.h"

using dialogue::Engine;
using mitm::intercept::PinningCache;
using mitm::intercept::PinningSettings;
using mitm::tls::SslCtxPtr;
using rig::kGet;
using rig::kOk;
using Type = test::FlatFlow::Type;

namespace {

mitm::intercept::Settings with(PinningSettings learned) {
  learned.at_once = std::chrono::minutes{1};  // also on a busy machine
  auto settings = rig::trusting();
  settings.learned = std::make_shared<PinningCache>(learned);
  return settings;
}

/// Whether the program's handshake succeeded. `look`: it compares keys once the handshake is over,
/// and leaves.
bool visit(Engine& engine, SSL_CTX* client, bool look = false,
           const std::vector<std::string>& alpn = {},
           divert::Verdict verdict = {divert::Action::intercept, "test", {}}) {
  auto [program, server] = engine.open(std::move(verdict));
  const SslCtxPtr origin = rig::theirs().server("h.test");
  const bool trusted = shake(program, client, server, origin.get(), "h.test", alpn).program;
  if (look) program.finish();
  if (trusted && !look) {
    passes(program, server, kGet);
    passes(server, program, kOk);
  }
  program.close();
  if (trusted && look) server.hear_all();  // the program was the first to leave
  server.close();
  CHECK(engine.idle());
  return trusted;
}

}  // namespace

TEST_CASE("refusal: a program that does not know our CA passes after three alerts") {
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    CAPTURE(version);
    Engine engine{with({})};
    engine.program("/usr/bin/curl");
    const SslCtxPtr client = rig::theirs().client();
    SSL_CTX_set_max_proto_version(client.get(), version);
    for (std::size_t i = 1; i <= 3; ++i) {
      CHECK_FALSE(visit(engine, client.get()));
      const auto flow = engine.ended(i).back();
      CHECK(flow.type == Type::tls_error);
      CHECK(flow.error.find("does not trust osproxy's CA") != std::string::npos);
      const std::string follows = i < 3 ? "; refusal " + std::to_string(i) + " of 3, then it passes"
                                        : "; it passes for 10 minutes now (see osproxy learned)";
      CHECK_MESSAGE(flow.error.ends_with(follows), flow.error);
    }
    CHECK(visit(engine, client.get()));  // with the server's own certificate
    const auto flow = engine.ended(4).back();
    CHECK(flow.type == Type::pass);
    CHECK(flow.decision == "pass");
    CHECK(flow.reason.starts_with(
        "learned: refused osproxy's certificate 3 times (alert unknown ca); until "));
    CHECK(flow.host == "h.test");
    // Another program is intercepted as before.
    engine.program("/usr/bin/wget");
    CHECK(visit(engine, rig::ours().client().get()));
    CHECK(engine.ended(5).back().type == Type::http);
  }
}

TEST_CASE("refusal: a program that compares keys and leaves without a word passes as well") {
  const std::vector<std::string> protocols[] = {{}, {"http/1.1"}, {"h2"}};
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    for (const auto& alpn : protocols) {
      CAPTURE(version);
      CAPTURE(alpn.empty() ? "" : alpn[0]);
      Engine engine{with({.after = 2})};
      engine.program("/usr/bin/curl");
      const SslCtxPtr client = rig::ours().client();
      SSL_CTX_set_max_proto_version(client.get(), version);
      const std::size_t needed =
          alpn.empty() ? 4 : 2;  // who says nothing of a protocol may have come to look
      for (std::size_t i = 1; i <= needed; ++i) {
        CHECK(visit(engine, client.get(), true, alpn));
        const auto flow = engine.ended(i).back();
        CHECK(flow.type == Type::tls_error);
        CHECK_MESSAGE(flow.error.find("pinning") != std::string::npos, flow.error);
      }
      CHECK_FALSE(visit(
          engine, client.get()));  // it sees the server's certificate, which it does not trust here
      CHECK(engine.ended(needed + 1).back().type == Type::pass);
    }
  }
}

TEST_CASE(
    "refusal: three connections that only read a "
    "certificate keep none of a program's from being shown") {
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    CAPTURE(version);
    Engine engine{with({})};
    engine.program("/usr/bin/openssl");
    const SslCtxPtr client = rig::ours().client();
    SSL_CTX_set_max_proto_version(client.get(), version);
    for (int i = 0; i < 3; ++i) CHECK(visit(engine, client.get(), true));
    CHECK(visit(engine, client.get()));
    CHECK(engine.ended(4).back().type == Type::http);
    // It has spoken: from here on silence says nothing, however often.
    for (int i = 0; i < 7; ++i) CHECK(visit(engine, client.get(), true));
    CHECK(visit(engine, client.get()));
    CHECK(engine.ended(5).back().type == Type::http);
  }
}

TEST_CASE("refusal: another user's program of the same name is intercepted as before") {
  Engine engine{with({.after = 1})};
  engine.program("/usr/bin/curl", 5);
  CHECK_FALSE(visit(engine, rig::strangers().client().get()));
  CHECK(engine.ended(1).back().type == Type::tls_error);
  CHECK(visit(engine, rig::theirs().client().get()));
  CHECK(engine.ended(2).back().type == Type::pass);
  engine.program("/usr/bin/curl", 0);
  CHECK(visit(engine, rig::ours().client().get()));
  CHECK(engine.ended(3).back().type == Type::http);
}

TEST_CASE("refusal: a program that uses one connection refuses nothing by closing another unused") {
  for (const char* alpn : {"", "http/1.1", "h2"}) {
    CAPTURE(alpn);
    Engine engine{with({.after = 1})};
    engine.program("/usr/bin/chromium");
    const SslCtxPtr client = rig::ours().client();
    CHECK(visit(engine, client.get()));
    CHECK(visit(engine, client.get(), true,
                alpn[0] == 0 ? std::vector<std::string>{} : std::vector<std::string>{alpn}));
    CHECK(visit(engine, client.get()));
    for (const auto& flow : engine.ended(2)) CHECK(flow.type == Type::http);
  }
}

TEST_CASE("refusal: a program that had left before our certificate was there has refused nothing") {
  for (const bool reset : {false, true}) {
    CAPTURE(reset);
    Engine engine{with({.after = 1})};
    engine.program("/usr/bin/curl");
    const SslCtxPtr client = rig::ours().client(), origin = rig::theirs().server("h.test");
    auto [program, server] = engine.open();
    CHECK_FALSE(program.start_tls(client.get(), false, "h.test"));
    if (reset) {
      program.reset();
    } else {
      program.close();
    }
    CHECK(server.start_tls(origin.get(), true));
    server.hear_all();
    const auto flow = engine.ended(1).at(0);
    CHECK(flow.type == Type::tls_error);
    CHECK(flow.error ==
          "the program closed the connection before TLS with the server was agreed on");
    CHECK(visit(engine, client.get()));
    CHECK(engine.ended(2).at(1).type == Type::http);
  }
}

TEST_CASE("refusal: a connection that is used ends the count") {
  Engine engine{with({.after = 2})};
  engine.program("/usr/bin/curl");
  const SslCtxPtr stranger = rig::strangers().client();
  const SslCtxPtr friendly = rig::ours().client();
  CHECK_FALSE(visit(engine, stranger.get()));
  CHECK(visit(engine, friendly.get()));
  CHECK_FALSE(visit(engine, stranger.get()));
  const auto flow = engine.ended(3).back();
  CHECK_MESSAGE(flow.error.ends_with("; refusal 1 of 2, then it passes"), flow.error);
}

TEST_CASE(
    "refusal: an unknown CA is no reason to pass while "
    "no store has ours; the flow says what to do") {
  Engine engine{with({.after = 1, .ca_trusted = false})};
  engine.program("/usr/bin/curl");
  const SslCtxPtr client = rig::strangers().client();
  for (std::size_t i = 1; i <= 2; ++i) {
    CHECK_FALSE(visit(engine, client.get()));
    const auto flow = engine.ended(i).back();
    CHECK(flow.type == Type::tls_error);
    CHECK(flow.error.find("osproxy ca install") != std::string::npos);
    CHECK(flow.error.find("osproxy exec") != std::string::npos);
    CHECK(flow.error.find("passes") == std::string::npos);
  }
}

TEST_CASE(
    "refusal: under exec the flow names the file that the program has to be told of, not exec") {
  auto settings = with({.after = 1, .ca_trusted = false});
  settings.exec_ca_file = "/ca/ca-bundle.pem";
  Engine engine{settings};
  engine.program("/usr/bin/curl");
  CHECK_FALSE(visit(engine, rig::strangers().client().get()));
  const std::string error = engine.ended(1).back().error;
  CHECK_MESSAGE(error.starts_with("the program does not trust osproxy's CA (alert unknown ca); "
                                  "it has a list of CAs of its own"),
                error);
  CHECK(error.find("/ca/ca-bundle.pem") != error.npos);
  CHECK(error.find("--cacert") != error.npos);
  CHECK_MESSAGE(
      error.find("; whether it would trust the server's own certificate, issued by CN = ") !=
          error.npos,
      error);
  CHECK(error.find("osproxy exec") == error.npos);
  CHECK(error.find("ca install") == error.npos);
}

TEST_CASE("refusal: while a store has our CA, the flow names exec and the root's file instead") {
  auto settings = with({.after = 3});
  settings.root_ca_file = "/ca/root-ca.pem";
  const struct {
    const char* program;
    const char* remedy;
  } cases[] = {
      {"/usr/bin/curl",
       "for a trust store of this machine has osproxy's: start it with osproxy exec, or name "
       "/ca/root-ca.pem to it (curl --cacert FILE"},
      {"/opt/node/bin/node",
       "start it with osproxy exec, or with NODE_EXTRA_CA_CERTS=/ca/root-ca.pem, or let"},
      {"/usr/bin/deno", "start it with osproxy exec, or with DENO_CERT=/ca/root-ca.pem, or let"}};
  for (const auto& one : cases) {
    CAPTURE(one.program);
    Engine engine{settings};
    engine.program(one.program);
    CHECK_FALSE(visit(engine, rig::strangers().client().get()));
    const std::string error = engine.ended(1).back().error;
    CHECK_MESSAGE(error.find(one.remedy) != error.npos, error);
    CHECK(error.find("ca install") == error.npos);
    CHECK(error.find("issued by") == error.npos);
  }
}

TEST_CASE("refusal: a hang-up has the same remedies as a refusal in words") {
  auto settings = with({.after = 9});
  settings.root_ca_file = "/ca/root-ca.pem";
  Engine engine{settings};
  engine.program("/usr/bin/node");
  CHECK(visit(engine, rig::ours().client().get(), true));
  const std::string error = engine.ended(1).back().error;
  CHECK_MESSAGE(error.find("it may have refused osproxy's certificate (pinning), or not trust its "
                           "CA; if so, it has a list of CAs of its own") != error.npos,
                error);
  CHECK(error.find("NODE_EXTRA_CA_CERTS=/ca/root-ca.pem") != error.npos);
}

TEST_CASE(
    "refusal: a program whose clock is wrong by a "
    "day trusts our certificates; one that is far off is told") {
  const struct {
    int days;
    const char* error;  ///< null: it is good
  } cases[] = {
      {-1, nullptr},
      {1, nullptr},
      {-30,
       "does not trust osproxy's CA, or its clock is wrong (alert bad certificate): osproxy's "
       "certificate is valid from 20"},
      {30,
       "takes osproxy's certificate for expired (alert certificate expired): its clock may be "
       "wrong; the certificate is valid from 20"}};
  for (const auto& one : cases) {
    CAPTURE(one.days);
    Engine engine{with({.after = 1})};
    engine.program("/usr/bin/curl");
    const SslCtxPtr client = rig::ours().client();
    X509_VERIFY_PARAM_set_time(SSL_CTX_get0_param(client.get()),
                               std::time(nullptr) + one.days * 86400);
    CHECK(visit(engine, client.get()) == (one.error == nullptr));
    const auto flow = engine.ended(1).back();
    CHECK(flow.type == (one.error == nullptr ? Type::http : Type::tls_error));
    if (one.error == nullptr) continue;
    CHECK_MESSAGE(flow.error.find(one.error) != flow.error.npos, flow.error);
    CHECK(flow.error.find("while this machine's clock says 20") != flow.error.npos);
  }
}

TEST_CASE("refusal: a rule that names the host is stronger than what was learned") {
  divert::Policy policy;
  divert::Rule rule;
  rule.hosts = {"h.test"};
  rule.action = divert::Action::intercept;
  policy.rules = {rule};
  Engine engine{with({.after = 1}), policy};
  engine.program("/usr/bin/curl");
  const SslCtxPtr client = rig::strangers().client();
  for (std::size_t i = 1; i <= 2; ++i) {
    visit(engine, client.get(), false, {},
          {divert::Action::intercept, "test", {{0, divert::Action::intercept}}});
    CHECK(engine.ended(i).back().type == Type::tls_error);
  }
}
