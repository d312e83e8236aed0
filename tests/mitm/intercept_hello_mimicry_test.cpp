// What servers get to see of a program through the engine: its hello, its sessions, the user's
// certificate; and what the key log says of both sides.
#include <algorithm>

#include <fcntl.h>
#include <fmt/format.h>

#include "tests/mitm/connection_dialogue.h"
#include "tests/mitm/tls_fixture.h"
#include "tests/mitm/tls_handshake.h"

using dialogue::Engine;
using mitm::tls::SslCtxPtr;
using rig::kGet;
using rig::kOk;

namespace {

using Numbers = std::vector<unsigned>;

/// The last hello that `context` (a server's) was sent.
struct Seen {
  Numbers ciphers, groups, signatures;

  explicit Seen(SSL_CTX* context) { SSL_CTX_set_client_hello_cb(context, note, this); }
  Seen(const Seen&) = delete;
  Seen& operator=(const Seen&) = delete;

 private:
  static Numbers numbers(const unsigned char* bytes, std::size_t size) {
    Numbers found;
    for (std::size_t at = 0; at + 1 < size; at += 2)
      found.push_back(bytes[at] << 8 | bytes[at + 1]);
    return found;
  }
  static Numbers extension(SSL* ssl, unsigned type) {
    const unsigned char* bytes = nullptr;
    std::size_t size = 0;
    if (SSL_client_hello_get0_ext(ssl, type, &bytes, &size) != 1 || size < 2) return {};
    return numbers(bytes + 2, size - 2);
  }
  static int note(SSL* ssl, int*, void* raw) {
    auto& seen = *static_cast<Seen*>(raw);
    const unsigned char* bytes = nullptr;
    const std::size_t size = SSL_client_hello_get0_ciphers(ssl, &bytes);
    seen.ciphers = numbers(bytes, size);
    seen.groups = extension(ssl, TLSEXT_TYPE_supported_groups);
    seen.signatures = extension(ssl, TLSEXT_TYPE_signature_algorithms);
    return SSL_CLIENT_HELLO_SUCCESS;
  }
};

std::string hex_random(SSL* ssl) {
  unsigned char bytes[SSL3_RANDOM_SIZE];
  SSL_get_client_random(ssl, bytes, sizeof bytes);
  std::string text;
  for (const auto byte : bytes) text += fmt::format("{:02x}", byte);
  return text;
}

}  // namespace

TEST_CASE(
    "likeness: the server sees the program's ciphers, "
    "groups and signatures; with a list only that") {
  for (const bool own_list : {false, true}) {
    CAPTURE(own_list);
    auto settings = rig::trusting();
    if (own_list) settings.tls_ciphers = "TLS_AES_128_GCM_SHA256:ECDHE-ECDSA-AES256-GCM-SHA384";
    Engine engine{settings};
    auto [program, server] = engine.open();
    const SslCtxPtr client = rig::ours().client(), origin = rig::theirs().server("h.test");
    SSL_CTX_set_ciphersuites(client.get(), "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256");
    SSL_CTX_set_cipher_list(client.get(), "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-AES256-SHA");
    SSL_CTX_set1_groups_list(client.get(), "P-384:X25519");
    SSL_CTX_set1_sigalgs_list(client.get(), "ed25519:ECDSA+SHA256:RSA-PSS+SHA256");
    const Seen seen{origin.get()};
    REQUIRE(shake(program, client.get(), server, origin.get(), "h.test").program);
    CHECK(seen.ciphers == (own_list ? Numbers{0x1301, 0xc02c, 0x00ff}
                                    : Numbers{0x1303, 0x1301, 0xcca9, 0xc014, 0x00ff}));
    CHECK(seen.groups == Numbers{24, 29});
    CHECK(seen.signatures == Numbers{0x0807, 0x0403, 0x0804});
  }
}

TEST_CASE("likeness: each kind of program resumes its own sessions, however many kinds there are") {
  Engine engine{rig::trusting()};
  const SslCtxPtr origin = rig::theirs().server("h.test");
  const auto resumed = [&](const std::string& groups) {
    const SslCtxPtr client = rig::ours().client();
    SSL_CTX_set1_groups_list(client.get(), groups.c_str());
    auto [program, server] = engine.open({divert::Action::intercept, "test", {}}, 443);
    REQUIRE(shake(program, client.get(), server, origin.get(), "h.test").program);
    passes(program, server, kGet);
    passes(server, program, kOk);
    return SSL_session_reused(server.ssl()) == 1;
  };
  for (int round = 0; round < 2; ++round) {
    for (const char* kind : {"X25519", "P-256:X25519"}) CHECK(resumed(kind) == (round > 0));
  }
  // Each order of the groups is a hello of its own: more of them than contexts are kept.
  std::vector<std::string> order{"P-256", "P-384", "P-521", "X25519", "X448"};
  for (int i = 0; i < 40; ++i) {
    CHECK_FALSE(resumed(fmt::format("{}", fmt::join(order, ":"))));
    std::next_permutation(order.begin(), order.end());
  }
  for (const bool again : {false, true}) CHECK(resumed("X25519") == again);
}

