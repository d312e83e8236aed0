// TLS towards the servers: verified, with the program's own names, resumed where the server allows
// it.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/lru_cache.h"
#include "base/network.h"
#include "mitm/flow/records.h"
#include "mitm/intercept/context/context.h"
#include "mitm/intercept/wire/side.h"
#include "mitm/sniff/sniffer.h"
#include "mitm/tls/hello_mimicry.h"

namespace mitm::intercept {

/// Client-side contexts (one for each kind of hello) and session cache of one io_context.
class UpstreamTls {
 public:
  static constexpr std::size_t kSessions = 1000;
  static constexpr std::size_t kContexts = 32;
  static constexpr std::size_t kChains = 1000;
  static constexpr std::size_t kChainBytes = 4 << 20;  ///< of their certificates

  struct Ask {
    base::Endpoint server;
    std::string sni;                ///< empty: none is sent
    std::vector<std::string> alpn;  ///< offered in this order; empty: the extension is not sent
    /// Whose hello ours is to resemble; null: OpenSSL's own. Looked at by Attempt() only.
    const sniff::ClientHello* hello = nullptr;
    std::string host{};  ///< name or address whom the program means; empty: the server's address

    /// Whom the certificate must name.
    [[nodiscard]] std::string target() const;
  };
  /// Belongs to one connection and must live as long as its SSL: sessions arrive with later reads.
  class Attempt {
   public:
    Attempt(UpstreamTls& owner, const Ask& ask);
    /// As in flow::TlsFacts.
    [[nodiscard]] const std::string& client_certificate() const { return certificate_; }
    /// What was agreed on, or, when connect() has failed, what was known by then (null: nothing).
    [[nodiscard]] const std::shared_ptr<flow::TlsFacts>& facts() const { return facts_; }
    /// The alert (SSL_AD_...) that tells a program why connect() has failed: the server's own, if
    /// it sent one.
    [[nodiscard]] int alert() const { return alert_; }

   private:
    friend class UpstreamTls;
    UpstreamTls& owner_;
    std::shared_ptr<SSL_CTX> context_;
    std::string host_;     ///< whom client certificates are for
    std::string key_;      ///< in the session cache
    std::string problem_;  ///< what verification found
    bool trust_ = false;   ///< that the right CA would help
    bool psk_ = false;     ///< that the program's hello offers a pre-shared key
    int alert_ = SSL_AD_HANDSHAKE_FAILURE;
    std::shared_ptr<const flow::CertificateChain> chain_;  ///< that was refused
    std::shared_ptr<flow::TlsFacts> facts_;
    std::string certificate_;
    TlsStream* stream_ = nullptr;
  };

  /// Errors name the setting that is wrong.
  [[nodiscard]] static base::Result<std::unique_ptr<UpstreamTls>> make(const Settings& settings);

  /// Puts TLS on `server`. Returns why that failed, for the person whose program it is; empty: it
  /// did not.
  boost::asio::awaitable<std::string> connect(Side& server, Attempt& attempt, const Ask& ask);

 private:
  /// The number stands for the context in keys of sessions, and does not come again.
  struct ContextEntry {
    tls::HelloProfile profile;
    std::shared_ptr<SSL_CTX> context;
    std::uint64_t number = 0;
  };

  explicit UpstreamTls(const Settings& settings);
  [[nodiscard]] base::Result<tls::SslCtxPtr> make_context() const;
  [[nodiscard]] const ContextEntry& context_for(const sniff::ClientHello* hello);
  static int keep_session(SSL* ssl, SSL_SESSION* session);
  /// OpenSSL's, when the server asks for a client certificate; 1: the handshake goes on.
  static int show_certificate(SSL* ssl, void*);
  static int note_finding(int good, X509_STORE_CTX* verification);
  static int verify_chain(X509_STORE_CTX* verification, void*);
  /// The same for the same certificates: most connections go to servers that are known.
  [[nodiscard]] std::shared_ptr<const flow::CertificateChain> chain_of(const STACK_OF(X509) *
                                                                       certificates);
  void note_facts(SSL* ssl, Attempt& attempt);
  [[nodiscard]] static std::string explain(const TlsStream& server, const Attempt& attempt,
                                           std::string_view name);
  void remember(const std::string& key, tls::SslSessionPtr session);
  [[nodiscard]] tls::SslSessionPtr find(const std::string& key);
  [[nodiscard]] tls::SslPtr prepare(Attempt& attempt, const Ask& ask);

  const int min_version_;
  const bool verify_;
  const std::string ciphers_;
  const std::shared_ptr<const tls::ClientCertificates> certificates_;
  const std::shared_ptr<tls::Keylog> keylog_;
  tls::X509StorePtr trusted_;
  /// [0]: OpenSSL's own hello; then the others, in the order of their last use.
  std::vector<ContextEntry> contexts_;
  std::uint64_t numbers_ = 0;
  std::unordered_map<std::string, std::shared_ptr<const flow::CertificateChain>>
      chains_;  ///< by their SHA-1s
  std::size_t chain_bytes_ = 0;
  base::LruCache<std::string, tls::SslSessionPtr> sessions_{kSessions};
};

/// The client's list without what cannot be spoken over TCP.
std::vector<std::string> offered_upstream(const std::vector<std::string>& client);

}  // namespace mitm::intercept
