// Servers that cannot be trusted, or with which TLS fails: what the program is told, and what is
// reported.
#include <chrono>
#include <string>

#include <openssl/x509v3.h>

#include "mitm/http/http2.h"
#include "mitm/tls/certificate.h"
#include "tests/mitm/connection_dialogue.h"
#include "tests/mitm/http2_frames.h"
#include "tests/test.h"

using dialogue::Engine;
using mitm::tls::SslCtxPtr;
using rig::End;
using rig::kGet;
using rig::kOk;
using rig::with_pages;
using Type = test::FlatFlow::Type;

TEST_CASE(
    "tls: whatever is wrong with the server's certificate, "
    "an HTTP client may get a page that says so") {
  struct Case {
    const char* name;
    const rig::Authority& authority;
    const char* host;
    std::vector<const char*> why;
  };
  const Case cases[] = {{"unknown CA",
                         rig::strangers(),
                         "h.test",
                         {"unable to get local issuer", "it is signed by", "--upstream-ca",
                          "osproxy's own --insecure (the program's own has no effect)"}},
                        {"another name",
                         rig::theirs(),
                         "other.test",
                         {"ostname mismatch (it is for other.test)", "--insecure"}}};
  for (const auto& one : cases) {
    CAPTURE(one.name);
    Engine engine{with_pages()};
    auto [program, server] = engine.open();
    const SslCtxPtr client = rig::ours().client();
    const SslCtxPtr origin = one.authority.server(one.host);
    const auto done =
        shake(program, client.get(), server, origin.get(), "h.test", {"h2", "http/1.1"});
    REQUIRE(done.program);
    program.say(kGet);
    const std::string page = program.hear_all();
    CHECK(program.end() == End::notify);
    CHECK(page.starts_with("HTTP/1.1 502 Bad Gateway\r\n"));
    CHECK(page.find("h.test") != page.npos);
    for (const auto* part : one.why) {
      CAPTURE(part);
      CHECK(page.find(part) != page.npos);
    }
    const auto flow = engine.ended(1).at(0);
    CHECK(flow.type == Type::http);
    CHECK(flow.status == 502);
    CHECK(flow.url == rig::with_port("https://h.test/a", flow));
    CHECK_MESSAGE(flow.error.find(one.why[0]) != flow.error.npos, flow.error);
    program.close();
    CHECK(engine.idle());
  }
}

TEST_CASE("tls: --insecure accepts any certificate") {
  auto settings = rig::trusting();
  settings.insecure = true;
  Engine engine{settings};
  auto [program, server] = engine.open();
  const SslCtxPtr client = rig::ours().client();
  const SslCtxPtr origin = rig::strangers().server("other.test");
  REQUIRE(shake(program, client.get(), server, origin.get(), "h.test").program);
  passes(program, server, kGet);
  passes(server, program, kOk);
  CHECK(engine.ended(1).at(0).error == "");
}

TEST_CASE("tls: a server that breaks off the handshake is named in the page") {
  Engine engine{with_pages()};
  auto [program, server] = engine.open();
  const SslCtxPtr client = rig::ours().client();
  program.begin_tls(client.get(), false, "h.test");
  program.step_tls();
  CHECK(server.hear(1) == "\x16");
  server.reset();
  REQUIRE(program.go_on_tls());
  program.say(kGet);
  CHECK(program.hear_all().find("connection reset by peer") != std::string::npos);
  CHECK(engine.ended(1).at(0).status == 502);
}

TEST_CASE(
    "tls: a program that does not speak HTTP gets an alert when the server cannot be verified") {
  Engine engine{with_pages()};
  auto [program, server] = engine.open();
  const SslCtxPtr client = rig::ours().client();
  const SslCtxPtr origin = rig::strangers().server("h.test");
  const auto done = shake(program, client.get(), server, origin.get(), "h.test", {"imap"});
  CHECK_FALSE(done.program);
  CHECK(program.tls_error().find("alert unknown ca") != std::string::npos);
  const auto flow = engine.ended(1).at(0);
  CHECK(flow.type == Type::tls_error);
  CHECK(flow.host == "h.test");
  CHECK(flow.error.find("cannot be verified") != flow.error.npos);
  REQUIRE(flow.upstream_tls != nullptr);
  REQUIRE(flow.upstream_tls->certificates != nullptr);
  CHECK(flow.upstream_tls->certificates->size() == 2);
}