TEST_CASE(
    "client certificate: the server gets that of its "
    "host and the flow is good; another is explained") {
  using tls_test::make_signed;
  const auto root = make_signed("Users", nullptr, true);
  const auto me = make_signed("me", &root), stranger = make_signed("stranger");
  const std::vector<mitm::tls::ClientCertificateText> texts{
      {"h.test", "/me.pem", me.pem(), "/me.key", me.key_pem()},
      {"*.test", "/stranger.pem", stranger.pem(), "/stranger.key", stranger.key_pem()}};
  auto settings = rig::trusting();
  const auto made = mitm::tls::ClientCertificates::make(texts);
  REQUIRE_MESSAGE(made, made);
  settings.client_certificates = *made;
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    for (const char* host : {"h.test", "other.test"}) {
      CAPTURE(version);
      CAPTURE(host);
      Engine engine{settings};
      auto [program, server] = engine.open();
      const SslCtxPtr client = rig::ours().client(), origin = rig::theirs().server(host);
      SSL_CTX_set_verify(origin.get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
      SSL_CTX_set_max_proto_version(origin.get(), version);
      X509_STORE_add_cert(SSL_CTX_get_cert_store(origin.get()), root.certificate.get());
      const auto done = shake(program, client.get(), server, origin.get(), host, {"http/1.1"});
      const bool good = std::string_view(host) == "h.test";
      CHECK(done.server == good);
      if (good) {
        const mitm::tls::X509Ptr shown{SSL_get1_peer_certificate(server.ssl())};
        REQUIRE(shown);
        CHECK(mitm::tls::common_name(shown.get()) == "me");
        passes(program, server, kGet);
        passes(server, program, kOk);
        CHECK(engine.ended(1).at(0).error == "");
        CHECK(engine.ended(1).at(0).upstream_tls->client_certificate == "/me.pem");
      } else {
        program.try_say(kGet);
        program.hear_all();
        const std::string error = engine.ended(1).at(0).error;
        CHECK_MESSAGE(error.find("and was shown /stranger.pem") != error.npos, error);
        CHECK_MESSAGE(error.find("unknown ca") != error.npos, error);
      }
    }
  }
}

TEST_CASE(
    "client certificate: a server that only wishes for one "
    "is told apart from one that does not ask") {
  for (const bool asks : {true, false}) {
    Engine engine{rig::trusting()};
    auto [program, server] = engine.open();
    const SslCtxPtr client = rig::ours().client(), origin = rig::theirs().server("h.test");
    SSL_CTX_set_verify(origin.get(), asks ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, nullptr);
    REQUIRE(shake(program, client.get(), server, origin.get(), "h.test").program);
    passes(program, server, kGet);
    passes(server, program, kOk);
    CHECK(engine.ended(1).at(0).upstream_tls->client_certificate == (asks ? "none" : ""));
  }
}

TEST_CASE("client certificate: a server that asked for one and then refuses in HTTP is explained") {
  for (const int status : {200, 400, 401, 403, 404}) {
    for (const bool asks : {true, false}) {
      CAPTURE(status);
      CAPTURE(asks);
      Engine engine{rig::trusting()};
      auto [program, server] = engine.open();
      const SslCtxPtr client = rig::ours().client(), origin = rig::theirs().server("h.test");
      SSL_CTX_set_verify(origin.get(), asks ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, nullptr);
      REQUIRE(shake(program, client.get(), server, origin.get(), "h.test").program);
      passes(program, server, kGet);
      passes(server, program, fmt::format("HTTP/1.1 {} X\r\nContent-Length: 0\r\n\r\n", status));
      const std::string error = engine.ended(1).at(0).error;
      const bool told = asks && status >= 400 && status <= 403;
      CHECK_MESSAGE(
          (error.find("asked for a client certificate and was shown none") != error.npos) == told,
          error);
      CHECK((error.find("--client-cert") != error.npos) == told);
    }
  }
}

TEST_CASE("explained: a server that can use nothing of the program's offer") {
  for (const bool own_list : {false, true}) {
    auto settings = rig::trusting();
    if (own_list) settings.tls_ciphers = "ECDHE-RSA-AES128-GCM-SHA256";
    Engine engine{settings};
    auto [program, server] = engine.open();
    const SslCtxPtr client = rig::ours().client(),
                    origin = rig::theirs().server("h.test");  // ECDSA
    SSL_CTX_set_max_proto_version(client.get(), TLS1_2_VERSION);
    SSL_CTX_set_cipher_list(client.get(), own_list ? "HIGH" : "ECDHE-RSA-AES128-GCM-SHA256");
    shake(program, client.get(), server, origin.get(), "h.test", {"http/1.1"});
    program.try_say(kGet);
    program.hear_all();
    const std::string error = engine.ended(1).at(0).error;
    const char* const whose = own_list ? "offered the ciphers of --tls-ciphers"
                                       : "offered the ciphers of the program's own hello";
    CHECK_MESSAGE(error.find(whose) != error.npos, error);
  }
}

TEST_CASE("keylog: the secrets of both sides are in the file") {
  const tls_test::Directory directory;
  const std::string path = directory / "keys";
  base::UniqueFd file{
      ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK | O_CLOEXEC, 0600)};
  REQUIRE(file);
  auto settings = rig::trusting();
  settings.keylog = std::make_shared<mitm::tls::Keylog>(
      std::move(file), [](const base::Error& error) { FAIL(error.text); });
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    Engine engine{settings};
    auto [program, server] = engine.open();
    const SslCtxPtr client = rig::ours().client(), origin = rig::theirs().server("h.test");
    SSL_CTX_set_max_proto_version(client.get(), version);
    REQUIRE(shake(program, client.get(), server, origin.get(), "h.test").program);
    passes(program, server, kGet);
    passes(server, program, kOk);
    REQUIRE(settings.keylog->wait(std::chrono::seconds{30}));
    const std::string text = tls_test::contents(path);
    const std::string label =
        version == TLS1_2_VERSION ? "CLIENT_RANDOM " : "CLIENT_TRAFFIC_SECRET_0 ";
    const std::string ours = hex_random(program.ssl()), theirs = hex_random(server.ssl());
    CHECK(ours != theirs);
    CHECK(text.find(label + ours + " ") != text.npos);
    CHECK(text.find(label + theirs + " ") != text.npos);
  }
}
