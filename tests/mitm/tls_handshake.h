// Two ends of a TLS connection in memory, and certificates for them.
#pragma once

#include <string>

#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "mitm/tls/authority.h"
#include "mitm/tls/certificate.h"
#include "tests/test.h"

namespace tls_test {

struct Pair {
  mitm::tls::SslPtr client, server;
  bool done = false;  ///< both have said so; the tickets of TLS 1.3 are taken in
};

inline Pair handshake(SSL_CTX* client, SSL_CTX* server, SSL_SESSION* session = nullptr) {
  Pair pair{mitm::tls::SslPtr{SSL_new(client)}, mitm::tls::SslPtr{SSL_new(server)}};
  BIO *left = nullptr, *right = nullptr;
  REQUIRE(BIO_new_bio_pair(&left, 0, &right, 0) == 1);
  SSL_set_bio(pair.client.get(), left, left);
  SSL_set_bio(pair.server.get(), right, right);
  SSL_set_connect_state(pair.client.get());
  SSL_set_accept_state(pair.server.get());
  if (session != nullptr) SSL_set_session(pair.client.get(), session);
  for (int i = 0; i < 10; ++i) {
    SSL_do_handshake(pair.client.get());
    SSL_do_handshake(pair.server.get());
  }
  char byte = 0;
  pair.done = SSL_is_init_finished(pair.client.get()) == 1 &&
              SSL_is_init_finished(pair.server.get()) == 1 &&
              SSL_write(pair.server.get(), "x", 1) == 1 &&
              SSL_read(pair.client.get(), &byte, 1) == 1;
  return pair;
}

/// A certificate with its key; `issuer` null: it has signed itself.
struct Signed {
  mitm::tls::X509Ptr certificate;
  mitm::tls::PkeyPtr key;

  [[nodiscard]] std::string pem() const { return mitm::tls::to_pem(certificate.get()); }
  [[nodiscard]] std::string key_pem(const EVP_CIPHER* cipher = nullptr) const {
    const mitm::tls::BioPtr bio{BIO_new(BIO_s_mem())};
    unsigned char phrase[] = "secret";
    REQUIRE(PEM_write_bio_PrivateKey(bio.get(), key.get(), cipher,
                                     cipher != nullptr ? phrase : nullptr,
                                     cipher != nullptr ? 6 : 0, nullptr, nullptr) == 1);
    char* text = nullptr;
    const auto size = static_cast<std::size_t>(BIO_get_mem_data(bio.get(), &text));
    return {text, size};
  }
};

inline Signed make_signed(const std::string& name, const Signed* issuer = nullptr, bool ca = false,
                          mitm::tls::PkeyPtr key = nullptr) {
  Signed made{nullptr, std::move(key)};
  if (!made.key) made.key = std::move(*mitm::tls::generate_p256());
  X509* const above = issuer != nullptr ? issuer->certificate.get() : nullptr;
  const auto now = std::chrono::system_clock::now();
  const mitm::tls::Validity validity{now - std::chrono::hours{1}, now + std::chrono::hours{1}};
  made.certificate =
      std::move(*mitm::tls::draft_certificate(name, above, made.key.get(), validity));
  X509* const draft = made.certificate.get();
  REQUIRE(mitm::tls::add_extension(draft, above, NID_basic_constraints,
                                   ca ? "critical,CA:TRUE" : "critical,CA:FALSE"));
  REQUIRE(mitm::tls::sign(draft, issuer != nullptr ? issuer->key.get() : made.key.get()));
  return made;
}

/// Server-side context that shows `identity`.
inline mitm::tls::SslCtxPtr server_context(const Signed& identity) {
  mitm::tls::SslCtxPtr context{SSL_CTX_new(TLS_server_method())};
  REQUIRE(SSL_CTX_use_certificate(context.get(), identity.certificate.get()) == 1);
  REQUIRE(SSL_CTX_use_PrivateKey(context.get(), identity.key.get()) == 1);
  return context;
}

inline mitm::tls::SslCtxPtr client_context() {
  return mitm::tls::SslCtxPtr{SSL_CTX_new(TLS_client_method())};
}

}  // namespace tls_test
