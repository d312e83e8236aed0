// ClientHellos that are split, large or encrypted: what is intercepted, what passes and why.
#include <cstdio>
#include <cstring>
#include <string>

#include <openssl/kdf.h>

#include "tests/mitm/connection_dialogue.h"
#include "tests/test.h"

using dialogue::Engine;
using mitm::tls::SslCtxPtr;
using rig::kGet;
using rig::kOk;
using Type = test::FlatFlow::Type;

namespace {

constexpr unsigned kGreaseLike = 0x7777;  ///< an extension that nobody knows
constexpr unsigned kEch = 0xfe0d;
constexpr unsigned kEsni = 0xffce;

/// Adds an extension of `size` bytes to all hellos of `context`.
void extend(SSL_CTX* context, unsigned type, std::size_t size) {
  const auto add = [](SSL*, unsigned, unsigned, const unsigned char** out, std::size_t* out_size,
                      X509*, std::size_t, int*, void* filling) {
    const auto& bytes = *static_cast<const std::string*>(filling);
    *out = reinterpret_cast<const unsigned char*>(bytes.data());
    *out_size = bytes.size();
    return 1;
  };
  static std::vector<std::unique_ptr<std::string>> fillings;
  fillings.push_back(std::make_unique<std::string>(size, '\x01'));
  REQUIRE(SSL_CTX_add_custom_ext(
              context, type, SSL_EXT_CLIENT_HELLO, add, nullptr, fillings.back().get(),
              [](SSL*, unsigned, unsigned, const unsigned char*, std::size_t, X509*, std::size_t,
                 int*, void*) { return 1; },
              nullptr) == 1);
}

std::string expand(const std::string& secret, std::string_view label, std::size_t size) {
  const std::string full = "tls13 " + std::string(label);
  std::string info{'\0', static_cast<char>(size), static_cast<char>(full.size())};
  info += full + '\0';
  std::unique_ptr<EVP_PKEY_CTX, mitm::tls::Deleter<EVP_PKEY_CTX_free>> context{
      EVP_PKEY_CTX_new_id(EVP_PKEY_HKDF, nullptr)};
  const auto bytes = [](const std::string& text) {
    return reinterpret_cast<const unsigned char*>(text.data());
  };
  std::string out(size, '\0');
  REQUIRE(EVP_PKEY_derive_init(context.get()) == 1);
  EVP_PKEY_CTX_set_hkdf_mode(context.get(), EVP_PKEY_HKDEF_MODE_EXPAND_ONLY);
  EVP_PKEY_CTX_set_hkdf_md(context.get(), EVP_sha256());
  EVP_PKEY_CTX_set1_hkdf_key(context.get(), bytes(secret), static_cast<int>(secret.size()));
  EVP_PKEY_CTX_add1_hkdf_info(context.get(), bytes(info), static_cast<int>(info.size()));
  REQUIRE(EVP_PKEY_derive(context.get(), reinterpret_cast<unsigned char*>(out.data()), &size) == 1);
  return out;
}

/// The first record under `secret` (client_application_traffic_secret_0, TLS_AES_128_GCM_SHA256): a
/// fatal alert, which OpenSSL's own interface cannot send.
std::string alert_record(const std::string& secret, unsigned char alert) {
  const std::string key = expand(secret, "key", 16), nonce = expand(secret, "iv", 12);
  const std::string head{"\x17\x03\x03\x00\x13", 5};
  const unsigned char plain[3] = {2, alert, 21};
  unsigned char sealed[3], tag[16];
  int size = 0;
  const auto bytes = [](const std::string& text) {
    return reinterpret_cast<const unsigned char*>(text.data());
  };
  std::unique_ptr<EVP_CIPHER_CTX, mitm::tls::Deleter<EVP_CIPHER_CTX_free>> cipher{
      EVP_CIPHER_CTX_new()};
  EVP_EncryptInit_ex(cipher.get(), EVP_aes_128_gcm(), nullptr, bytes(key), bytes(nonce));
  EVP_EncryptUpdate(cipher.get(), nullptr, &size, bytes(head), static_cast<int>(head.size()));
  EVP_EncryptUpdate(cipher.get(), sealed, &size, plain, sizeof plain);
  EVP_EncryptFinal_ex(cipher.get(), sealed, &size);
  REQUIRE(EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_GET_TAG, sizeof tag, tag) == 1);
  return head + std::string(reinterpret_cast<char*>(sealed), 3) +
         std::string(reinterpret_cast<char*>(tag), 16);
}

