// Certificates and keys as users have them, and which of them a server gets to see.
#include <openssl/rsa.h>

#include "mitm/tls/client_certificate.h"
#include "tests/mitm/tls_handshake.h"

using namespace mitm::tls;
using tls_test::client_context;
using tls_test::handshake;
using tls_test::make_signed;
using tls_test::server_context;
using tls_test::Signed;

namespace {

std::string trouble(const ClientCertificateText& text) {
  const auto made = ClientCertificates::make({text});
  return made ? "no error" : made.error().text;
}

ClientCertificateText text_of(const std::string& host, const std::string& path, const Signed& one) {
  return {host, path, one.pem(), path + ".key", one.key_pem()};
}

struct Shown {
  std::string path, subject;
  int chain = 0;
};

/// What a server that asks for one sees when `certificates` are for `host`.
Shown shown(const ClientCertificates& certificates, const std::string& host,
            int version = TLS1_3_VERSION) {
  struct Context {
    const ClientCertificates& certificates;
    const std::string& host;
    std::string path;
  } data{certificates, host, "not asked"};
  static const Signed identity = make_signed("h.test");
  const auto client = client_context(), server = server_context(identity);
  SSL_CTX_set_max_proto_version(client.get(), version);
  SSL_CTX_set_verify(server.get(), SSL_VERIFY_PEER, [](int, X509_STORE_CTX*) { return 1; });
  SSL_CTX_set_cert_cb(
      client.get(),
      [](SSL* ssl, void* raw) {
        auto& asked = *static_cast<Context*>(raw);
        asked.path = asked.certificates.present(ssl, asked.host);
        return 1;
      },
      &data);
  const auto pair = handshake(client.get(), server.get());
  REQUIRE(pair.done);
  const X509Ptr seen{SSL_get1_peer_certificate(pair.server.get())};
  return {data.path, seen ? common_name(seen.get()) : "",
          sk_X509_num(SSL_get_peer_cert_chain(pair.server.get()))};
}

}  // namespace

TEST_CASE("client_certificate: a server that asks sees it with its chain, in both versions") {
  const Signed root = make_signed("Root", nullptr, true),
               between = make_signed("Between", &root, true);
  const Signed mine = make_signed("me", &between);
  auto text = text_of("h.test", "/c/me.pem", mine);
  text.cert += between.pem();
  const auto made = ClientCertificates::make({text});
  REQUIRE_MESSAGE(made, made);
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    const auto seen = shown(**made, "h.test", version);
    CHECK(seen.path == "/c/me.pem");
    CHECK(seen.subject == "me");
    CHECK(seen.chain == 1);  // the server's view leaves its peer's own certificate out
  }
}

TEST_CASE("client_certificate: the first whose host fits is shown; another host gets none") {
  const auto made = ClientCertificates::make({text_of("a.test", "/a", make_signed("one")),
                                              text_of("*.test", "/b", make_signed("two")),
                                              text_of("a.test", "/c", make_signed("three")),
                                              text_of("192.0.2.7", "/d", make_signed("four"))});
  REQUIRE_MESSAGE(made, made);
  const std::pair<const char*, Shown> cases[] = {
      {"a.test", {"/a", "one"}},     {"b.test", {"/b", "two"}}, {"test", {"", ""}},
      {"192.0.2.7", {"/d", "four"}}, {"192.0.2.8", {"", ""}},   {"A.TEST.", {"/a", "one"}}};
  for (const auto& [host, expected] : cases) {
    CAPTURE(host);
    const auto seen = shown(**made, host);
    CHECK(seen.path == expected.path);
    CHECK(seen.subject == expected.subject);
  }
  CHECK(shown(ClientCertificates{}, "a.test").subject == "");
}

TEST_CASE("client_certificate: certificate and key may be one file, in either order") {
  const Signed mine = make_signed("me");
  for (const std::string& both : {mine.pem() + mine.key_pem(), mine.key_pem() + mine.pem()}) {
    const auto made = ClientCertificates::make({{"h.test", "/both", both, "/both", both}});
    REQUIRE_MESSAGE(made, made);
    CHECK(shown(**made, "h.test").subject == "me");
  }
}

TEST_CASE("client_certificate: what is wrong is said with the file and the place in the list") {
  const Signed mine = make_signed("me"), other = make_signed("other");
  const auto with = [&](const std::string& cert, const std::string& key) {
    return trouble({"h.test", "/c.pem", cert, "/k.pem", key});
  };
  const std::string half = mine.pem().substr(0, 200) + "\n-----END CERTIFICATE-----\n";
  const std::string half_key = mine.key_pem().substr(0, 100) + "\n-----END PRIVATE KEY-----\n";
  const std::pair<std::string, std::string> cases[] = {
      {with(mine.pem(), mine.key_pem()), "no error"},
      {with(mine.pem(), other.key_pem()),
       "[0].key: the key in /k.pem is not that of the first certificate in /c.pem"},
      {with("", mine.key_pem()), "[0].cert: there is no certificate in PEM form in /c.pem"},
      {with(mine.key_pem(), mine.key_pem()),
       "[0].cert: there is no certificate in PEM form in /c.pem"},
      {with(half, mine.key_pem()), "[0].cert: certificate 1 in /c.pem is damaged"},
      {with(mine.pem() + half, mine.key_pem()), "[0].cert: certificate 2 in /c.pem is damaged"},
      {with(mine.pem(), ""), "[0].key: there is no private key in PEM form in /k.pem"},
      {with(mine.pem(), mine.pem()), "[0].key: there is no private key in PEM form in /k.pem"},
      {with(mine.pem(), half_key), "[0].key: the private key in /k.pem is damaged"},
      {with(mine.pem(), mine.key_pem(EVP_aes_128_cbc())),
       "[0].key: the key in /k.pem is encrypted; take its passphrase off: openssl pkey -in "
       "/k.pem -out NEW"},
  };
  for (const auto& [told, expected] : cases) CHECK(told == expected);
  const auto second = ClientCertificates::make(
      {text_of("a.test", "/a", mine), {"b.test", "/c.pem", mine.pem(), "/k.pem", other.key_pem()}});
  REQUIRE_FALSE(second);
  CHECK(second.error().text.starts_with("[1].key: "));
}

TEST_CASE("client_certificate: one that OpenSSL would not show is refused at the start") {
  PkeyPtr short_key{EVP_RSA_gen(512)};
  REQUIRE(short_key);
  const Signed weak = make_signed("weak", nullptr, false, std::move(short_key));
  const std::string told = trouble(text_of("h.test", "/c.pem", weak));
  CHECK_MESSAGE(told.starts_with("[0].cert: what is in /c.pem cannot be used: "), told);
  CHECK(told.find("key too small") != told.npos);
}
