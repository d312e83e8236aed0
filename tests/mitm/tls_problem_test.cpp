// What a verification of real chains finds, and how that is reported.
#include <openssl/x509_vfy.h>

#include "mitm/tls/certificate.h"
#include "mitm/tls/problem.h"
#include "tests/test.h"

using namespace mitm::tls;

namespace {

using std::chrono::hours;
using Time = std::chrono::system_clock::time_point;

struct Signed {
  X509Ptr certificate;
  PkeyPtr key;
};

Time at(std::time_t seconds) {
  return std::chrono::system_clock::from_time_t(seconds);
}
const Time kNow = at(1'790'000'000);  // 2026-09-21 14:13:20 UTC
const Validity kGood{kNow - hours{24}, kNow + hours{24}};

/// `issuer` null: self-signed.
Signed make(const std::string& name, const Signed* issuer, bool ca,
            const Validity& validity = kGood, const std::string& names = {}) {
  Signed made{nullptr, std::move(*generate_p256())};
  X509* const above = issuer != nullptr ? issuer->certificate.get() : nullptr;
  made.certificate = std::move(*draft_certificate(name, above, made.key.get(), validity));
  X509* const draft = made.certificate.get();
  REQUIRE(add_extension(draft, above, NID_basic_constraints,
                        ca ? "critical,CA:TRUE" : "critical,CA:FALSE"));
  if (!names.empty()) REQUIRE(add_extension(draft, above, NID_subject_alt_name, names.c_str()));
  REQUIRE(sign(draft, issuer != nullptr ? issuer->key.get() : made.key.get()));
  return made;
}

/// What is said of `leaf` when `root` is trusted (null: nothing is) and the server sends `sent`.
struct Told {
  std::string text;
  bool about_trust = false;
};
Told told_of(const Signed& leaf, const Signed* root, std::vector<const Signed*> sent = {},
             const char* host = "h.test") {
  const X509StorePtr store{X509_STORE_new()};
  if (root != nullptr) X509_STORE_add_cert(store.get(), root->certificate.get());
  STACK_OF(X509)* const others = sk_X509_new_null();
  for (const auto* one : sent) sk_X509_push(others, one->certificate.get());
  const std::unique_ptr<X509_STORE_CTX, Deleter<X509_STORE_CTX_free>> context{X509_STORE_CTX_new()};
  X509_STORE_CTX_init(context.get(), store.get(), leaf.certificate.get(), others);
  X509_VERIFY_PARAM* const param = X509_STORE_CTX_get0_param(context.get());
  X509_VERIFY_PARAM_set_time(param, std::chrono::system_clock::to_time_t(kNow));
  if (X509_VERIFY_PARAM_set1_ip_asc(param, host) != 1) X509_VERIFY_PARAM_set1_host(param, host, 0);
  X509_verify_cert(context.get());
  const int code = X509_STORE_CTX_get_error(context.get());
  const Told told{explain({code, X509_STORE_CTX_get_error_depth(context.get()),
                           X509_STORE_CTX_get_current_cert(context.get())},
                          kNow),
                  is_about_trust(code)};
  sk_X509_free(others);
  return told;
}

const std::string kClock = "; this machine's clock says 2026-09-21 14:13 UTC)";

}  // namespace

TEST_CASE("problem: time, of the certificate itself and of a CA above it") {
  const Validity past{at(1'700'000'000), at(1'789'999'000)},
      future{at(1'790'003'600), at(1'800'000'000)};
  const auto root = make("Root", nullptr, true);
  const auto expired = told_of(make("h.test", &root, false, past, "DNS:h.test"), &root);
  CHECK(expired.text == "certificate has expired (on 2026-09-21 13:56 UTC" + kClock);
  CHECK_FALSE(expired.about_trust);
  CHECK(told_of(make("h.test", &root, false, future, "DNS:h.test"), &root).text ==
        "certificate is not yet valid (only from 2026-09-21 15:13 UTC" + kClock);
  const auto old_ca = make("Old CA", &root, true, past);
  CHECK(told_of(make("h.test", &old_ca, false, kGood, "DNS:h.test"), &root, {&old_ca}).text ==
        "certificate has expired (that of CN = Old CA on 2026-09-21 13:56 UTC" + kClock);
}

TEST_CASE("problem: another name is reported with the names that it has") {
  const auto root = make("Root", nullptr, true);
  const auto names = [&](const std::string& text) {
    return told_of(make("common.test", &root, false, kGood, text), &root).text;
  };
  CHECK(names("DNS:a.test,DNS:*.b.test,IP:192.0.2.1,IP:2001:db8::1,email:x@a.test") ==
        "hostname mismatch (it is for a.test, *.b.test, 192.0.2.1, 2001:db8::1)");
  CHECK(names("") ==
        "hostname mismatch (it has only a common name, common.test, which does not count: it "
        "needs a subjectAltName)");
  std::string many;
  for (int i = 0; i < 9; ++i) many += fmt::format("{}DNS:{}.test", i > 0 ? "," : "", i);
  CHECK(names(many) ==
        "hostname mismatch (it is for 0.test, 1.test, 2.test, 3.test, 4.test and 4 more)");
  const auto by_address =
      told_of(make("", &root, false, kGood, "DNS:a.test"), &root, {}, "192.0.2.7");
  CHECK(by_address.text == "IP address mismatch (it is for a.test)");
  // As a DNS name, an address is not looked at.
  for (const char* address : {"192.0.2.7", "2001:db8::7"}) {
    const std::string dns = std::string("DNS:") + address;
    const auto misplaced =
        told_of(make("", &root, false, kGood, "DNS:a.test," + dns), &root, {}, address);
    CHECK(misplaced.text ==
          fmt::format("IP address mismatch (it is for a.test, {} (an address as a DNS name, which "
                      "does not count: it needs IP:{}))",
                      address, address));
  }
  CHECK_FALSE(by_address.about_trust);
  CHECK(told_of(make("", &root, false), &root).text == "hostname mismatch (it has no names)");
}

TEST_CASE("problem: a CA that is not trusted is named, and would help") {
  const auto root = make("Root", nullptr, true), other = make("Other", nullptr, true);
  const auto between = make("Between", &root, true);
  const auto leaf = make("h.test", &between, false, kGood, "DNS:h.test");
  const auto self = make("h.test", nullptr, false, kGood, "DNS:h.test");
  const std::string advice =
      ", which is not trusted here, or whose own certificate the server should send)";
  const std::pair<Told, std::string> cases[] = {
      {told_of(self, &other), "self-signed certificate (CN = h.test has signed it itself)"},
      {told_of(leaf, &other, {&between, &root}),
       "self-signed certificate in certificate chain (its root, CN = Root, is not trusted here)"},
      {told_of(leaf, &root),
       "unable to get local issuer certificate (it is signed by CN = Between" + advice},
      {told_of(leaf, &other, {&between}),
       "unable to get local issuer certificate (it is signed by CN = Root" + advice},
  };
  for (const auto& [told, text] : cases) {
    CHECK(told.text == text);
    CHECK(told.about_trust);
  }
}

TEST_CASE("problem: what foreign certificates say is made safe and short") {
  const auto root = make("Root", nullptr, true);
  const auto leaf = make("\x1b[31m red\nline", &root, false);
  CHECK(told_of(leaf, &root).text ==
        "hostname mismatch (it has only a common name, \\x1b[31m red\\x0aline, which does not "
        "count: it needs a subjectAltName)");
  const auto longest = make("h.test", &root, false, kGood, "DNS:" + std::string(200, 'a'));
  CHECK(told_of(longest, &root).text ==
        "hostname mismatch (it is for " + std::string(120, 'a') + "...)");
}

TEST_CASE("problem: without a certificate there are OpenSSL's words") {
  CHECK(explain({X509_V_ERR_CERT_HAS_EXPIRED, 0, nullptr}, kNow) == "certificate has expired");
  const auto root = make("Root", nullptr, true);
  CHECK(explain({X509_V_ERR_EE_KEY_TOO_SMALL, 0, root.certificate.get()}, kNow) ==
        "EE certificate key too weak (it has a key of 256 bits (EC))");
  CHECK(explain({X509_V_ERR_CA_KEY_TOO_SMALL, 1, root.certificate.get()}, kNow) ==
        "CA certificate key too weak (that of CN = Root has a key of 256 bits (EC))");
  CHECK(explain({X509_V_ERR_CA_MD_TOO_WEAK, 0, root.certificate.get()}, kNow) ==
        "CA signature digest algorithm too weak (it is signed with ecdsa-with-SHA256)");
}

TEST_CASE("problem: each kind has its alert; dates are told beside the clock") {
  CHECK(alert_for(X509_V_ERR_CERT_HAS_EXPIRED) == SSL_AD_CERTIFICATE_EXPIRED);
  CHECK(alert_for(X509_V_ERR_CERT_NOT_YET_VALID) == SSL_AD_BAD_CERTIFICATE);
  CHECK(alert_for(X509_V_ERR_HOSTNAME_MISMATCH) == SSL_AD_BAD_CERTIFICATE);
  CHECK(alert_for(X509_V_ERR_CERT_REVOKED) == SSL_AD_CERTIFICATE_REVOKED);
  CHECK(alert_for(X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY) == SSL_AD_UNKNOWN_CA);
  CHECK(dates_and_clock(make("h.test", nullptr, false).certificate.get(), kNow) ==
        "valid from 2026-09-20 14:13 UTC to 2026-09-22 14:13 UTC, while this machine's clock "
        "says 2026-09-21 14:13 UTC");
}

TEST_CASE("certificate: one that never ends ends when time points do") {
  const auto leaf = make("h.test", nullptr, false);
  ASN1_TIME_set_string_X509(X509_getm_notAfter(leaf.certificate.get()), "99991231235959Z");
  CHECK(not_after(leaf.certificate.get()) > at(9'000'000'000));
  CHECK(not_before(leaf.certificate.get()) == kGood.from);
}