/// Of the last connection of a context that has `remember_secret` for its key log.
std::string& secret() {
  static std::string one;
  return one;
}

void remember_secret(const SSL*, const char* line) {
  const std::string_view text{line};
  if (!text.starts_with("CLIENT_TRAFFIC_SECRET_0 ")) return;
  secret().clear();
  for (auto at = text.rfind(' ') + 1; at + 1 < text.size(); at += 2)
    secret() += static_cast<char>(std::stoi(std::string(text.substr(at, 2)), nullptr, 16));
}

divert::Verdict intercepted() {
  return {divert::Action::intercept, "test", {}};
}

}  // namespace

TEST_CASE(
    "hello: in records and segments of any size it is intercepted, a small one and one of 12 KiB") {
  struct Case {
    std::size_t filling, record, segment;
  };
  const Case cases[] = {{0, 1, 64},
                        {0, 100, 17},
                        {0, 16384, 5},
                        {12 << 10, 16384, 1000},
                        {12 << 10, 500, 16384},
                        {12 << 10, 3000, 700},
                        {40 << 10, 16384, 4000}};
  for (const auto& one : cases) {
    CAPTURE(one.filling);
    CAPTURE(one.record);
    Engine engine{rig::trusting()};
    auto [program, server] = engine.open();
    const SslCtxPtr client = rig::ours().client();
    const SslCtxPtr origin = rig::theirs().server("h.test");
    if (one.filling > 0) extend(client.get(), kGreaseLike, one.filling);
    program.split_hello(one.record, one.segment);
    const auto done = shake(program, client.get(), server, origin.get(), "h.test", {"http/1.1"});
    REQUIRE_MESSAGE(done.program, program.tls_error());
    passes(program, server, kGet);
    passes(server, program, kOk);
    CHECK(engine.ended(1).at(0).url == rig::with_port("https://h.test/a", engine.ended(1).at(0)));
  }
}

TEST_CASE("hello: one of more than 64 KiB passes, with the reason") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  const SslCtxPtr client = rig::theirs().client();
  const SslCtxPtr origin = rig::theirs().server("h.test");
  extend(client.get(), kGreaseLike, 12 << 10);
  program.split_hello(1, 16384);  // six bytes for each one
  const auto done = shake(program, client.get(), server, origin.get(), "h.test");
  REQUIRE_MESSAGE(done.program, program.tls_error());  // with the server's own certificate
  passes(program, server, kGet);
  hang_up(program, server);
  const auto flow = engine.ended(1).at(0);
  CHECK(flow.type == Type::pass);
  CHECK(flow.decision == "pass");
  CHECK(flow.reason == "the program's ClientHello takes more than 64 KiB");
}

TEST_CASE(
    "hello: what browsers always send in place of "
    "ECH is intercepted; ESNI passes, with the reason") {
  for (const bool esni : {false, true}) {
    CAPTURE(esni);
    Engine engine{rig::trusting()};
    auto [program, server] = engine.open();
    const SslCtxPtr client = esni ? rig::theirs().client() : rig::ours().client();
    SSL_CTX_set_verify(client.get(), SSL_VERIFY_PEER, nullptr);
    extend(client.get(), esni ? kEsni : kEch, 250);
    const SslCtxPtr origin = rig::theirs().server("h.test");
    const auto done = shake(program, client.get(), server, origin.get(), esni ? nullptr : "h.test");
    REQUIRE_MESSAGE(done.program, program.tls_error());
    passes(program, server, kGet);
    passes(server, program, kOk);
    hang_up(program, server);
    const auto flow = engine.ended(1).at(0);
    CHECK(flow.type == (esni ? Type::pass : Type::http));
    CHECK((flow.reason.find("ESNI") != flow.reason.npos) == esni);
  }
}

TEST_CASE(
    "hello: a browser's is answered with a page "
    "when the server cannot be trusted, others with an alert") {
  using mitm::intercept::ErrorPage;
  for (const auto who : {ErrorPage::browsers, ErrorPage::always, ErrorPage::never}) {
    for (const bool browser : {true, false}) {
      CAPTURE(static_cast<int>(who));
      CAPTURE(browser);
      auto settings = rig::trusting();
      settings.error_page = who;
      Engine engine{settings};
      auto [program, server] = engine.open();
      const SslCtxPtr client = rig::ours().client(), origin = rig::strangers().server("h.test");
      if (browser) extend(client.get(), kEch, 250);
      const auto done = shake(program, client.get(), server, origin.get(), "h.test", {"http/1.1"});
      const bool page = who == ErrorPage::always || (who == ErrorPage::browsers && browser);
      CHECK(done.program == page);
      if (page) {
        program.say(kGet);
        CHECK(program.hear_all().starts_with("HTTP/1.1 502 Bad Gateway\r\n"));
      }
      CHECK(engine.ended(1).at(0).type == (page ? Type::http : Type::tls_error));
    }
  }
}

