// The proxy's own client side. Sessions are kept by (server, SNI, ALPN, kind of hello) with the
// certificate they were verified with (OpenSSL keeps it in the session), because a resumed
// handshake shows none and the program's leaf is made after it.
#include "mitm/intercept/wire/upstream_tls.h"

#include <algorithm>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/text.h"
#include "mitm/intercept/wire/tls_failure.h"
#include "mitm/tls/authority.h"
#include "mitm/tls/certificate.h"
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

base::Result<> add_pem(X509_STORE* store, const std::string& pem, std::string_view option) {
  const tls::BioPtr bio{BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()))};
  int count = 0;
  for (;; ++count) {
    const tls::X509Ptr certificate{PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)};
    if (!certificate) break;
    if (X509_STORE_add_cert(store, certificate.get()) != 1) {
      return tls::openssl_error(fmt::format("{}: a certificate cannot be used", option));
    }
  }
  const bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  ERR_clear_error();
  if (!at_end) return base::failure("{}: certificate {} is damaged", option, count + 1);
  if (count == 0) return base::failure("{}: there is no certificate in PEM form in it", option);
  return {};
}

/// One for all contexts: the system's has some 140 certificates.
base::Result<tls::X509StorePtr> trusted_store(const Settings& settings) {
  tls::X509StorePtr store{X509_STORE_new()};
  if (!store) return tls::openssl_error("cannot set up TLS");
  if (!settings.upstream_ca.empty()) {
    const auto option = settings.upstream_ca_only ? "--upstream-ca-only" : "--upstream-ca";
    if (auto added = add_pem(store.get(), settings.upstream_ca, option); !added)
      return added.error();
  }
  if (settings.upstream_ca_only) return store;
  if (X509_STORE_set_default_paths(store.get()) != 1)
    return tls::openssl_error("cannot read the system's certificates");
  ERR_clear_error();
  return store;
}

/// OpenSSL's level 2: 112 bits, that is RSA from 2048 bits on, and no SHA-1.
constexpr int kCertificateLevel = 2;

SSL* ssl_of(X509_STORE_CTX* verification) {
  return static_cast<SSL*>(
      X509_STORE_CTX_get_ex_data(verification, SSL_get_ex_data_X509_STORE_CTX_idx()));
}

constexpr std::string_view kNoCertificate =
    "it asks for a client certificate: name one with --client-cert (client-certs in the "
    "configuration), or let the host pass with a rule";

/// Programs have an option of the same name (curl -k), which says nothing to osproxy.
constexpr std::string_view kInsecure =
    "switch verification off with osproxy's own --insecure (the program's own has no effect)";

constexpr int kLongestChain = 10;  ///< that is shown: usual ones have three

flow::CertificateFacts certificate_facts(X509* certificate) {
  constexpr std::size_t kMostNames = 100;
  flow::CertificateFacts facts{tls::distinguished_name(X509_get_subject_name(certificate)),
                               tls::distinguished_name(X509_get_issuer_name(certificate)),
                               {},
                               tls::not_before(certificate),
                               tls::not_after(certificate),
                               tls::sha256_fingerprint(certificate),
                               tls::der_of(certificate)};
  for (auto& name : tls::subject_names(certificate)) {
    if (facts.names.size() < kMostNames) facts.names.push_back(std::move(name.text));
  }
  return facts;
}

/// "TLS 1.2 to 1.3: what the program offers, as far as --tls-min allows".
std::string offered_versions(SSL* ssl) {
  const auto digit = [](long version) { return (version & 0xff) - 1; };
  const long lowest = SSL_get_min_proto_version(ssl), highest = SSL_get_max_proto_version(ssl);
  return fmt::format("TLS 1.{} to 1.{}: what the program offers, as far as --tls-min allows",
                     digit(lowest), highest == 0 ? 3 : digit(highest));
}

}  // namespace

std::vector<std::string> offered_upstream(const std::vector<std::string>& client) {
  std::vector<std::string> spoken;
  for (const auto& name : client) {
    if (name != "h3") spoken.push_back(name);
  }
  return spoken;
}

