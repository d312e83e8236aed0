// OpenSSL makes certificates by some twenty calls each of which can fail; here they are put into
// four steps, so that what the root, the intermediate and a leaf differ in can be read off their
// own code.
#include "mitm/tls/certificate.h"

#include <algorithm>
#include <array>
#include <ctime>

#include <boost/asio/ip/address.hpp>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#include "base/text.h"

namespace mitm::tls {
namespace {

bool set_random_serial(X509* certificate) {
  std::array<unsigned char, 16> bytes;
  if (RAND_bytes(bytes.data(), bytes.size()) != 1) return false;
  bytes[0] = (bytes[0] & 0x7f) | 0x40;  // positive, and always of the same length
  const std::unique_ptr<BIGNUM, Deleter<BN_free>> number{
      BN_bin2bn(bytes.data(), bytes.size(), nullptr)};
  return number && BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)) != nullptr;
}

bool set_subject(X509* certificate, std::string_view common_name) {
  if (common_name.empty()) return true;
  const auto* text = reinterpret_cast<const unsigned char*>(common_name.data());
  return X509_NAME_add_entry_by_NID(X509_get_subject_name(certificate), NID_commonName,
                                    MBSTRING_UTF8, text, static_cast<int>(common_name.size()), -1,
                                    0) == 1;
}

bool set_times(X509* certificate, const Validity& validity) {
  using std::chrono::system_clock;
  return ASN1_TIME_set(X509_getm_notBefore(certificate), system_clock::to_time_t(validity.from)) !=
             nullptr &&
         ASN1_TIME_set(X509_getm_notAfter(certificate), system_clock::to_time_t(validity.until)) !=
             nullptr;
}

constexpr std::size_t kLongestName = 120;

std::string shortened(std::string_view text) {
  std::string name = base::printable(text.substr(0, kLongestName));
  return text.size() > kLongestName ? name + "..." : name;
}

/// Empty: there are no addresses of that size.
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

std::chrono::system_clock::time_point time_point(const ASN1_TIME* time) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return {};
  using std::chrono::seconds;
  using std::chrono::system_clock;
  // "No end" is the year 9999 (RFC 5280 section 4.1.2.5); a time_point here ends in 2262.
  constexpr auto kLast = std::chrono::duration_cast<seconds>(system_clock::duration::max());
  const seconds since{std::clamp<std::time_t>(::timegm(&parts), -kLast.count(), kLast.count())};
  return system_clock::time_point{since};
}

}  // namespace

base::Result<PkeyPtr> generate_p256() {
  PkeyPtr key{EVP_EC_gen("P-256")};
  if (!key) return openssl_error("cannot make a P-256 key");
  return key;
}

base::Result<PkeyPtr> generate_rsa2048() {
  PkeyPtr key{EVP_RSA_gen(2048)};
  if (!key) return openssl_error("cannot make an RSA key");
  return key;
}

base::Result<X509Ptr> draft_certificate(std::string_view common_name, X509* issuer, EVP_PKEY* key,
                                        const Validity& validity) {
  X509Ptr certificate{X509_new()};
  X509* const draft = certificate.get();
  const bool made =
      draft != nullptr && X509_set_version(draft, X509_VERSION_3) == 1 &&
      set_random_serial(draft) && set_subject(draft, common_name) &&
      X509_set_issuer_name(draft, X509_get_subject_name(issuer ? issuer : draft)) == 1 &&
      set_times(draft, validity) && X509_set_pubkey(draft, key) == 1;
  if (!made) return openssl_error("cannot make a certificate");
  return certificate;
}

bool add_extension(X509* certificate, X509* issuer, int nid, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer ? issuer : certificate, certificate, nullptr, nullptr, 0);
  const std::unique_ptr<X509_EXTENSION, Deleter<X509_EXTENSION_free>> extension{
      X509V3_EXT_conf_nid(nullptr, &context, nid, value)};
  return extension && X509_add_ext(certificate, extension.get(), -1) == 1;
}

bool sign(X509* certificate, EVP_PKEY* key) {
  return X509_sign(certificate, key, EVP_sha256()) > 0;
}

std::chrono::system_clock::time_point not_before(const X509* certificate) {
  return time_point(X509_get0_notBefore(certificate));
}

std::chrono::system_clock::time_point not_after(const X509* certificate) {
  return time_point(X509_get0_notAfter(certificate));
}

std::string common_name(const X509* certificate) {
  const X509_NAME* subject = X509_get_subject_name(certificate);
  int last = -1;
  for (int at = -1; (at = X509_NAME_get_index_by_NID(subject, NID_commonName, at)) >= 0;) last = at;
  if (last < 0) return {};
  unsigned char* text = nullptr;
  const int size =
      ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, last)));
  if (size < 0) return {};
  std::string name(reinterpret_cast<char*>(text), size);
  OPENSSL_free(text);
  return name;
}

std::string distinguished_name(const X509_NAME* name) {
  const BioPtr out{BIO_new(BIO_s_mem())};
  X509_NAME_print_ex(out.get(), name, 0, XN_FLAG_ONELINE & ~ASN1_STRFLGS_ESC_MSB);
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(out.get(), &bytes);
  ERR_clear_error();
  return size > 0 ? shortened({bytes, static_cast<std::size_t>(size)}) : std::string();
}

std::vector<SubjectName> subject_names(const X509* certificate) {
  using Names = std::unique_ptr<GENERAL_NAMES, Deleter<GENERAL_NAMES_free>>;
  const Names names{static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr))};
  ERR_clear_error();
  std::vector<SubjectName> found;
  for (int at = 0; at < (names ? sk_GENERAL_NAME_num(names.get()) : 0); ++at) {
    int type = 0;
    const void* value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names.get(), at), &type);
    if (type != GEN_DNS && type != GEN_IPADD) continue;
    const auto* text = static_cast<const ASN1_STRING*>(value);
    const std::string_view bytes{reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
                                 static_cast<std::size_t>(ASN1_STRING_length(text))};
    std::string name = type == GEN_DNS ? shortened(bytes) : address_of(bytes);
    if (!name.empty()) found.push_back({std::move(name), type == GEN_IPADD});
  }
  return found;
}

}  // namespace mitm::tls
