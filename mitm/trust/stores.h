// What every kind of trust store can do; trust.cpp goes through them in order.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/user.h"
#include "mitm/trust/store_status.h"

namespace mitm::trust {

/// Ours, as it is to be in the stores.
struct Root {
  std::string pem;
  std::string der;  ///< empty: the file is gone; what bears our name can still be taken out
  std::string ca_directory{};  ///< empty: unknown

  /// "run: sudo osproxy ca VERB ...", for the CA that is meant.
  [[nodiscard]] std::string advice(std::string_view verb) const;
  [[nodiscard]] bool is_in_pem(std::string_view bundle) const;  ///< decodes every certificate
  [[nodiscard]] bool is_in_bytes(std::string_view bytes) const;
  /// In a directory as `openssl rehash` makes it (HASH.0, HASH.1, ...), found as OpenSSL finds it.
  [[nodiscard]] bool is_in_hashed(const std::string& directory) const;
};

class TrustStore {
 public:
  virtual ~TrustStore() = default;

  [[nodiscard]] virtual StoreStatus status(const Root& root) const = 0;

  /// Called unless the root is trusted already or the store unavailable. What went in before a
  /// failure is taken out again. A root of an earlier `ca create` is replaced.
  [[nodiscard]] virtual base::Result<> install(const Root& root) const = 0;

  /// Takes out what bears our name and nothing else; good when there is nothing.
  [[nodiscard]] virtual base::Result<> uninstall(const Root& root) const = 0;
};

using TrustStores = std::vector<std::unique_ptr<TrustStore>>;

/// The system's own store; which of the four below, each OS's file says.
std::unique_ptr<TrustStore> system_store();
std::unique_ptr<TrustStore> linux_store();  ///< the distribution's directory and its update program
std::unique_ptr<TrustStore> freebsd_store();   ///< /usr/local/etc/ssl/certs and certctl(8)
std::unique_ptr<TrustStore> keychain_store();  ///< macOS: the system keychain and security(1)
std::unique_ptr<TrustStore>
openbsd_store();  ///< nothing that could be changed and kept: says how by hand

/// As `install_trust` and `uninstall_trust` do it with each: what is good already is not touched.
StoreStatus install_into(const TrustStore& store, const Root& root);
StoreStatus uninstall_from(const TrustStore& store, const Root& root);

TrustStores nss_stores(const base::User& user);
TrustStores java_stores();

/// The nickname or alias of our root in stores that have such.
inline constexpr const char* kStoreName = "osproxy";

/// The system's roots in one PEM file: the first of the usual places that exists; empty: none does.
std::string system_bundle();

/// What it holds; without one (FreeBSD before 15 has none), the certificates of `hashed_directory`
/// one after another, as `openssl rehash` links them.
[[nodiscard]] base::Result<std::string> system_roots(
    const std::string& hashed_directory = "/etc/ssl/certs");

/// Each certificate in `pem` as DER; what is no certificate is skipped.
std::vector<std::string> certificates_as_der(std::string_view pem);

/// A Java's default trust store and the keytool that goes with it.
struct JavaStore {
  std::string cacerts;   ///< links resolved
  std::string keytool;   ///< links resolved; empty: none
  bool of_root = false;  ///< only root could have changed either
};
std::vector<JavaStore> find_java();

/// The bytes of a copy of `store` after keytool's `arguments` were applied to it; `store` itself
/// stays.
[[nodiscard]] base::Result<std::string> edited_by_keytool(const JavaStore& store,
                                                          const std::vector<std::string>& arguments,
                                                          const Root& root);

[[nodiscard]] base::Result<Root> read_root(const std::string& root_pem_path);

}  // namespace mitm::trust
