// What OpenSSL's reasons mean to the person whose program or server it is, and to the program.
#pragma once

#include <string>
#include <string_view>

namespace mitm::intercept {

/// Why TLS with a server failed. `reason`: SSL_R_..., 0: none; `heard`: the first bytes that the
/// server sent. Empty: nothing that OpenSSL's own words do not say.
std::string meaning_at_server(int reason, std::string_view heard);

/// The same of TLS with a program.
std::string_view meaning_at_program(int reason);

/// The alert (SSL_AD_...) that passes on to the program why TLS with its server has failed: the one
/// that the server sent, if it did, else one that fits `reason`, else `otherwise`.
int alert_at_program(int reason, int otherwise);

/// A fatal alert record in plaintext (RFC 8446 section 6), for a client that has sent nothing but
/// its hello.
std::string alert_record(int alert);

}  // namespace mitm::intercept
