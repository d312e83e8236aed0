// The trust stores of this machine: who trusts our root, and putting it in and taking it out.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/user.h"
#include "mitm/trust/store_status.h"

namespace mitm::trust {

/// Every trust store found, in a stable order: system, NSS databases of `user` (run with the user's
/// own ids), Java.
std::vector<StoreStatus> trust_status(const std::string& root_pem_path, const base::User& user);

/// Idempotent: what is trusted already is not touched. Returns what each store says now; where one
/// has `failed`, the others went on. Needs root for the system store and Java. An error only when
/// there is no root certificate to install.
base::Result<std::vector<StoreStatus>> install_trust(const std::string& root_pem_path,
                                                     const base::User& user);

/// Takes out what bears our name, also when `root_pem_path` is gone or is a newer root.
base::Result<std::vector<StoreStatus>> uninstall_trust(const std::string& root_pem_path,
                                                       const base::User& user);

/// The certificates of the SSL_CERT_FILE that `caller` has and may read (up to 1 MiB), else the
/// system's, those of roots_of_variables(), `more` (PEM) and ours, in one PEM file readable by
/// everyone: <directory>/ca-bundle.pem, whose path is returned. Written only when it would change.
/// For programs that are to trust us without any installation (`osproxy exec`), and their real
/// hosts as before.
base::Result<std::string> write_combined_bundle(const std::string& directory,
                                                const std::string& root_pem_path,
                                                const base::User& caller,
                                                std::string_view more = {});

/// Where write_combined_bundle() puts it.
std::string bundle_path(const std::string& directory);

/// The variables that take the path of a PEM file: SSL_CERT_FILE, NODE_EXTRA_CA_CERTS, ...
std::span<const std::string_view> variable_names();

/// PEM: the certificates in the files that the caller's environment names in the variables which
/// trust_variables() will set (CURL_CA_BUNDLE, NODE_EXTRA_CA_CERTS, ...), each once, up to 1 MiB;
/// not those of our own bundle. To be called with the caller's rights. What cannot be read is left
/// out.
std::string roots_of_variables(const std::string& directory);

/// NAME=VALUE settings that make common runtimes trust `bundle`; SSL_CERT_DIR is left as it is,
/// because it adds roots and takes none away. With files made beside the bundle:
/// - JAVA_TOOL_OPTIONS, when a Java of root's is there: a trust store with that Java's roots and
/// ours (made by
///   keytool, half a second, when it is older than either). An existing value is kept in front.
///   Every Java says "Picked up JAVA_TOOL_OPTIONS" on stderr; it cannot be told not to.
/// - WGETRC, for the GnuTLS build of wget, which knows no variable for roots; only when `home` (of
/// the program's
///   user; empty: unknown) has no .wgetrc, which it would hide, and the caller set none.
/// What cannot be made is left out.
std::vector<std::pair<std::string, std::string>> trust_variables(const std::string& bundle,
                                                                 const std::string& root_pem_path,
                                                                 const std::string& home = {});

}  // namespace mitm::trust
