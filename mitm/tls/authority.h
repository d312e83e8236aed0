// The certificate authority: a root whose key never leaves a child process of root's
// (root_process.h), and the seven-day intermediate that the worker signs with.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "base/error.h"
#include "mitm/tls/openssl.h"

namespace mitm::tls {

/// A key with its certificate.
struct Identity {
  X509Ptr certificate;
  PkeyPtr key;
};

/// Where the root lives: <directory>/root-ca.key (0600, root) and <directory>/root-ca.pem (0644).
inline constexpr const char* kStateDirectory = OSPROXY_STATE_DIRECTORY;

/// " --ca-dir DIR" for commands that are advised; empty for kStateDirectory, and for no directory
/// at all.
std::string ca_dir_option(std::string_view directory);

/// The root: P-256, CA:TRUE pathlen 1, ten years, CN "osproxy CA <host> <date>", made when
/// `create_root` is first called. Errors name the file; a key that does not belong to its
/// certificate, or that others can read, is an error. These leave the root's key in the memory of
/// the calling process: the program calls them by root_process.h only.
[[nodiscard]] base::Result<Identity> create_root(
    const std::string& directory);  ///< error when there is one already
[[nodiscard]] base::Result<Identity> load_root(const std::string& directory);
[[nodiscard]] base::Result<Identity> load_or_create_root(const std::string& directory);
[[nodiscard]] base::Result<X509Ptr> load_root_certificate(
    const std::string& directory);  ///< needs no root rights

/// An intermediate (CA:TRUE pathlen 0, keyCertSign, serverAuth, P-256) valid from two days back
/// until seven days from now.
[[nodiscard]] base::Result<Identity> issue_intermediate(const Identity& root);

/// PEM for the way over the socketpair: the key, then the certificate.
std::string to_pem(const Identity& identity);
[[nodiscard]] base::Result<Identity> identity_from_pem(std::string_view pem);
std::string to_pem(X509* certificate);
[[nodiscard]] base::Result<X509Ptr> certificate_from_pem(std::string_view pem);
std::string sha256_fingerprint(X509* certificate);  ///< "AB:CD:..."
std::string der_of(X509* certificate);              ///< empty: there is no memory for it
[[nodiscard]] bool expires_within(X509* certificate, std::chrono::hours span);

}  // namespace mitm::tls
