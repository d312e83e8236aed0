// Leaf certificates for the programs: made on demand, cached, one key for all.
#pragma once

#include <list>
#include <memory>
#include <string>
#include <unordered_map>

#include "mitm/tls/authority.h"

namespace mitm::tls {

enum class KeyType : std::uint8_t { p256, rsa2048 };

/// What the leaf is to look like.
struct LeafRequest {
  std::string host;  ///< SNI, or the destination's address in text when the client sent none
  X509* upstream =
      nullptr;  ///< mirrored when there is one: subject CN and SANs (host is always among the SANs)
  KeyType key = KeyType::p256;
};

/// Keys and signing identity, shared by all contexts of the worker. Immutable but for the intermediate.
struct LeafSigner {
  Identity intermediate;
  PkeyPtr p256;
  PkeyPtr rsa;
  [[nodiscard]] static base::Result<std::shared_ptr<const LeafSigner>> make(Identity intermediate);
};

/// A leaf: SAN always, serverAuth, notBefore two days back, at most 197 days and never longer than the
/// intermediate's own chain asks for. Serial numbers random.
[[nodiscard]] base::Result<X509Ptr> issue_leaf(const LeafSigner& signer, const LeafRequest& request);

/// Server-side SSL_CTX per (host, fingerprint of the upstream certificate, key type), least recently used
/// dropped at `limit`. One per io_context: no lock. Contexts come from `base` settings (versions, ciphers,
/// session tickets) given at make.
class LeafCache {
 public:
  struct Settings {
    int min_version = TLS1_2_VERSION;
    std::size_t limit = 1000;
  };
  LeafCache(std::shared_ptr<const LeafSigner> signer, Settings settings);

  /// Never null on success; valid while the caller holds it. ALPN is chosen by the caller on the SSL.
  [[nodiscard]] base::Result<std::shared_ptr<SSL_CTX>> context_for(const LeafRequest& request);

  /// A renewed intermediate: leaves made from now on use it.
  void renew(std::shared_ptr<const LeafSigner> signer);

 private:
  struct Entry {
    std::string key;
    std::shared_ptr<SSL_CTX> context;
  };
  std::shared_ptr<const LeafSigner> signer_;
  Settings settings_;
  std::list<Entry> entries_;  ///< most recently used first
  std::unordered_map<std::string_view, std::list<Entry>::iterator> index_;
};

}  // namespace mitm::tls
