// What is wrong with a server's certificate, for the person whose program asked for it.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "mitm/tls/openssl.h"

namespace mitm::tls {

/// What a verification found first.
struct Finding {
  int code = 0;                       ///< X509_V_ERR_...
  int depth = 0;                      ///< in the chain; 0: the server's own certificate
  const X509* certificate = nullptr;  ///< the one at fault; null: unknown
};

/// "certificate has expired (on 2026-11-20 12:00 UTC; this machine's clock says 2026-11-23 21:55
/// UTC)". OpenSSL's words come first, for those who search for them. `now`: what the clock says.
std::string explain(const Finding& finding, std::chrono::system_clock::time_point now);

/// "valid from 2026-11-20 12:00 UTC to 2026-11-29 12:00 UTC, while this machine's clock says
/// 2026-11-23 21:55 UTC".
std::string dates_and_clock(const X509* certificate, std::chrono::system_clock::time_point now);

/// The TLS alert (SSL_AD_...) that says the same of a certificate (RFC 8446 section 6.2).
int alert_for(int code);

/// Whether it would be accepted if only the right CA were known.
bool is_about_trust(int code);

}  // namespace mitm::tls