std::string UpstreamTls::Ask::target() const {
  if (!sni.empty()) return sni;
  return host.empty() ? server.address().to_string() : host;
}

UpstreamTls::Attempt::Attempt(UpstreamTls& owner, const Ask& ask)
    : owner_(owner), host_(ask.target()) {
  const ContextEntry& speaker = owner.context_for(ask.hello);
  context_ = speaker.context;
  key_ =
      fmt::format("{}\n{}\n{}\n{}\n", base::to_string(ask.server), ask.sni, host_, speaker.number);
  key_ += wire_names(ask.alpn);
  psk_ = ask.hello != nullptr && ask.hello->psk;
}

base::Result<std::unique_ptr<UpstreamTls>> UpstreamTls::make(const Settings& settings) {
  std::unique_ptr<UpstreamTls> made{new UpstreamTls(settings)};
  if (!settings.insecure) {
    auto trusted = trusted_store(settings);
    if (!trusted) return trusted.error();
    made->trusted_ = std::move(*trusted);
  }
  auto context = made->make_context();
  if (!context) return context.error();
  made->contexts_.push_back({{}, std::move(*context), 0});
  return made;
}

UpstreamTls::UpstreamTls(const Settings& settings)
    : min_version_(settings.min_tls_version),
      verify_(!settings.insecure),
      ciphers_(settings.tls_ciphers),
      certificates_(settings.client_certificates),
      keylog_(settings.keylog) {}

