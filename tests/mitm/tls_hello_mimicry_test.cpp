// Hellos of one context that another imitates, compared as they go over the wire.
#include <algorithm>

#include "mitm/sniff/sniffer.h"
#include "mitm/tls/hello_mimicry.h"
#include "tests/test.h"

using namespace mitm::tls;
using mitm::sniff::ClientHello;

namespace {

SslCtxPtr fresh(int lowest = TLS1_2_VERSION) {
  SslCtxPtr context{SSL_CTX_new(TLS_client_method())};
  if (lowest < TLS1_2_VERSION) SSL_CTX_set_security_level(context.get(), 0);
  SSL_CTX_set_min_proto_version(context.get(), lowest);
  return context;
}

/// As a server sees it.
ClientHello hello_of(SSL_CTX* context) {
  const SslPtr ssl{SSL_new(context)};
  BIO* const out = BIO_new(BIO_s_mem());
  SSL_set_bio(ssl.get(), BIO_new(BIO_s_mem()), out);
  SSL_set_connect_state(ssl.get());
  SSL_do_handshake(ssl.get());
  char* bytes = nullptr;
  const auto size = static_cast<std::size_t>(BIO_get_mem_data(out, &bytes));
  const auto first = mitm::sniff::inspect({bytes, size});
  REQUIRE(first.protocol == mitm::sniff::Protocol::tls);
  REQUIRE(first.complete);
  return first.hello;
}

void check_same(const ClientHello& one, const ClientHello& other) {
  CHECK(one.ciphers == other.ciphers);
  CHECK(one.groups == other.groups);
  CHECK(one.signature_algorithms == other.signature_algorithms);
  CHECK(one.min_version == other.min_version);
  CHECK(one.max_version == other.max_version);
}

ClientHello mimicked(const ClientHello& hello, int lowest = TLS1_2_VERSION) {
  const auto context = fresh(lowest);
  mimic(profile_of(hello), context.get());
  return hello_of(context.get());
}

/// Chromium 126's lists, with its GREASE and its draft of a hybrid group.
ClientHello chromium() {
  ClientHello hello;
  hello.ciphers = {0x4a4a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030,
                   0xcca9, 0xcca8, 0xc013, 0xc014, 0x009c, 0x009d, 0x002f, 0x0035};
  hello.groups = {0x2a2a, 0x6399, 29, 23, 24};
  hello.signature_algorithms = {0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601};
  hello.min_version = TLS1_2_VERSION;
  hello.max_version = TLS1_3_VERSION;
  return hello;
}

std::string offering(const std::string& list) {
  const auto context = fresh();
  const auto offered = offer_ciphers(list, context.get());
  return offered ? "no error" : offered.error().text;
}

}  // namespace

TEST_CASE("likeness: hellos of OpenSSL with all kinds of settings are repeated to the letter") {
  struct Case {
    const char *suites, *ciphers, *groups, *signatures;
    int min, max;
  };
  const Case cases[] = {
      {nullptr, nullptr, nullptr, nullptr, TLS1_2_VERSION, TLS1_3_VERSION},
      {"TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256",
       "AES256-SHA:ECDHE-RSA-AES128-GCM-SHA256", "P-521:X25519:P-256",
       "RSA-PSS+SHA512:ECDSA+SHA256:RSA+SHA256", TLS1_2_VERSION, TLS1_3_VERSION},
      {nullptr, "ECDHE-ECDSA-CHACHA20-POLY1305:DHE-RSA-AES256-GCM-SHA384", "ffdhe2048:X448",
       "ed25519", TLS1_2_VERSION, TLS1_2_VERSION},
      {"TLS_AES_128_CCM_8_SHA256:TLS_AES_256_GCM_SHA384:TLS_AES_128_CCM_SHA256", nullptr, "P-256",
       "ECDSA+SHA256", TLS1_3_VERSION, TLS1_3_VERSION},
  };
  for (const auto& one : cases) {
    CAPTURE(one.groups);
    const auto context = fresh();
    SSL_CTX_set_min_proto_version(context.get(), one.min);
    SSL_CTX_set_max_proto_version(context.get(), one.max);
    if (one.suites) REQUIRE(SSL_CTX_set_ciphersuites(context.get(), one.suites) == 1);
    if (one.ciphers) REQUIRE(SSL_CTX_set_cipher_list(context.get(), one.ciphers) == 1);
    if (one.groups) REQUIRE(SSL_CTX_set1_groups_list(context.get(), one.groups) == 1);
    if (one.signatures) REQUIRE(SSL_CTX_set1_sigalgs_list(context.get(), one.signatures) == 1);
    const ClientHello hello = hello_of(context.get());
    check_same(mimicked(hello), hello);
  }
}

TEST_CASE("likeness: a browser's order is kept, and what OpenSSL does not have is left out") {
  const ClientHello hello = mimicked(chromium());
  auto expected = chromium().ciphers;
  std::erase(expected, 0x4a4a);
  expected.push_back(0x00ff);  // OpenSSL's renegotiation_info
  CHECK(hello.ciphers == expected);
  CHECK(hello.groups == std::vector<std::uint16_t>{29, 23, 24});
  CHECK(hello.signature_algorithms == chromium().signature_algorithms);
  CHECK(hello.min_version == TLS1_2_VERSION);
  CHECK(hello.max_version == TLS1_3_VERSION);
  CHECK(profile_of(chromium()).groups == "X25519:P-256:P-384");
}