TEST_CASE("hello: one with a pre-shared key and nothing else passes, with the reason") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  const SslCtxPtr client{SSL_CTX_new(TLS_client_method())},
      origin{SSL_CTX_new(TLS_server_method())};
  for (SSL_CTX* const context : {client.get(), origin.get()}) {
    SSL_CTX_set_max_proto_version(context, TLS1_2_VERSION);
    REQUIRE(SSL_CTX_set_cipher_list(context, "PSK-AES128-GCM-SHA256:ECDHE-PSK-AES128-CBC-SHA256") ==
            1);
  }
  SSL_CTX_set_psk_client_callback(client.get(), [](SSL*, const char*, char* identity, unsigned size,
                                                   unsigned char* key, unsigned) {
    std::snprintf(identity, size, "me");
    std::memset(key, 7, 16);
    return 16U;
  });
  SSL_CTX_set_psk_server_callback(origin.get(),
                                  [](SSL*, const char*, unsigned char* key, unsigned) {
                                    std::memset(key, 7, 16);
                                    return 16U;
                                  });
  const auto done = shake(program, client.get(), server, origin.get(), "h.test");
  REQUIRE_MESSAGE(done.program, program.tls_error());
  passes(program, server, kGet);
  hang_up(program, server);
  const auto flow = engine.ended(1).at(0);
  CHECK(flow.type == Type::pass);
  CHECK(flow.reason ==
        "the program offers a pre-shared key (PSK) and no cipher that goes with a certificate");
}

TEST_CASE("hello: inside a proxy's tunnel what cannot be read passes unchanged, with the reason") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  passes(program, server, "CONNECT h.test:443 HTTP/1.1\r\nHost: h.test:443\r\n\r\n");
  passes(server, program, "HTTP/1.1 200 OK\r\n\r\n");
  const SslCtxPtr client = rig::theirs().client();
  const SslCtxPtr origin = rig::theirs().server("h.test");
  extend(client.get(), kEsni, 250);
  const auto done = shake(program, client.get(), server, origin.get(), nullptr);
  REQUIRE_MESSAGE(done.program, program.tls_error());
  passes(program, server, kGet);
  hang_up(program, server);
  const auto flow = engine.ended(2).at(1);
  CHECK(flow.type == Type::pass);
  CHECK(flow.host == "h.test");
  CHECK(flow.reason.find("ESNI") != flow.reason.npos);
}

TEST_CASE("hello: a program whose ECH was real is reported, and does not learn to pass") {
  const std::vector<std::string> protocols[] = {{}, {"http/1.1"}, {"h2"}};
  for (const auto& alpn : protocols) {
    CAPTURE(alpn.empty() ? "" : alpn[0]);
    auto settings = rig::trusting();
    settings.learned = std::make_shared<mitm::intercept::PinningCache>(
        mitm::intercept::PinningSettings{.after = 1});
    Engine engine{settings};
    engine.program("/usr/bin/browser");
    const SslCtxPtr client = rig::ours().client();
    SSL_CTX_set_ciphersuites(client.get(), "TLS_AES_128_GCM_SHA256");
    SSL_CTX_set_keylog_callback(client.get(), remember_secret);
    extend(client.get(), kEch, 250);
    for (std::size_t i = 1; i <= 2; ++i) {
      auto [program, server] = engine.open(intercepted());
      const SslCtxPtr origin = rig::theirs().server("public.test");
      const auto done = shake(program, client.get(), server, origin.get(), "public.test", alpn);
      REQUIRE_MESSAGE(done.program, program.tls_error());
      const std::string alert = alert_record(secret(), 121);
      program.say({}, alert);
      program.close();
      server.hear_all();
      REQUIRE(engine.idle());
      const auto flows = engine.ended(i);
      REQUIRE(flows.size() == i);
      CHECK(flows.back().type == Type::tls_error);
      CHECK_MESSAGE(flows.back().error.find("(ECH)") != std::string::npos, flows.back().error);
    }
  }
}
