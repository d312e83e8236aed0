// A ClientHello of OpenSSL's that resembles a program's own, for servers that look at it.
#pragma once

#include <string>

#include "mitm/sniff/sniffer.h"
#include "mitm/tls/openssl.h"

namespace mitm::tls {

/// What OpenSSL can repeat of a hello, in the program's order and OpenSSL's names, colons between.
/// Left out is what this OpenSSL does not have (GREASE, drafts, newer groups) and what would give
/// up verification (ciphers without authentication or encryption). An empty list: the program has
/// none, or nothing is left.
struct HelloProfile {
  std::string suites;   ///< TLS 1.3
  std::string ciphers;  ///< TLS 1.2 and older
  std::string groups;
  std::string signatures;
  int min_version = 0;  ///< 0: the program does not say
  int max_version = 0;

  bool operator==(const HelloProfile&) const = default;
};
HelloProfile profile_of(const sniff::ClientHello& hello);

/// Makes the hellos of `context` like that, as far as its versions and its security level allow; a
/// list of which nothing is usable leaves OpenSSL's own. Nothing happens when the program is older
/// than the context's lowest version: nothing is agreed on with such a program.
void mimic(const HelloProfile& profile, SSL_CTX* context);

/// Offers `list` only: names as `openssl ciphers` knows them, those of TLS 1.3 (TLS_...) among
/// them; commas, colons or blanks between. Ciphers without authentication or encryption are left
/// out. The error says which part is wrong; `context` is spoilt then.
[[nodiscard]] base::Result<> offer_ciphers(const std::string& list, SSL_CTX* context);

}  // namespace mitm::tls
