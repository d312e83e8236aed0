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

/// "certificate has expired (on 2026-11-20 12:00 UTC; this machine's clock says 2026-11-23 21:55 UTC)".
/// OpenSSL's words come first, for those who search for them. `now`: what the clock says.
std::string explain(const Finding& finding, std::chrono::system_clock::time_point now);

/// Whether it would be accepted if only the right CA were known.
bool is_about_trust(int code);

}  // namespace mitm::tls
