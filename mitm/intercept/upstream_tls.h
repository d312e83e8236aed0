// TLS towards the servers: verified, with the program's own names, resumed where the server allows it.
#pragma once

#include <chrono>
#include <list>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/network.h"
#include "mitm/intercept/channel.h"
#include "mitm/intercept/engine.h"

namespace mitm::intercept {

/// Client-side context and session cache of one io_context.
class UpstreamTls {
 public:
  static constexpr std::size_t kSessions = 1000;

  struct Ask {
    base::Endpoint server;
    std::string sni;                ///< empty: none is sent, the certificate must name the address
    std::vector<std::string> alpn;  ///< offered in this order; empty: the extension is not sent
  };
  /// Belongs to one connection and must live as long as its SSL: sessions arrive with later reads.
  class Attempt {
   public:
    Attempt(UpstreamTls& owner, const Ask& ask);

   private:
    friend class UpstreamTls;
    UpstreamTls& owner_;
    std::string key_;      ///< in the session cache
    std::string problem_;  ///< what verification found
    bool trust_ = false;   ///< that the right CA would help
    Channel* server_ = nullptr;
  };

  /// Errors name the setting that is wrong.
  [[nodiscard]] static base::Result<std::unique_ptr<UpstreamTls>> make(const Settings& settings);

  /// Puts TLS on `server`. Returns why that failed, for the person whose program it is; empty: it did not.
  boost::asio::awaitable<std::string> connect(Channel& server, Attempt& attempt, const Ask& ask);

 private:
  struct Entry {
    std::string key;
    tls::SslSessionPtr session;
  };

  UpstreamTls(tls::SslCtxPtr context, bool verify);
  static int keep_session(SSL* ssl, SSL_SESSION* session);
  static int no_certificate(SSL* ssl, X509**, EVP_PKEY**);
  static int note_finding(int good, X509_STORE_CTX* verification);
  [[nodiscard]] static std::string explain(const Channel& server, const Attempt& attempt,
                                           std::string_view name);
  void remember(const std::string& key, tls::SslSessionPtr session);
  [[nodiscard]] tls::SslSessionPtr find(const std::string& key);
  [[nodiscard]] tls::SslPtr prepare(Attempt& attempt, const Ask& ask);

  tls::SslCtxPtr context_;
  bool verify_;
  std::list<Entry> sessions_;  ///< most recently used first
  std::unordered_map<std::string_view, std::list<Entry>::iterator> index_;
};

/// The client's list without what cannot be spoken over TCP.
std::vector<std::string> offered_upstream(const std::vector<std::string>& client);

}  // namespace mitm::intercept
