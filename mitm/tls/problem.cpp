// OpenSSL says what rule was broken; what it was broken by has to be looked up in the certificate. All of
// it is foreign text.
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
  return fmt::format("{:%Y-%m-%d %H:%M} UTC", fmt::gmtime(std::chrono::system_clock::to_time_t(time)));
}

std::string shortened(std::string_view text) {
  std::string name = base::printable(text.substr(0, kLongestName));
  return text.size() > kLongestName ? name + "..." : name;
}

/// "CN = e2e CA, O = Example".
std::string distinguished(const X509_NAME* name) {
  const BioPtr out{BIO_new(BIO_s_mem())};
  X509_NAME_print_ex(out.get(), name, 0, XN_FLAG_ONELINE & ~ASN1_STRFLGS_ESC_MSB);
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(out.get(), &bytes);
  ERR_clear_error();
  return size > 0 ? shortened({bytes, static_cast<std::size_t>(size)}) : "a CA without a name";
}

std::string address_of(std::string_view bytes) {
  using boost::asio::ip::address_v4;
  using boost::asio::ip::address_v6;
  const auto as = [&](auto raw) {
    std::copy(bytes.begin(), bytes.end(), raw.begin());
    return raw;
  };
  if (bytes.size() == 4) return address_v4{as(address_v4::bytes_type{})}.to_string();
  return bytes.size() == 16 ? address_v6{as(address_v6::bytes_type{})}.to_string() : std::string();
}

/// DNS names and addresses; the common name is none (RFC 9525, 2).
std::vector<std::string> names_of(const X509* certificate) {
  using Names = std::unique_ptr<GENERAL_NAMES, Deleter<GENERAL_NAMES_free>>;
  const Names names{
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr))};
  ERR_clear_error();
  std::vector<std::string> found;
  for (int at = 0; at < (names ? sk_GENERAL_NAME_num(names.get()) : 0); ++at) {
    int type = 0;
    const void* value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names.get(), at), &type);
    if (type != GEN_DNS && type != GEN_IPADD) continue;
    const auto* text = static_cast<const ASN1_STRING*>(value);
    const std::string_view bytes{reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
                                 static_cast<std::size_t>(ASN1_STRING_length(text))};
    found.push_back(type == GEN_DNS ? shortened(bytes) : address_of(bytes));
  }
  return found;
}

std::string named(const X509* certificate) {
  auto names = names_of(certificate);
  std::erase(names, std::string());
  const std::string common = shortened(common_name(certificate));
  if (names.empty() && common.empty()) return "it has no names";
  if (names.empty()) {
    return fmt::format("it has only a common name, {}, which does not count: it needs a subjectAltName",
                       common);
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
  return fmt::format("has a key of {} bits ({})", EVP_PKEY_get_bits(key), kind != nullptr ? kind : "unknown");
}

std::string detail(const Finding& finding, Time now) {
  const X509* const certificate = finding.certificate;
  const std::string whose =
      finding.depth == 0 ? "" : fmt::format("that of {} ", distinguished(X509_get_subject_name(certificate)));
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
          "it is signed by {}, which is not trusted here, or whose own certificate the server should send",
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
