// The proxy's server side, as far as the leaf cache does not know it.
#include "mitm/intercept/wire/program_tls.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "mitm/intercept/wire/tls_failure.h"
#include "mitm/tls/problem.h"

namespace mitm::intercept {
namespace {

constexpr std::uint16_t kTls13 = 0x0304;
constexpr std::uint16_t kEcdsaP256Sha256 = 0x0403;
constexpr std::uint16_t kSecp256r1 = 0x0017;

/// ECDHE-ECDSA suites (IANA) that OpenSSL has at its default level.
constexpr std::uint16_t kEcdsaSuites[] = {0xC009, 0xC00A, 0xC023, 0xC024, 0xC02B, 0xC02C,
                                          0xC0AC, 0xC0AD, 0xC0AE, 0xC0AF, 0xCCA9};

/// The program never saw the server's certificate: it may refuse that one as well.
std::string unknown_trust(std::string_view issuer) {
  return fmt::format(
      "; whether it would trust the server's own certificate, issued by {}, is not known", issuer);
}

bool contains(const std::vector<std::uint16_t>& list, std::uint16_t value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

}  // namespace

std::string_view reason_to_pass(const sniff::ClientHello& hello) {
  if (hello.cut) return "the program's ClientHello takes more than 64 KiB";
  if (hello.encrypted_server_name && hello.sni.empty())
    return "the program encrypts the name of its server (ESNI), which only the server can decrypt";
  if (hello.psk_only)
    return "the program offers a pre-shared key (PSK) and no cipher that goes with a certificate";
  return {};
}

bool is_from_browser(const sniff::ClientHello& hello) {
  return hello.grease || hello.encrypted_client_hello;
}

tls::KeyType key_type_for(const sniff::ClientHello& hello) {
  const auto& schemes = hello.signature_algorithms;
  if (!schemes.empty() && !contains(schemes, kEcdsaP256Sha256)) return tls::KeyType::rsa2048;
  if (hello.max_version >= kTls13) return tls::KeyType::p256;
  const bool suite = std::any_of(std::begin(kEcdsaSuites), std::end(kEcdsaSuites),
                                 [&](auto id) { return contains(hello.ciphers, id); });
  const bool curve = hello.groups.empty() || contains(hello.groups, kSecp256r1);
  return suite && curve ? tls::KeyType::p256 : tls::KeyType::rsa2048;
}

void AlpnChoice::attach(SSL_CTX* context, SSL* ssl) {
  SSL_CTX_set_alpn_select_cb(context, select, nullptr);
  SSL_set_app_data(ssl, this);
}

int AlpnChoice::select(SSL* ssl, const unsigned char** out, unsigned char* out_size,
                       const unsigned char* in, unsigned in_size, void*) {
  const auto& wanted = static_cast<AlpnChoice*>(SSL_get_app_data(ssl))->protocol_;
  for (unsigned at = 0; !wanted.empty() && at < in_size; at += in[at] + 1U) {
    if (in[at] != wanted.size() || at + in[at] >= in_size) continue;
    if (std::memcmp(in + at + 1, wanted.data(), wanted.size()) != 0) continue;
    *out = in + at + 1;
    *out_size = in[at];
    return SSL_TLSEXT_ERR_OK;
  }
  return SSL_TLSEXT_ERR_NOACK;
}

Refusal refusal_of(const TlsStream& client, IoResult done) {
  if (done.ended()) return Refusal::closed;
  switch (client.failure().tls_reason) {
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
      return Refusal::unknown_ca;
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
      return Refusal::bad_certificate;
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
      return Refusal::certificate_unknown;
    default:
      break;
  }
  const int error = client.failure().os_error;
  const bool gone = error == ECONNRESET || error == EPIPE;
  return client.failure().tls_reason == 0 && gone ? Refusal::closed : Refusal::none;
}

bool left_at_once(const PeekBuffer& client, const PeekBuffer& server,
                  std::chrono::steady_clock::time_point agreed, std::chrono::milliseconds at_once) {
  return !client.has_received() && client.ended_at() < server.ended_at() &&
         client.ended_at() - agreed < at_once;
}

bool wants_no_encrypted_hello(const TlsStream& client) {
  return client.failure().tls_reason == SSL_AD_REASON_OFFSET + kEchRequired;
}

std::string left_at_once_text(std::string_view advice) {
  return fmt::format("{}, or not trust its CA; if so, {}", kLeftAtOnce, advice);
}

std::string explain_refusal(const TlsStream& client, IoResult done, const std::string& advice,
                            std::string_view issuer) {
  if (done.ended()) {
    return "the program closed the connection during the TLS handshake; it may not trust "
           "osproxy's CA; if so, " +
           advice;
  }
  const auto dates = [&] {
    return tls::dates_and_clock(SSL_get_certificate(client.ssl()),
                                std::chrono::system_clock::now());
  };
  const int reason = client.failure().tls_reason;
  switch (reason) {
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
      return fmt::format("the program does not trust osproxy's CA ({}); {}{}",
                         client.failure().text, advice,
                         issuer.empty() ? std::string() : unknown_trust(issuer));
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
      return fmt::format(
          "the program does not trust osproxy's CA, or its clock is wrong ({}): osproxy's "
          "certificate is {}; {}",
          client.failure().text, dates(), advice);
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
      return fmt::format(
          "the program takes osproxy's certificate for expired ({}): its clock may be wrong; the "
          "certificate is {}",
          client.failure().text, dates());
    default:
      break;
  }
  const auto meaning = meaning_at_program(reason);
  if (meaning.empty()) return fmt::format("TLS with the program failed: {}", client.failure().text);
  return fmt::format("TLS with the program failed: {} ({})", meaning, client.failure().text);
}

}  // namespace mitm::intercept
