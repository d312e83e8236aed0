// OpenSSL fails a whole list for one unknown name, so what it knows is found out first, name by
// name.
#include "mitm/tls/hello_mimicry.h"

#include <algorithm>
#include <map>
#include <span>
#include <vector>

#include <openssl/err.h>

#include "base/text.h"

namespace mitm::tls {
namespace {

using Number = std::uint16_t;
using Names = std::map<Number, std::string>;

struct Entry {
  Number number;
  const char* name;
};

// IANA's registries. OpenSSL 3.0 lacks the last three groups; newer ones have them.
constexpr Entry kGroups[] = {{21, "secp224r1"},
                             {22, "secp256k1"},
                             {23, "P-256"},
                             {24, "P-384"},
                             {25, "P-521"},
                             {26, "brainpoolP256r1"},
                             {27, "brainpoolP384r1"},
                             {28, "brainpoolP512r1"},
                             {29, "X25519"},
                             {30, "X448"},
                             {256, "ffdhe2048"},
                             {257, "ffdhe3072"},
                             {258, "ffdhe4096"},
                             {259, "ffdhe6144"},
                             {260, "ffdhe8192"},
                             {4587, "SecP256r1MLKEM768"},
                             {4588, "X25519MLKEM768"},
                             {4589, "SecP384r1MLKEM1024"}};
/// All that there are: not all are in the usual list. OpenSSL skips those that it was built
/// without.
constexpr const char* kSuites =
    "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256:"
    "TLS_AES_128_CCM_SHA256:TLS_AES_128_CCM_8_SHA256";

constexpr Entry kSignatures[] = {{0x0201, "RSA+SHA1"},
                                 {0x0202, "DSA+SHA1"},
                                 {0x0203, "ECDSA+SHA1"},
                                 {0x0301, "RSA+SHA224"},
                                 {0x0302, "DSA+SHA224"},
                                 {0x0303, "ECDSA+SHA224"},
                                 {0x0401, "RSA+SHA256"},
                                 {0x0402, "DSA+SHA256"},
                                 {0x0403, "ECDSA+SHA256"},
                                 {0x0501, "RSA+SHA384"},
                                 {0x0502, "DSA+SHA384"},
                                 {0x0503, "ECDSA+SHA384"},
                                 {0x0601, "RSA+SHA512"},
                                 {0x0602, "DSA+SHA512"},
                                 {0x0603, "ECDSA+SHA512"},
                                 {0x0804, "rsa_pss_rsae_sha256"},
                                 {0x0805, "rsa_pss_rsae_sha384"},
                                 {0x0806, "rsa_pss_rsae_sha512"},
                                 {0x0807, "ed25519"},
                                 {0x0808, "ed448"},
                                 {0x0809, "rsa_pss_pss_sha256"},
                                 {0x080a, "rsa_pss_pss_sha384"},
                                 {0x080b, "rsa_pss_pss_sha512"}};

bool authenticates_and_encrypts(const SSL_CIPHER* cipher) {
  const auto is_one_of = [](int nid, std::initializer_list<int> good) {
    return std::ranges::find(good, nid) != good.end();
  };
  return SSL_CIPHER_get_cipher_nid(cipher) != NID_undef &&
         is_one_of(SSL_CIPHER_get_auth_nid(cipher),
                   {NID_auth_rsa, NID_auth_ecdsa, NID_auth_dss, NID_auth_any}) &&
         is_one_of(SSL_CIPHER_get_kx_nid(cipher),
                   {NID_kx_rsa, NID_kx_ecdhe, NID_kx_dhe, NID_kx_any});
}

bool is_of_tls13(const SSL_CIPHER* cipher) {
  return SSL_CIPHER_get_protocol_id(cipher) >> 8 == 0x13;
}

/// What this OpenSSL has.
struct Known {
  Names suites, ciphers, groups, signatures;

  Known() {
    const SslCtxPtr context{SSL_CTX_new(TLS_client_method())};
    if (!context) return;
    SSL_CTX_set_cipher_list(context.get(), "ALL:@SECLEVEL=0");
    SSL_CTX_set_ciphersuites(context.get(), kSuites);
    const auto* all = SSL_CTX_get_ciphers(context.get());
    for (int at = 0; at < sk_SSL_CIPHER_num(all); ++at) {
      const SSL_CIPHER* cipher = sk_SSL_CIPHER_value(all, at);
      if (!authenticates_and_encrypts(cipher)) continue;
      (is_of_tls13(cipher) ? suites : ciphers)[SSL_CIPHER_get_protocol_id(cipher)] =
          SSL_CIPHER_get_name(cipher);
    }
    keep(groups, kGroups,
         [&](const char* name) { return SSL_CTX_set1_groups_list(context.get(), name); });
    keep(signatures, kSignatures,
         [&](const char* name) { return SSL_CTX_set1_sigalgs_list(context.get(), name); });
    ERR_clear_error();
  }

