// OpenSSL makes certificates by some twenty calls each of which can fail; here they are put into four steps,
// so that what the root, the intermediate and a leaf differ in can be read off their own code.
#include "mitm/tls/certificate.h"

#include <array>
#include <ctime>

#include <openssl/bn.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

namespace mitm::tls {
namespace {

bool set_random_serial(X509* certificate) {
  std::array<unsigned char, 16> bytes;
  if (RAND_bytes(bytes.data(), bytes.size()) != 1) return false;
  bytes[0] = (bytes[0] & 0x7f) | 0x40;  // positive, and always of the same length
  const std::unique_ptr<BIGNUM, Deleter<BN_free>> number{BN_bin2bn(bytes.data(), bytes.size(), nullptr)};
  return number && BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)) != nullptr;
}

bool set_subject(X509* certificate, std::string_view common_name) {
  if (common_name.empty()) return true;
  const auto* text = reinterpret_cast<const unsigned char*>(common_name.data());
  return X509_NAME_add_entry_by_NID(X509_get_subject_name(certificate), NID_commonName, MBSTRING_UTF8, text,
                                    static_cast<int>(common_name.size()), -1, 0) == 1;
}

bool set_times(X509* certificate, const Validity& validity) {
  using std::chrono::system_clock;
  return ASN1_TIME_set(X509_getm_notBefore(certificate), system_clock::to_time_t(validity.from)) != nullptr &&
         ASN1_TIME_set(X509_getm_notAfter(certificate), system_clock::to_time_t(validity.until)) != nullptr;
}

std::chrono::system_clock::time_point time_point(const ASN1_TIME* time) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return {};
  return std::chrono::system_clock::from_time_t(::timegm(&parts));
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
  const bool made = draft != nullptr && X509_set_version(draft, X509_VERSION_3) == 1 &&
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
  const int size = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, last)));
  if (size < 0) return {};
  std::string name(reinterpret_cast<char*>(text), size);
  OPENSSL_free(text);
  return name;
}

}  // namespace mitm::tls
