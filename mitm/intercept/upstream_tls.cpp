// The proxy's own client side. Sessions are kept by (server, SNI, ALPN) with the certificate they were
// verified with (OpenSSL keeps it in the session), because a resumed handshake shows none and the program's
// leaf is made after it.
#include "mitm/intercept/upstream_tls.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/text.h"
#include "mitm/tls/problem.h"

namespace mitm::intercept {
namespace {

using boost::asio::awaitable;
constexpr auto kLimit = std::chrono::seconds{30};

/// ALPN's wire form: each name after its length.
std::string wire_names(const std::vector<std::string>& names) {
  std::string wire;
  for (const auto& name : names) {
    if (name.empty() || name.size() > 255) continue;
    wire += static_cast<char>(name.size());
    wire += name;
  }
  return wire;
}

base::Result<> trust_pem(SSL_CTX* context, const std::string& pem) {
  const tls::BioPtr bio{BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()))};
  X509_STORE* store = SSL_CTX_get_cert_store(context);
  int count = 0;
  for (;; ++count) {
    const tls::X509Ptr certificate{PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)};
    if (!certificate) break;
    if (X509_STORE_add_cert(store, certificate.get()) != 1) {
      return tls::openssl_error("--upstream-ca: a certificate cannot be used");
    }
  }
  const bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  ERR_clear_error();
  if (!at_end) return base::failure("--upstream-ca: certificate {} is damaged", count + 1);
  if (count == 0) return base::failure("--upstream-ca: there is no certificate in PEM form in it");
  return {};
}

base::Result<> trust(SSL_CTX* context, const Settings& settings) {
  if (!settings.upstream_ca.empty()) return trust_pem(context, settings.upstream_ca);
  if (SSL_CTX_set_default_verify_paths(context) == 1) return {};
  return tls::openssl_error("cannot read the system's certificates");
}

constexpr std::string_view kNoCertificate =
    "it asks for a client certificate, which osproxy does not have: let this host pass with a rule";

}  // namespace

std::vector<std::string> offered_upstream(const std::vector<std::string>& client) {
  std::vector<std::string> spoken;
  for (const auto& name : client) {
    if (name != "h3") spoken.push_back(name);
  }
  return spoken;
}

UpstreamTls::Attempt::Attempt(UpstreamTls& owner, const Ask& ask)
    : owner_(owner), key_(fmt::format("{}\n{}\n", base::to_string(ask.server), ask.sni)) {
  key_ += wire_names(ask.alpn);
}