TEST_CASE(
    "tls: what is wrong with the server's certificate "
    "reaches the program as the alert that says it") {
  struct Refusal {
    const char* name;
    const char* alert;  ///< OpenSSL's words, as the program has them
    const char* error;  ///< of the flow
    const char* names;  ///< of the server's certificate
    mitm::tls::Validity validity;
    bool known_ca;
  };
  using std::chrono::hours;
  const auto now = std::chrono::system_clock::now();
  const mitm::tls::Validity good{now - hours{1}, now + hours{1}},
      past{now - hours{9}, now - hours{1}}, future{now + hours{1}, now + hours{9}};
  const Refusal cases[] = {
      {"expired", "alert certificate expired", "certificate has expired", "DNS:h.test", past, true},
      {"not yet valid", "alert bad certificate", "certificate is not yet valid", "DNS:h.test",
       future, true},
      {"another name", "alert bad certificate", "ostname mismatch", "DNS:other.test", good, true},
      {"unknown CA", "alert unknown ca", "self-signed certificate", "DNS:h.test", good, false}};
  for (const auto& one : cases) {
    for (const std::vector<std::string>& alpn :
         {std::vector<std::string>{}, {"http/1.1"}, {"h2", "http/1.1"}}) {
      CAPTURE(one.name);
      Engine engine{rig::trusting()};
      auto [program, server] = engine.open();
      const SslCtxPtr client = rig::ours().client(), origin{SSL_CTX_new(TLS_server_method())};
      const auto key = mitm::tls::generate_p256();
      const auto& issuer = rig::theirs().signer->intermediate();
      X509* const above = one.known_ca ? issuer.certificate.get() : nullptr;
      const auto leaf = mitm::tls::draft_certificate("h.test", above, key->get(), one.validity);
      REQUIRE(mitm::tls::add_extension(leaf->get(), above, NID_subject_alt_name, one.names));
      REQUIRE(mitm::tls::sign(leaf->get(), one.known_ca ? issuer.key.get() : key->get()));
      SSL_CTX_use_certificate(origin.get(), leaf->get());
      SSL_CTX_use_PrivateKey(origin.get(), key->get());
      SSL_CTX_add1_chain_cert(origin.get(), issuer.certificate.get());
      CHECK_FALSE(shake(program, client.get(), server, origin.get(), "h.test", alpn).program);
      CHECK_MESSAGE(program.tls_error().find(one.alert) != std::string::npos, program.tls_error());
      const auto flow = engine.ended(1).at(0);
      CHECK(flow.type == Type::tls_error);
      CHECK_MESSAGE(flow.error.find(one.error) != flow.error.npos, flow.error);
      CHECK(flow.tls == nullptr);
      REQUIRE(flow.upstream_tls != nullptr);
      CHECK(flow.upstream_tls->version == "TLSv1.3");
      CHECK(flow.upstream_tls->cipher.starts_with("TLS_"));
      REQUIRE(flow.upstream_tls->certificates != nullptr);
      const auto& facts = flow.upstream_tls->certificates->at(0);
      CHECK(facts.subject == "CN = h.test");
      CHECK(facts.names == std::vector<std::string>{std::string(one.names).substr(4)});
      CHECK(facts.not_after == std::chrono::floor<std::chrono::seconds>(one.validity.until));
      CHECK(facts.sha256.size() == 95);
      CHECK(facts.der.starts_with("\x30\x82"));
      CHECK_FALSE(engine.idle());  // the program has time to read the alert
      program.close();
      CHECK(engine.idle());
    }
  }
}

TEST_CASE("tls: a server's own alert reaches the program") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  const SslCtxPtr client = rig::ours().client();
  program.begin_tls(client.get(), false, "h.test", {"http/1.1"});
  program.step_tls();
  CHECK(server.hear(1) == "\x16");
  server.say({"\x15\x03\x01\x00\x02\x02\x70", 7});  // unrecognized_name
  CHECK_FALSE(program.go_on_tls());
  CHECK_MESSAGE(program.tls_error().find("unrecognized name") != std::string::npos,
                program.tls_error());
  const auto flow = engine.ended(1).at(0);
  CHECK(flow.error ==
        "TLS with h.test failed: the server does not serve this name (alert unrecognized name)");
  CHECK(flow.upstream_tls == nullptr);
}