TEST_CASE("likeness: GREASE and repetitions make no difference, order does") {
  ClientHello other = chromium();
  other.ciphers.front() = 0xdada;
  other.groups.front() = 0xfafa;
  other.ciphers.push_back(0xc02f);
  CHECK(profile_of(other) == profile_of(chromium()));
  std::swap(other.ciphers[4], other.ciphers[5]);
  CHECK_FALSE(profile_of(other) == profile_of(chromium()));
}

TEST_CASE("likeness: ciphers that give up verification or secrecy are never repeated") {
  ClientHello hello = chromium();
  // anonymous, NULL, PSK and SRP
  const std::vector<std::uint16_t> bad{0x0034, 0xc018, 0x0001, 0x003b, 0xc010,
                                       0x008c, 0xc01d, 0x00a8, 0xd001};
  hello.ciphers = bad;
  CHECK(profile_of(hello).ciphers == "");
  const auto offered = mimicked(hello).ciphers;
  CHECK(offered.size() > 10);  // OpenSSL's own
  for (const auto number : bad) CHECK(std::ranges::count(offered, number) == 0);
  hello.ciphers.push_back(0xc02f);
  CHECK(profile_of(hello).ciphers == "ECDHE-RSA-AES128-GCM-SHA256");
}

TEST_CASE("likeness: the lowest version of the context holds, and its security level") {
  ClientHello old;
  old.ciphers = {0x002f, 0x0035, 0xc013};
  old.groups = {23};
  old.signature_algorithms = {0x0201, 0x0203};
  old.max_version = TLS1_1_VERSION;
  CHECK(mimicked(old, TLS1_VERSION).max_version == TLS1_1_VERSION);
  check_same(mimicked(old), hello_of(fresh().get()));  // nothing is agreed on with it
  old.max_version = TLS1_2_VERSION;
  CHECK(mimicked(old, TLS1_VERSION).signature_algorithms == old.signature_algorithms);
  // At level 2 nothing could be verified with SHA-1: OpenSSL's own then.
  CHECK(mimicked(old).signature_algorithms == hello_of(fresh().get()).signature_algorithms);
  ClientHello newest = chromium();
  newest.min_version = TLS1_3_VERSION;
  CHECK(mimicked(newest).min_version == TLS1_3_VERSION);
  newest.min_version = TLS1_VERSION;
  CHECK(mimicked(newest).min_version == TLS1_2_VERSION);
}

TEST_CASE("likeness: an empty hello, and one of nothing known, leave OpenSSL's own lists") {
  ClientHello unknown;
  unknown.ciphers = unknown.groups = unknown.signature_algorithms = {0x0a0a, 0x7777};
  for (const auto& hello : {ClientHello{}, unknown}) {
    CHECK(profile_of(hello).groups == "");
    check_same(mimicked(hello), hello_of(fresh().get()));
  }
}

TEST_CASE("offer_ciphers: just these, in this order, in any of the usual spellings") {
  for (const char* list : {"TLS_AES_256_GCM_SHA384:ECDHE-RSA-AES256-GCM-SHA384:AES128-SHA",
                           "TLS_AES_256_GCM_SHA384,ECDHE-RSA-AES256-GCM-SHA384, AES128-SHA,"}) {
    const auto context = fresh();
    const auto offered = offer_ciphers(list, context.get());
    REQUIRE_MESSAGE(offered, offered);
    CHECK(hello_of(context.get()).ciphers ==
          std::vector<std::uint16_t>{0x1302, 0xc030, 0x002f, 0x00ff});
  }
  const auto context = fresh();
  REQUIRE(offer_ciphers("HIGH:!kRSA:!aDSS:-SHA1:aNULL:eNULL", context.get()));
  for (const auto number : {0x0034, 0xc018, 0x0001, 0x002f, 0xc013})
    CHECK(std::ranges::count(hello_of(context.get()).ciphers, number) == 0);
}

TEST_CASE("offer_ciphers: errors name the part that is wrong") {
  CHECK(offering("HIGH") == "no error");
  CHECK(offering("ECDHE-RSA-AES128-GCM-SHA256:NO-SUCH") ==
        "OpenSSL knows no cipher NO-SUCH; openssl ciphers -v ALL lists them");
  CHECK(offering("TLS_AES_1_GCM").starts_with("OpenSSL knows no cipher TLS_AES_1_GCM;"));
  CHECK(offering("HIGH:!NO-SUCH").find("NO-SUCH;") != std::string::npos);
  CHECK(offering("HIGH:@SECLEVEL=9").find("@SECLEVEL=9") != std::string::npos);
  for (const char* nothing : {" ", ":", ",,"})
    CHECK(offering(nothing) == "expected names of ciphers");
  for (const char* none : {"aNULL", "eNULL", "HIGH:!ALL"})
    CHECK_MESSAGE(offering(none).starts_with("no cipher is left of it"), offering(none));
}
