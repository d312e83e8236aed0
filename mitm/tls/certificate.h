// A certificate being made: the steps that the authority and the leaves share.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "mitm/tls/openssl.h"

namespace mitm::tls {

/// What X.520 allows a common name to have.
inline constexpr std::size_t kCommonNameLimit = 64;

/// How far back the certificates made here begin: programs may have another clock than this
/// machine, and a clock is corrected some time.
inline constexpr std::chrono::hours kBackdated{48};

struct Validity {
  std::chrono::system_clock::time_point from;
  std::chrono::system_clock::time_point until;
};

[[nodiscard]] base::Result<PkeyPtr> generate_p256();
[[nodiscard]] base::Result<PkeyPtr> generate_rsa2048();  ///< takes 50 to 500 ms

/// Version 3, a random positive serial of 127 bits, no extensions, not signed. `issuer` null:
/// self-signed. An empty `common_name` gives an empty subject.
[[nodiscard]] base::Result<X509Ptr> draft_certificate(std::string_view common_name, X509* issuer,
                                                      EVP_PKEY* key, const Validity& validity);

/// `value` in the syntax of openssl.cnf: constants of ours only, never anything from a peer.
/// `issuer` null: the certificate itself. False leaves the reason in OpenSSL's queue.
[[nodiscard]] bool add_extension(X509* certificate, X509* issuer, int nid, const char* value);

/// SHA-256 with `key`.
[[nodiscard]] bool sign(X509* certificate, EVP_PKEY* key);

/// For a certificate's own times, which OpenSSL gives as text; those after 2262 are its end, which
/// is as far as the type goes.
std::chrono::system_clock::time_point not_before(const X509* certificate);
std::chrono::system_clock::time_point not_after(const X509* certificate);

std::string common_name(const X509* certificate);  ///< the most specific one as UTF-8; empty: none

/// "CN = e2e CA, O = Example", made printable and shortened to 120 bytes; empty: it has no name.
std::string distinguished_name(const X509_NAME* name);

/// A subject alternative name: a DNS name (made printable, at most 120 bytes) or an address in
/// text.
struct SubjectName {
  std::string text;
  bool is_address = false;  ///< an iPAddress entry, not a dNSName
};
/// In the certificate's order; other kinds, and addresses of no known size, are left out. The
/// common name is no such name (RFC 9525 section 2).
std::vector<SubjectName> subject_names(const X509* certificate);

}  // namespace mitm::tls