 private:
  static void keep(Names& names, std::span<const Entry> entries, auto accepts) {
    for (const auto& [number, name] : entries) {
      if (accepts(name) == 1) names.emplace(number, name);
    }
  }
};

const Known& known() {
  static const Known one;
  return one;
}

/// The names of those that are known, each once.
std::string listed(const std::vector<Number>& numbers, const Names& names) {
  std::string list;
  std::vector<Number> seen;
  for (const Number number : numbers) {
    const auto found = names.find(number);
    if (found == names.end() || std::ranges::find(seen, number) != seen.end()) continue;
    seen.push_back(number);
    list.append(list.empty() ? "" : ":").append(found->second);
  }
  return list;
}

/// Whether a hello of `context` would have a cipher for TLS 1.2 or older, of those it is set to.
bool has_older_cipher(SSL_CTX* context) {
  const SslPtr ssl{SSL_new(context)};
  if (!ssl) return false;
  STACK_OF(SSL_CIPHER)* const usable = SSL_get1_supported_ciphers(ssl.get());
  bool found = false;
  for (int at = 0; at < sk_SSL_CIPHER_num(usable); ++at)
    found = found || !is_of_tls13(sk_SSL_CIPHER_value(usable, at));
  sk_SSL_CIPHER_free(usable);
  return found;
}

/// Whether one of them is stronger than SHA-1, which only level 0 allows.
bool has_strong_signature(const std::string& list) {
  for (std::size_t at = 0; at <= list.size();) {
    const auto end = std::min(list.find(':', at), list.size());
    const std::string_view name = std::string_view(list).substr(at, end - at);
    if (!name.ends_with("SHA1") && !name.ends_with("SHA224")) return true;
    at = end + 1;
  }
  return false;
}

/// One part of a list, which OpenSSL skips in silence when it does not know it. Spoils the lists of
/// `context`.
bool is_known(std::string name, SSL_CTX* context) {
  bool known = false;
  if (name.starts_with("TLS_")) {
    known = SSL_CTX_set_ciphersuites(context, name.c_str()) == 1;
  } else {
    if (name.front() == '@') name.insert(0, "ALL:");
    if (name.find_first_of("!-+") == 0) name.erase(0, 1);
    known = SSL_CTX_set_cipher_list(context, name.c_str()) == 1;
  }
  ERR_clear_error();
  return known;
}

}  // namespace

HelloProfile profile_of(const sniff::ClientHello& hello) {
  HelloProfile profile;
  profile.suites = listed(hello.ciphers, known().suites);
  profile.ciphers = listed(hello.ciphers, known().ciphers);
  profile.groups = listed(hello.groups, known().groups);
  profile.signatures = listed(hello.signature_algorithms, known().signatures);
  profile.min_version = hello.min_version;
  profile.max_version = std::min<int>(hello.max_version, TLS1_3_VERSION);
  return profile;
}

void mimic(const HelloProfile& profile, SSL_CTX* context) {
  const int lowest = static_cast<int>(SSL_CTX_get_min_proto_version(context));
  if (profile.max_version != 0 && profile.max_version < lowest) return;
  SSL_CTX_set_min_proto_version(context, std::max(lowest, profile.min_version));
  SSL_CTX_set_max_proto_version(context, profile.max_version);
  if (!profile.suites.empty()) SSL_CTX_set_ciphersuites(context, profile.suites.c_str());
  if (!profile.ciphers.empty()) {
    SSL_CTX_set_cipher_list(context, profile.ciphers.c_str());
    if (!has_older_cipher(context)) SSL_CTX_set_cipher_list(context, OSSL_default_cipher_list());
  }
  if (!profile.groups.empty()) SSL_CTX_set1_groups_list(context, profile.groups.c_str());
  if (SSL_CTX_get_security_level(context) == 0 || has_strong_signature(profile.signatures))
    SSL_CTX_set1_sigalgs_list(context, profile.signatures.c_str());
  ERR_clear_error();
}

base::Result<> offer_ciphers(const std::string& list, SSL_CTX* context) {
  std::string suites, ciphers;
  for (std::size_t at = 0; at < list.size();) {
    const auto end = std::min(list.find_first_of(":, ", at), list.size());
    const std::string name = list.substr(at, end - at);
    at = end + 1;
    if (name.empty()) continue;
    std::string& part = name.starts_with("TLS_") ? suites : ciphers;
    part.append(part.empty() ? "" : ":").append(name);
    if (!is_known(name, context))
      return base::failure("OpenSSL knows no cipher {}; openssl ciphers -v ALL lists them",
                           base::printable(name));
  }
  if (suites.empty() && ciphers.empty()) return base::failure("expected names of ciphers");
  if (!suites.empty() && SSL_CTX_set_ciphersuites(context, suites.c_str()) != 1)
    return openssl_error("cannot be used");
  const std::string strict =
      ciphers.empty() ? OSSL_default_cipher_list() : ciphers + ":!aNULL:!eNULL:!PSK:!SRP";
  if (SSL_CTX_set_cipher_list(context, strict.c_str()) != 1)
    return openssl_error("no cipher is left of it");
  return {};
}

}  // namespace mitm::tls
