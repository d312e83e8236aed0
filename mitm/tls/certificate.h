// A certificate being made: the steps that the authority and the leaves share.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "mitm/tls/openssl.h"

namespace mitm::tls {

/// What X.520 allows a common name to have.
inline constexpr std::size_t kCommonNameLimit = 64;

struct Validity {
  std::chrono::system_clock::time_point from;
  std::chrono::system_clock::time_point until;
};

[[nodiscard]] base::Result<PkeyPtr> generate_p256();
[[nodiscard]] base::Result<PkeyPtr> generate_rsa2048();  ///< takes 50 to 500 ms

/// Version 3, a random positive serial of 127 bits, no extensions, not signed. `issuer` null: self-signed.
/// An empty `common_name` gives an empty subject.
[[nodiscard]] base::Result<X509Ptr> draft_certificate(std::string_view common_name, X509* issuer,
                                                      EVP_PKEY* key, const Validity& validity);

/// `value` in the syntax of openssl.cnf: constants of ours only, never anything from a peer. `issuer` null:
/// the certificate itself. False leaves the reason in OpenSSL's queue.
[[nodiscard]] bool add_extension(X509* certificate, X509* issuer, int nid, const char* value);

/// SHA-256 with `key`.
[[nodiscard]] bool sign(X509* certificate, EVP_PKEY* key);

/// For a certificate's own times, which OpenSSL gives as text.
std::chrono::system_clock::time_point not_before(const X509* certificate);
std::chrono::system_clock::time_point not_after(const X509* certificate);

std::string common_name(const X509* certificate);  ///< the most specific one as UTF-8; empty: none

}  // namespace mitm::tls
