// OpenSSL names the check that failed ("wrong version number"); the cause is known as well, from
// experience.
#include "mitm/intercept/wire/tls_failure.h"

#include <algorithm>

#include <fmt/format.h>
#include <openssl/ssl.h>

#include "base/text.h"

namespace mitm::intercept {
namespace {

struct Meaning {
  int reason;
  std::string_view text;
};

constexpr Meaning kAtServer[] = {
    {SSL_R_UNSUPPORTED_PROTOCOL, "the server has only older versions of TLS than it was offered"},
    {SSL_R_TLSV1_ALERT_PROTOCOL_VERSION,
     "the server has none of the versions of TLS that it was offered"},
    {SSL_R_NO_PROTOCOLS_AVAILABLE, "the program offers no version of TLS that --tls-min allows"},
    {SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE, "the server accepts nothing of what it was offered"},
    {SSL_R_TLSV1_ALERT_INSUFFICIENT_SECURITY,
     "the server wants stronger ciphers than it was offered"},
    {SSL_R_TLSV1_UNRECOGNIZED_NAME, "the server does not serve this name"},
    {SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL,
     "the server speaks none of the protocols that the program offers by ALPN"},
    {SSL_R_TLSV1_ALERT_ACCESS_DENIED, "the server denies access"},
    {SSL_R_TLSV1_ALERT_INTERNAL_ERROR, "the server has failed by itself"},
    {SSL_R_DH_KEY_TOO_SMALL, "the server's Diffie-Hellman key is too short"},
    {SSL_R_UNSAFE_LEGACY_RENEGOTIATION_DISABLED,
     "the server lacks secure renegotiation (RFC 5746), "
     "which is required; let the host pass with a rule"},
    {SSL_R_WRONG_SIGNATURE_TYPE, "the server signs with an algorithm that it was not offered"},
    {SSL_R_BAD_SIGNATURE, "the server's signature is wrong"},
    {SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC,
     "what the server sent cannot be decrypted: it was damaged"},
};

constexpr Meaning kAtProgram[] = {
    {SSL_R_UNSUPPORTED_PROTOCOL,
     "the program offers older versions of TLS only; --tls-min 1.0 allows them"},
    {SSL_R_VERSION_TOO_LOW,
     "the program offers older versions of TLS only; --tls-min 1.0 allows them"},
    {SSL_R_NO_SHARED_CIPHER, "the program offers no cipher that osproxy has"},
    {SSL_R_NO_SHARED_GROUPS, "the program offers no group for the key exchange that osproxy has"},
    {SSL_R_NO_SUITABLE_KEY_SHARE,
     "the program offers no group for the key exchange that osproxy has"},
    {SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM,
     "the program accepts no signature that osproxy can make"},
    {SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS,
     "the program accepts no signature that osproxy can make"},
    {SSL_R_INAPPROPRIATE_FALLBACK,
     "the program tries again with an older version "
     "of TLS, after a first connection that has failed"},
    {SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED,
     "the program takes osproxy's certificate for a revoked one"},
    {SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE,
     "the program does not know the kind of osproxy's certificate"},
    {SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE, "the program accepts nothing of what it was offered"},
    {SSL_R_TLSV1_ALERT_PROTOCOL_VERSION,
     "the program does not know the version of TLS that was chosen"},
    {SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC,
     "what the program sent cannot be decrypted: it was damaged"},
};

template <std::size_t N>
std::string_view text_for(const Meaning (&table)[N], int reason) {
  const auto* const found = std::ranges::find(table, reason, &Meaning::reason);
  return found == std::end(table) ? std::string_view{} : found->text;
}

/// The types of TLS records (RFC 8446 section 5.1) are 20 to 24, and their version begins with 3.
bool begins_as_tls(std::string_view bytes) {
  if (bytes.empty()) return true;
  const auto type = static_cast<unsigned char>(bytes[0]);
  return type >= 20 && type <= 24 && (bytes.size() < 2 || bytes[1] == 3);
}

}  // namespace

std::string meaning_at_server(int reason, std::string_view heard) {
  if (reason == 0) return {};
  if (heard.starts_with("HTTP/")) return "the server speaks plain HTTP on this port, not TLS";
  if (!begins_as_tls(heard))
    return fmt::format("the server does not speak TLS on this port: its answer begins with '{}'",
                       base::printable(heard));
  return std::string(text_for(kAtServer, reason));
}

std::string_view meaning_at_program(int reason) {
  return text_for(kAtProgram, reason);
}

int alert_at_program(int reason, int otherwise) {
  const int alert = reason - SSL_AD_REASON_OFFSET;
  if (alert > 0 && alert < 256) return alert;
  const bool version =
      reason == SSL_R_UNSUPPORTED_PROTOCOL || reason == SSL_R_NO_PROTOCOLS_AVAILABLE;
  return version ? SSL_AD_PROTOCOL_VERSION : otherwise;
}

std::string alert_record(int alert) {
  std::string record{"\x15\x03\x01\x00\x02\x02", 6};
  record += static_cast<char>(alert);
  return record;
}

}  // namespace mitm::intercept
