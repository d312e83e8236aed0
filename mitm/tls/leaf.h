// Leaf certificates for the programs: made on demand, cached, one key for all.
#pragma once

#include <array>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>

#include "base/lru_cache.h"
#include "mitm/tls/authority.h"
#include "mitm/tls/keylog.h"

namespace mitm::tls {

/// The intermediate lives for seven days; a new one is asked for a day and a half before its end,
/// so that programs whose clock is a day ahead still take what it signs.
inline constexpr std::chrono::hours kRenewBefore{36};

enum class KeyType : std::uint8_t { p256, rsa2048 };

/// What the leaf is to look like.
struct LeafRequest {
  /// SNI, or the destination's address in text when the client sent none. Case, a final dot,
  /// brackets and an IPv6 zone do not matter.
  std::string host;
  X509* upstream =
      nullptr;  ///< mirrored when there is one: subject CN and SANs (host is always among the SANs)
  KeyType key = KeyType::p256;
};

/// Signing identity and the keys of all leaves, shared by all contexts of the worker. Safe from any
/// thread.
class LeafSigner {
 public:
  [[nodiscard]] static base::Result<std::shared_ptr<const LeafSigner>> make(Identity intermediate);

  [[nodiscard]] const Identity& intermediate() const { return intermediate_; }

  /// The RSA key is made when first asked for (50 to 500 ms, once: few clients need one). Null:
  /// OpenSSL could not make it, its queue says why.
  [[nodiscard]] EVP_PKEY* key(KeyType type) const;

  /// What every context encrypts its session tickets with, so that a program that comes back on
  /// another io_context resumes.
  [[nodiscard]] std::span<const unsigned char> ticket_keys() const { return ticket_keys_; }

 private:
  Identity intermediate_;
  PkeyPtr p256_;
  mutable PkeyPtr rsa_;
  mutable std::once_flag rsa_made_;
  std::array<unsigned char, 80> ticket_keys_{};  ///< OpenSSL: name 16, HMAC 32, AES 32
};

/// A leaf: subject CN and SANs (DNS, address) of the upstream certificate and always `host`;
/// serverAuth, notBefore two days back, for at most 197 days and never longer than the
/// intermediate, without which it is worth nothing. Of absurdly many names only the first are kept.
/// An error when `host` cannot stand in a certificate.
[[nodiscard]] base::Result<X509Ptr> issue_leaf(const LeafSigner& signer,
                                               const LeafRequest& request);

/// Server-side SSL_CTX per (host, fingerprint of the upstream certificate, key type), least
/// recently used dropped at `limit`. One per io_context: no lock. The contexts send leaf and
/// intermediate, keep no session cache (tickets only) and refuse renegotiation.
class LeafCache {
 public:
  struct Settings {
    int min_version = TLS1_2_VERSION;
    std::size_t limit = 1000;
    std::shared_ptr<Keylog> keylog{};  ///< null: none
    std::function<std::chrono::system_clock::time_point()> now = std::chrono::system_clock::now;
  };
  LeafCache(std::shared_ptr<const LeafSigner> signer, Settings settings);

  /// Never null on success; valid while the caller holds it. The caller chooses the ALPN, in a
  /// callback that it sets on the context (OpenSSL has none on the SSL).
  [[nodiscard]] base::Result<std::shared_ptr<SSL_CTX>> context_for(const LeafRequest& request);

  /// Whether the intermediate, and with it each leaf, ends within `span` from now or has ended.
  [[nodiscard]] bool expires_within(std::chrono::seconds span) const;

  /// A renewed intermediate: contexts given out from now on use it.
  void renew(std::shared_ptr<const LeafSigner> signer);

 private:
  [[nodiscard]] base::Result<std::shared_ptr<SSL_CTX>> make_context(const LeafRequest& request,
                                                                    std::string_view key) const;

  std::shared_ptr<const LeafSigner> signer_;
  Settings settings_;
  std::string wanted_;  ///< the key looked for; kept, so that a hit allocates nothing
  base::LruCache<std::string, std::shared_ptr<SSL_CTX>> contexts_;
};

}  // namespace mitm::tls
