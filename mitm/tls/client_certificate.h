// The user's own certificates, for servers that ask for one.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "mitm/tls/openssl.h"

namespace mitm::tls {

/// As read from the user's files.
struct ClientCertificateText {
  std::string host;       ///< as base::host_matches wants it; empty: every host
  std::string cert_path;  ///< for errors
  std::string cert;       ///< PEM: the certificate, then those between it and the CA
  std::string key_path;
  std::string key;  ///< PEM
};

/// Safe from any thread.
class ClientCertificates {
 public:
  /// Errors: ".cert: ..." or ".key: ..." behind the place in the list, "[1].key: ...". What OpenSSL
  /// would not show at its usual security level (short keys, SHA-1) is one of them.
  [[nodiscard]] static base::Result<std::shared_ptr<const ClientCertificates>> make(
      const std::vector<ClientCertificateText>& texts);

  /// Gives `ssl`, which was asked for one, the first whose host fits. Returns its path; empty:
  /// none.
  std::string_view present(SSL* ssl, std::string_view host) const;

 private:
  struct Entry {
    std::string host, path;
    X509Ptr certificate;
    PkeyPtr key;
    X509StackPtr chain;
  };
  static base::Result<Entry> read(const ClientCertificateText& text);
  std::vector<Entry> entries_;
};

}  // namespace mitm::tls