base::Result<std::unique_ptr<UpstreamTls>> UpstreamTls::make(const Settings& settings) {
  tls::SslCtxPtr context{SSL_CTX_new(TLS_client_method())};
  if (!context) return tls::openssl_error("cannot set up TLS");
  SSL_CTX* const raw = context.get();
  // TLS 1.0 and 1.1 sign with SHA-1, which OpenSSL allows at level 0 only.
  if (settings.min_tls_version < TLS1_2_VERSION) SSL_CTX_set_security_level(raw, 0);
  SSL_CTX_set_min_proto_version(raw, settings.min_tls_version);
  SSL_CTX_set_options(raw, SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_set_mode(
      raw, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_read_ahead(raw, 1);
  SSL_CTX_set_session_cache_mode(raw, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  SSL_CTX_sess_set_new_cb(raw, keep_session);
  SSL_CTX_set_client_cert_cb(raw, no_certificate);
  if (!settings.insecure) {
    SSL_CTX_set_verify(raw, SSL_VERIFY_PEER, note_finding);
    if (auto trusted = trust(raw, settings); !trusted) return trusted.error();
  }
  return std::unique_ptr<UpstreamTls>{new UpstreamTls(std::move(context), !settings.insecure)};
}

UpstreamTls::UpstreamTls(tls::SslCtxPtr context, bool verify)
    : context_(std::move(context)), verify_(verify) {}

int UpstreamTls::keep_session(SSL* ssl, SSL_SESSION* session) {
  auto& attempt = *static_cast<Attempt*>(SSL_get_app_data(ssl));
  if (attempt.owner_.verify_ && SSL_get_verify_result(ssl) != X509_V_OK) return 0;
  // A copy: OpenSSL marks a connection's own session as spent when the connection ends badly, and many
  // servers end every connection without close_notify.
  attempt.owner_.remember(attempt.key_, tls::SslSessionPtr{SSL_SESSION_dup(session)});
  return 0;
}

int UpstreamTls::no_certificate(SSL* ssl, X509**, EVP_PKEY**) {
  static_cast<Attempt*>(SSL_get_app_data(ssl))->server_->set_hint(std::string{kNoCertificate});
  return 0;  // without one; whether the server minds shows with the first bytes it sends
}

int UpstreamTls::note_finding(int good, X509_STORE_CTX* verification) {
  if (good == 1) return 1;
  auto* const ssl =
      static_cast<SSL*>(X509_STORE_CTX_get_ex_data(verification, SSL_get_ex_data_X509_STORE_CTX_idx()));
  auto& attempt = *static_cast<Attempt*>(SSL_get_app_data(ssl));
  const int code = X509_STORE_CTX_get_error(verification);
  attempt.problem_ = tls::explain(
      {code, X509_STORE_CTX_get_error_depth(verification), X509_STORE_CTX_get_current_cert(verification)},
      std::chrono::system_clock::now());
  attempt.trust_ = tls::is_about_trust(code);
  return 0;
}

std::string UpstreamTls::explain(const Channel& server, const Attempt& attempt, std::string_view name) {
  const int reason = server.tls_reason();
  if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED && !attempt.problem_.empty()) {
    return fmt::format(
        "the certificate of {} cannot be verified: {}; to accept it, {}", name, attempt.problem_,
        attempt.trust_ ? "give its CA with --upstream-ca FILE, or switch verification off with --insecure"
                       : "switch verification off with --insecure");
  }
  const bool version = reason == SSL_R_UNSUPPORTED_PROTOCOL || reason == SSL_R_TLSV1_ALERT_PROTOCOL_VERSION;
  return fmt::format("TLS with {} failed: {}{}", name, server.failure(),
                     version ? "; osproxy speaks older versions with --tls-min" : "");
}

void UpstreamTls::remember(const std::string& key, tls::SslSessionPtr session) {
  if (!session) return;
  if (const auto known = index_.find(key); known != index_.end()) {
    known->second->session = std::move(session);
    sessions_.splice(sessions_.begin(), sessions_, known->second);
    return;
  }
  if (sessions_.size() >= kSessions) {
    index_.erase(sessions_.back().key);
    sessions_.pop_back();
  }
  sessions_.push_front({key, std::move(session)});
  index_.emplace(sessions_.front().key, sessions_.begin());
}

tls::SslSessionPtr UpstreamTls::find(const std::string& key) {
  const auto known = index_.find(key);
  if (known == index_.end()) return nullptr;
  sessions_.splice(sessions_.begin(), sessions_, known->second);
  return tls::SslSessionPtr{SSL_SESSION_dup(known->second->session.get())};
}

tls::SslPtr UpstreamTls::prepare(Attempt& attempt, const Ask& ask) {
  tls::SslPtr ssl{SSL_new(context_.get())};
  if (!ssl) return nullptr;
  SSL_set_app_data(ssl.get(), &attempt);
  SSL_set_connect_state(ssl.get());
  X509_VERIFY_PARAM* const names = SSL_get0_param(ssl.get());
  X509_VERIFY_PARAM_set_hostflags(names, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  // Some programs (wrk) put an address into SNI, where RFC 6066 wants a name: certificates have it as an
  // address.
  boost::system::error_code no_address;
  boost::asio::ip::make_address(ask.sni, no_address);
  const std::string address = no_address ? ask.server.address().to_string() : ask.sni;
  const bool by_name = !ask.sni.empty() && no_address;
  bool named = by_name ? X509_VERIFY_PARAM_set1_host(names, ask.sni.c_str(), 0) == 1
                       : X509_VERIFY_PARAM_set1_ip_asc(names, address.c_str()) == 1;
  if (!ask.sni.empty()) named = named && SSL_set_tlsext_host_name(ssl.get(), ask.sni.c_str()) == 1;
  if (!named) return nullptr;
  const std::string alpn = wire_names(ask.alpn);
  if (!alpn.empty()) {
    SSL_set_alpn_protos(ssl.get(), reinterpret_cast<const unsigned char*>(alpn.data()),
                        static_cast<unsigned>(alpn.size()));
  }
  if (const auto session = find(attempt.key_)) SSL_set_session(ssl.get(), session.get());
  return ssl;
}

awaitable<std::string> UpstreamTls::connect(Channel& server, Attempt& attempt, const Ask& ask) {
  const std::string name = ask.sni.empty() ? ask.server.address().to_string() : ask.sni;
  tls::SslPtr ssl = prepare(attempt, ask);
  if (!ssl) {
    base::Error error = tls::openssl_error(fmt::format("cannot set up TLS to {}", base::printable(name)));
    co_return std::move(error.text);
  }
  attempt.server_ = &server;
  server.start_tls(std::move(ssl));
  const IoResult done = co_await server.handshake(kLimit);
  if (done.ok()) co_return std::string{};
  if (done.ended()) co_return fmt::format("{} closed the connection during the TLS handshake", name);
  co_return explain(server, attempt, name);
}

}  // namespace mitm::intercept
