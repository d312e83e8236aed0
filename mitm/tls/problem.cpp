// OpenSSL says what rule was broken; what it was broken by has to be looked up in the certificate.
// All of it is foreign text.
#include "mitm/tls/problem.h"

#include <vector>

#include <boost/asio/ip/address.hpp>
#include <fmt/chrono.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "base/text.h"
#include "mitm/tls/certificate.h"

namespace mitm::tls {
namespace {

using Time = std::chrono::system_clock::time_point;
constexpr std::size_t kNamesShown = 5;
constexpr std::size_t kLongestName = 120;

std::string in_words(Time time) {
  return fmt::format("{:%Y-%m-%d %H:%M} UTC",
                     fmt::gmtime(std::chrono::system_clock::to_time_t(time)));
}

std::string distinguished(const X509_NAME* name) {
  std::string text = distinguished_name(name);
  return text.empty() ? "a CA without a name" : text;
}

bool is_address(const std::string& text) {
  boost::system::error_code error;
  boost::asio::ip::make_address(text, error);
  return !error;
}

/// An address that a certificate has as a DNS name has no effect: programs compare addresses
/// with addresses (RFC 9525 section 6.2).
std::string in_words(const SubjectName& name) {
  if (name.is_address || !is_address(name.text)) return name.text;
  return fmt::format("{} (an address as a DNS name, which does not count: it needs IP:{})",
                     name.text, name.text);
}

std::string named(const X509* certificate) {
  std::vector<std::string> names;
  for (const auto& name : subject_names(certificate)) names.push_back(in_words(name));
  const std::string whole = common_name(certificate);
  const std::string common = base::printable(std::string_view(whole).substr(0, kLongestName));
  if (names.empty() && common.empty()) return "it has no names";
  if (names.empty()) {
    return fmt::format(
        "it has only a common name, {}, which does not count: it needs a subjectAltName", common);
  }
  const std::size_t more = names.size() - std::min(names.size(), kNamesShown);
  names.resize(names.size() - more);
  return fmt::format("it is for {}{}", fmt::join(names, ", "),
                     more > 0 ? fmt::format(" and {} more", more) : "");
}

/// "has a key of 1024 bits (RSA)".
std::string key_of(const X509* certificate) {
  const EVP_PKEY* const key = X509_get0_pubkey(certificate);
  if (key == nullptr) return "has a key of an unknown kind";
  const char* const kind = EVP_PKEY_get0_type_name(key);
  return fmt::format("has a key of {} bits ({})", EVP_PKEY_get_bits(key),
                     kind != nullptr ? kind : "unknown");
}

std::string detail(const Finding& finding, Time now) {
  const X509* const certificate = finding.certificate;
  const std::string whose =
      finding.depth == 0
          ? ""
          : fmt::format("that of {} ", distinguished(X509_get_subject_name(certificate)));
  const std::string clock = "this machine's clock says " + in_words(now);
  switch (finding.code) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return fmt::format("{}on {}; {}", whose, in_words(not_after(certificate)), clock);
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return fmt::format("{}only from {}; {}", whose, in_words(not_before(certificate)), clock);
    case X509_V_ERR_EE_KEY_TOO_SMALL:
    case X509_V_ERR_CA_KEY_TOO_SMALL:
      return (finding.depth == 0 ? "it " : whose) + key_of(certificate);
    case X509_V_ERR_CA_MD_TOO_WEAK:
      return fmt::format("{}is signed with {}", finding.depth == 0 ? "it " : whose,
                         OBJ_nid2ln(X509_get_signature_nid(certificate)));
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
      return named(certificate);
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
      return distinguished(X509_get_subject_name(certificate)) + " has signed it itself";
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
      return fmt::format("its root, {}, is not trusted here",
                         distinguished(X509_get_subject_name(certificate)));
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
      return fmt::format(
          "it is signed by {}, which is not "
          "trusted here, or whose own certificate the server should send",
          distinguished(X509_get_issuer_name(certificate)));
    default:
      return finding.depth == 0 ? "" : distinguished(X509_get_subject_name(certificate));
  }
}

}  // namespace

std::string explain(const Finding& finding, Time now) {
  std::string text = X509_verify_cert_error_string(finding.code);
  const std::string more = finding.certificate != nullptr ? detail(finding, now) : std::string();
  return more.empty() ? text : fmt::format("{} ({})", text, more);
}

std::string dates_and_clock(const X509* certificate, Time now) {
  return fmt::format("valid from {} to {}, while this machine's clock says {}",
                     in_words(not_before(certificate)), in_words(not_after(certificate)),
                     in_words(now));
}

int alert_for(int code) {
  switch (code) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return SSL_AD_CERTIFICATE_EXPIRED;
    case X509_V_ERR_CERT_REVOKED:
      return SSL_AD_CERTIFICATE_REVOKED;
    default:
      return is_about_trust(code) ? SSL_AD_UNKNOWN_CA : SSL_AD_BAD_CERTIFICATE;
  }
}

bool is_about_trust(int code) {
  switch (code) {
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_CERT_UNTRUSTED:
      return true;
    default:
      return false;
  }
}

}  // namespace mitm::tls