TEST_CASE("tls: a server that does not speak TLS is called that") {
  const std::pair<const char*, const char*> cases[] = {
      {"HTTP/1.1 400 Bad Request\r\n\r\n",
       "TLS with h.test failed: the server speaks plain HTTP on this port, not TLS ("},
      {"SSH-2.0-OpenSSH_9\r\n",
       "TLS with h.test failed: the server does not speak TLS on this port: its answer begins "
       "with 'SSH-2.0-OpenSSH_' ("}};
  for (const auto& [answer, error] : cases) {
    Engine engine{rig::trusting()};
    auto [program, server] = engine.open();
    const SslCtxPtr client = rig::ours().client();
    program.begin_tls(client.get(), false, "h.test", {"http/1.1"});
    program.step_tls();
    CHECK(server.hear(1) == "\x16");
    server.say(answer);
    CHECK_FALSE(program.go_on_tls());
    const auto flow = engine.ended(1).at(0);
    CHECK_MESSAGE(flow.error.starts_with(error), flow.error);
    CHECK(flow.upstream_tls == nullptr);
  }
}

TEST_CASE("tls: the server's certificates are reported, when a session is resumed as well") {
  Engine engine{rig::trusting()};
  const SslCtxPtr client = rig::ours().client(), origin = rig::theirs().server("h.test");
  for (std::size_t i = 1; i <= 2; ++i) {
    auto [program, server] = engine.open({divert::Action::intercept, "test", {}}, 443);
    REQUIRE(shake(program, client.get(), server, origin.get(), "h.test").program);
    CHECK(SSL_session_reused(server.ssl()) == (i == 2 ? 1 : 0));
    passes(program, server, kGet);
    passes(server, program, kOk);
    const auto flow = engine.ended(i).back();
    REQUIRE(flow.upstream_tls->certificates != nullptr);
    REQUIRE(flow.upstream_tls->certificates->size() == 2);
    const auto& own = flow.upstream_tls->certificates->at(0);
    const auto& above = flow.upstream_tls->certificates->at(1);
    CHECK(own.subject == "CN = h.test");
    CHECK(own.names == std::vector<std::string>{"h.test"});
    CHECK(own.issuer == above.subject);
    CHECK(above.issuer.starts_with("CN = "));
    program.close();
    server.close();
    CHECK(engine.idle());
  }
}

TEST_CASE(
    "tls: a program that speaks nothing but HTTP/2 is "
    "told in HTTP/2 why the server cannot be trusted") {
  Engine engine{with_pages()};
  auto [program, server] = engine.open();
  const SslCtxPtr client = rig::ours().client();
  const SslCtxPtr origin = rig::strangers().server("h.test");
  REQUIRE(shake(program, client.get(), server, origin.get(), "h.test", {"h2"}).program);
  CHECK(alpn_of(program) == "h2");
  frames::Packer packer;
  program.say(std::string(frames::kPreface) + frames::settings() +
              packer.headers(1, frames::get("/"), true));
  const std::string heard = program.hear_all();
  struct Answer final : mitm::http::Http2Reader::Handler {
    int status = 0;
    std::string body;
    void headers(std::uint32_t, mitm::http::Http2Head& head, bool) override {
      status = head.status;
    }
    void data(std::uint32_t, std::string_view bytes, bool) override { body += bytes; }
    void reset(std::uint32_t, std::uint32_t) override {}
    void promise(std::uint32_t, std::uint32_t, mitm::http::Http2Head&) override {}
    void goaway(std::uint32_t) override {}
    void settings(const mitm::http::Http2Settings&) override {}
  } answer;
  mitm::http::Http2Reader reader{mitm::http::Side::response};
  CHECK(reader.feed(heard, answer));
  CHECK(answer.status == 502);
  const auto flow = engine.ended(1).at(0);
  CHECK(flow.type == Type::http);
  CHECK(flow.url == rig::with_port("https://h.test/", flow));
  CHECK(flow.status == 502);
  CHECK(flow.error != "");
  CHECK(answer.body == "osproxy: " + flow.error + "\n");
}