base::Result<tls::SslCtxPtr> UpstreamTls::make_context() const {
  tls::SslCtxPtr context{SSL_CTX_new(TLS_client_method())};
  if (!context) return tls::openssl_error("cannot set up TLS");
  SSL_CTX* const raw = context.get();
  // TLS 1.0 and 1.1 sign with SHA-1, which OpenSSL allows at level 0 only.
  if (min_version_ < TLS1_2_VERSION) SSL_CTX_set_security_level(raw, 0);
  SSL_CTX_set_min_proto_version(raw, min_version_);
  SSL_CTX_set_options(raw, SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_set_mode(raw, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                            SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_read_ahead(raw, 1);
  SSL_CTX_set_session_cache_mode(raw, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  SSL_CTX_sess_set_new_cb(raw, keep_session);
  SSL_CTX_set_cert_cb(raw, show_certificate, nullptr);
  if (keylog_) keylog_->attach(raw);
  if (verify_) {
    SSL_CTX_set_verify(raw, SSL_VERIFY_PEER, note_finding);
    SSL_CTX_set_cert_verify_callback(raw, verify_chain, nullptr);
    SSL_CTX_set1_cert_store(raw, trusted_.get());
  }
  if (ciphers_.empty()) return context;
  if (const auto offered = tls::offer_ciphers(ciphers_, raw); !offered)
    return base::failure("--tls-ciphers: {}", offered.error().text);
  return context;
}

const UpstreamTls::ContextEntry& UpstreamTls::context_for(const sniff::ClientHello* hello) {
  if (hello == nullptr) return contexts_.front();
  tls::HelloProfile profile = tls::profile_of(*hello);
  if (!ciphers_.empty()) {
    profile.suites.clear();
    profile.ciphers.clear();
  }
  const auto others = contexts_.begin() + 1;
  auto known = std::find_if(others, contexts_.end(),
                            [&](const auto& one) { return one.profile == profile; });
  if (known == contexts_.end()) {
    auto context = make_context();
    if (!context) return contexts_.front();
    tls::mimic(profile, context->get());
    if (contexts_.size() > kContexts) contexts_.pop_back();
    contexts_.push_back({std::move(profile), std::move(*context), ++numbers_});
    known = contexts_.end() - 1;
  }
  std::rotate(contexts_.begin() + 1, known, known + 1);
  return contexts_[1];
}

int UpstreamTls::keep_session(SSL* ssl, SSL_SESSION* session) {
  auto& attempt = *static_cast<Attempt*>(SSL_get_app_data(ssl));
  if (attempt.owner_.verify_ && SSL_get_verify_result(ssl) != X509_V_OK) return 0;
  // A copy: OpenSSL marks a connection's own session as spent when the connection ends badly, and
  // many servers end every connection without close_notify.
  attempt.owner_.remember(attempt.key_, tls::SslSessionPtr{SSL_SESSION_dup(session)});
  return 0;
}

int UpstreamTls::show_certificate(SSL* ssl, void*) {
  auto& attempt = *static_cast<Attempt*>(SSL_get_app_data(ssl));
  const auto path = attempt.owner_.certificates_->present(ssl, attempt.host_);
  attempt.certificate_ = path.empty() ? "none" : path;
  // Without one, too: whether the server minds shows with the first bytes it sends.
  attempt.stream_->set_hint(
      path.empty() ? std::string{kNoCertificate}
                   : fmt::format("it asks for a client certificate and was shown {}", path));
  return 1;
}

/// OpenSSL knows one level for the cryptography of TLS and for certificates. What lowers it for old
/// servers
/// (--tls-min, --tls-ciphers) lowers nothing for certificates.
int UpstreamTls::verify_chain(X509_STORE_CTX* verification, void*) {
  SSL* const ssl = ssl_of(verification);
  const int level = std::max(kCertificateLevel, SSL_get_security_level(ssl));
  X509_VERIFY_PARAM_set_auth_level(X509_STORE_CTX_get0_param(verification), level);
  const int good = X509_verify_cert(verification);
  if (good == 1) return 1;
  // OpenSSL forgets them when they are refused.
  auto& attempt = *static_cast<Attempt*>(SSL_get_app_data(ssl));
  attempt.chain_ = attempt.owner_.chain_of(X509_STORE_CTX_get0_untrusted(verification));
  return good;
}

std::shared_ptr<const flow::CertificateChain> UpstreamTls::chain_of(const STACK_OF(X509) *
                                                                    certificates) {
  const int count = certificates != nullptr ? sk_X509_num(certificates) : 0;
  if (count <= 0) return nullptr;
  std::string key;
  for (int at = 0; at < count; ++at) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    // OpenSSL has this one at hand.
    if (X509_digest(sk_X509_value(certificates, at), EVP_sha1(), digest, &size) != 1)
      return nullptr;
    key.append(reinterpret_cast<const char*>(digest), size);
  }
  if (const auto known = chains_.find(key); known != chains_.end()) return known->second;
  auto chain = std::make_shared<flow::CertificateChain>();
  std::size_t bytes = 0;
  for (int at = 0; at < std::min(count, kLongestChain); ++at) {
    chain->push_back(certificate_facts(sk_X509_value(certificates, at)));
    bytes += chain->back().der.size();
  }
  if (chains_.size() >= kChains || chain_bytes_ + bytes > kChainBytes) {
    chains_.clear();
    chain_bytes_ = 0;
  }
  chain_bytes_ += bytes;
  return chains_.emplace(std::move(key), std::move(chain)).first->second;
}

void UpstreamTls::note_facts(SSL* ssl, Attempt& attempt) {
  auto chain = attempt.chain_ ? attempt.chain_ : chain_of(SSL_get_peer_cert_chain(ssl));
  const SSL_CIPHER* const pending = SSL_get_pending_cipher(ssl);
  const SSL_CIPHER* const cipher = pending != nullptr ? pending : SSL_get_current_cipher(ssl);
  if (cipher == nullptr && !chain) return;
  const unsigned char* alpn = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(ssl, &alpn, &size);
  attempt.facts_ = std::make_shared<flow::TlsFacts>(
      flow::TlsFacts{SSL_get_version(ssl), cipher != nullptr ? SSL_CIPHER_get_name(cipher) : "",
                     std::string(reinterpret_cast<const char*>(alpn), size)});
  attempt.facts_->client_certificate = attempt.certificate_;
  attempt.facts_->certificates = std::move(chain);
}

int UpstreamTls::note_finding(int good, X509_STORE_CTX* verification) {
  if (good == 1) return 1;
  auto& attempt = *static_cast<Attempt*>(SSL_get_app_data(ssl_of(verification)));
  const int code = X509_STORE_CTX_get_error(verification);
  attempt.problem_ = tls::explain({code, X509_STORE_CTX_get_error_depth(verification),
                                   X509_STORE_CTX_get_current_cert(verification)},
                                  std::chrono::system_clock::now());
  attempt.trust_ = tls::is_about_trust(code);
  attempt.alert_ = tls::alert_for(code);
  return 0;
}

std::string UpstreamTls::explain(const TlsStream& server, const Attempt& attempt,
                                 std::string_view name) {
  const int reason = server.failure().tls_reason;
  if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED && !attempt.problem_.empty()) {
    return fmt::format("the certificate of {} cannot be verified: {}; to accept it, {}{}", name,
                       attempt.problem_,
                       attempt.trust_ ? "give its CA with --upstream-ca FILE, or " : "", kInsecure);
  }
  const std::string meaning = meaning_at_server(reason, server.first_bytes());
  std::string text =
      meaning.empty()
          ? fmt::format("TLS with {} failed: {}", name, server.failure().text)
          : fmt::format("TLS with {} failed: {} ({})", name, meaning, server.failure().text);
  if (reason == SSL_R_UNSUPPORTED_PROTOCOL || reason == SSL_R_TLSV1_ALERT_PROTOCOL_VERSION)
    text += fmt::format("; it was offered {}", offered_versions(server.ssl()));
  const bool nothing_fits = reason == SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE ||
                            reason == SSL_R_TLSV1_ALERT_INSUFFICIENT_SECURITY;
  if (nothing_fits && attempt.certificate_.empty())
    text +=
        fmt::format("; it was offered the ciphers of {}, and the program's groups and signatures",
                    attempt.owner_.ciphers_.empty() ? "the program's own hello" : "--tls-ciphers");
  if (nothing_fits && attempt.psk_)
    text +=
        "; the program also offers a pre-shared key (PSK), which osproxy does not have: let the "
        "host pass with a rule if the server expects one";
  return text;
}

void UpstreamTls::remember(const std::string& key, tls::SslSessionPtr session) {
  if (session) sessions_.put(key, std::move(session));
}

tls::SslSessionPtr UpstreamTls::find(const std::string& key) {
  const auto* known = sessions_.find(key);
  return known ? tls::SslSessionPtr{SSL_SESSION_dup(known->get())} : nullptr;
}

tls::SslPtr UpstreamTls::prepare(Attempt& attempt, const Ask& ask) {
  tls::SslPtr ssl{SSL_new(attempt.context_.get())};
  if (!ssl) return nullptr;
  SSL_set_app_data(ssl.get(), &attempt);
  SSL_set_connect_state(ssl.get());
  X509_VERIFY_PARAM* const names = SSL_get0_param(ssl.get());
  X509_VERIFY_PARAM_set_hostflags(
      names, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
  // Some programs (wrk) put an address into SNI, where RFC 6066 wants a name: certificates have it
  // as an address.
  boost::system::error_code no_address;
  const std::string target = ask.target();
  boost::asio::ip::make_address(target, no_address);
  bool named = no_address ? X509_VERIFY_PARAM_set1_host(names, target.c_str(), 0) == 1
                          : X509_VERIFY_PARAM_set1_ip_asc(names, target.c_str()) == 1;
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

awaitable<std::string> UpstreamTls::connect(Side& server, Attempt& attempt, const Ask& ask) {
  const std::string name = ask.target();
  tls::SslPtr ssl = prepare(attempt, ask);
  if (!ssl) {
    base::Error error =
        tls::openssl_error(fmt::format("cannot set up TLS to {}", base::printable(name)));
    co_return std::move(error.text);
  }
  server.start_tls(std::move(ssl));
  TlsStream& stream = *server.tls;
  attempt.stream_ = &stream;
  const IoResult done = co_await stream.handshake(kLimit);
  note_facts(stream.ssl(), attempt);
  if (done.ok()) co_return std::string{};
  attempt.alert_ = alert_at_program(stream.failure().tls_reason, attempt.alert_);
  if (done.ended())
    co_return fmt::format("{} closed the connection during the TLS handshake", name);
  co_return explain(stream, attempt, name);
}

}  // namespace mitm::intercept
