// Leaves as a strict client sees them, and contexts as a real handshake sees them.
#include <set>
#include <thread>

#include "mitm/tls/certificate.h"
#include "mitm/tls/leaf.h"
#include "tests/mitm/tls_fixture.h"

using namespace mitm::tls;
using tls_test::Chain;
using tls_test::strict_verdict;

namespace {

/// A certificate as a server out there has it; `names` in openssl.cnf's syntax, empty for none.
X509Ptr upstream(std::string_view subject, const std::string& names) {
  const auto key = generate_p256();
  const auto now = std::chrono::system_clock::now();
  auto certificate =
      draft_certificate(subject, nullptr, key->get(), {now, now + std::chrono::hours{1}});
  REQUIRE_MESSAGE(certificate.has_value(), certificate);
  if (!names.empty())
    REQUIRE(add_extension(certificate->get(), nullptr, NID_subject_alt_name, names.c_str()));
  REQUIRE(sign(certificate->get(), key->get()));
  return std::move(*certificate);
}

/// "DNS:a DNS:b IP:7f000001"
std::string names_of(X509* leaf) {
  const std::unique_ptr<GENERAL_NAMES, Deleter<GENERAL_NAMES_free>> names{
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(leaf, NID_subject_alt_name, nullptr, nullptr))};
  std::string text;
  for (int at = 0; at < (names ? sk_GENERAL_NAME_num(names.get()) : 0); ++at) {
    int type = 0;
    const auto* value = static_cast<const ASN1_STRING*>(
        GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names.get(), at), &type));
    const unsigned char* bytes = ASN1_STRING_get0_data(value);
    if (!text.empty()) text += ' ';
    text += type == GEN_DNS ? "DNS:" : type == GEN_IPADD ? "IP:" : "?:";
    for (int i = 0; i < ASN1_STRING_length(value); ++i) {
      text += type == GEN_DNS ? std::string(1, static_cast<char>(bytes[i]))
                              : fmt::format("{:02x}", bytes[i]);
    }
  }
  return text;
}

struct Shaken {
  bool done = false;
  std::string version, cipher, subject, reason;
  bool resumed = false;
  std::size_t chain = 0;
  SslSessionPtr session;
};

/// A handshake in memory with a client that trusts the root only and insists on `host`.
Shaken shake(const Chain& chain, SSL_CTX* server_context, const std::string& host,
             const std::function<void(SSL_CTX*)>& prepare = {}, SSL_SESSION* session = nullptr) {
  const SslCtxPtr client_context{SSL_CTX_new(TLS_client_method())};
  X509_STORE_add_cert(SSL_CTX_get_cert_store(client_context.get()), chain.root.certificate.get());
  SSL_CTX_set_verify(client_context.get(), SSL_VERIFY_PEER, nullptr);
  if (prepare) prepare(client_context.get());
  const SslPtr client{SSL_new(client_context.get())};
  const SslPtr server{SSL_new(server_context)};
  BIO *left = nullptr, *right = nullptr;
  REQUIRE(BIO_new_bio_pair(&left, 0, &right, 0) == 1);
  SSL_set_bio(client.get(), left, left);
  SSL_set_bio(server.get(), right, right);
  SSL_set1_host(client.get(), host.c_str());
  SSL_set_connect_state(client.get());
  SSL_set_accept_state(server.get());
  if (session != nullptr) SSL_set_session(client.get(), session);
  char byte = 0;
  for (int i = 0; i < 10; ++i) {
    SSL_do_handshake(client.get());
    SSL_do_handshake(server.get());
  }
  Shaken result;
  result.done = SSL_is_init_finished(client.get()) && SSL_is_init_finished(server.get());
  result.reason = X509_verify_cert_error_string(SSL_get_verify_result(client.get()));
  if (!result.done) return result;
  SSL_write(server.get(), "x", 1);
  REQUIRE(SSL_read(client.get(), &byte, 1) == 1);  // takes the tickets in
  result.version = SSL_get_version(client.get());
  result.cipher = SSL_get_cipher_name(client.get());
  result.resumed = SSL_session_reused(client.get()) == 1;
  const X509Ptr leaf{SSL_get1_peer_certificate(client.get())};
  if (leaf) result.subject = common_name(leaf.get());
  if (STACK_OF(X509)* sent = SSL_get_peer_cert_chain(client.get()))
    result.chain = sk_X509_num(sent);
  result.session.reset(SSL_get1_session(client.get()));
  SSL_shutdown(client.get());
  return result;
}

}  // namespace

TEST_CASE("leaf: mirrors subject and names, adds the host, and verifies strictly") {
  const Chain chain;
  const X509Ptr original = upstream("www.example.com",
                                    "DNS:www.example.com,DNS:*.example.com,IP:192.0.2.7,"
                                    "IP:2001:db8::1,email:a@b.c,URI:https://x/");
  const struct {
    std::string host;
    X509* upstream;
    std::string subject, names, verified_as;
  } cases[] = {
      {"www.example.com", original.get(), "www.example.com",
       "DNS:www.example.com DNS:*.example.com IP:c0000207 IP:20010db8000000000000000000000001",
       "any.example.com"},
      {"api.example.org", original.get(), "www.example.com",
       "DNS:api.example.org DNS:www.example.com DNS:*.example.com IP:c0000207 "
       "IP:20010db8000000000000000000000001",
       "api.example.org"},
      {"192.0.2.7", original.get(), "www.example.com",
       "IP:c0000207 DNS:www.example.com DNS:*.example.com IP:20010db8000000000000000000000001",
       "192.0.2.7"},
      {"[2001:DB8::1]", nullptr, "2001:db8::1", "IP:20010db8000000000000000000000001",
       "2001:db8::1"},
      {"fe80::1%eth0", nullptr, "fe80::1", "IP:fe800000000000000000000000000001", "fe80::1"},
      {"10.0.0.1", nullptr, "10.0.0.1", "IP:0a000001", "10.0.0.1"},
      {"WWW.Example.COM.", nullptr, "www.example.com", "DNS:www.example.com", "www.example.com"},
      {"under_score.example", nullptr, "under_score.example", "DNS:under_score.example",
       "under_score.example"},
  };
  for (const auto& c : cases) {
    CAPTURE(c.host);
    const auto leaf = issue_leaf(*chain.signer, {c.host, c.upstream, KeyType::p256});
    REQUIRE_MESSAGE(leaf.has_value(), leaf);
    CHECK(common_name(leaf->get()) == c.subject);
    CHECK(names_of(leaf->get()) == c.names);
    CHECK(strict_verdict(chain, leaf->get(), c.verified_as) == "ok");
    CHECK(strict_verdict(chain, leaf->get(), "elsewhere.net") != "ok");
  }
}

TEST_CASE("leaf: extensions, serial and times are what browsers ask for") {
  const Chain chain;
  std::set<std::string> serials;
  for (int i = 0; i < 50; ++i) {
    const auto leaf = issue_leaf(*chain.signer, {"a.example", nullptr, KeyType::p256});
    REQUIRE_MESSAGE(leaf.has_value(), leaf);
    const ASN1_INTEGER* serial = X509_get0_serialNumber(leaf->get());
    CHECK(ASN1_STRING_length(serial) == 16);
    CHECK(ASN1_STRING_type(serial) == V_ASN1_INTEGER);  // not negative
    serials.insert({reinterpret_cast<const char*>(ASN1_STRING_get0_data(serial)), 16});
  }
  CHECK(serials.size() == 50);
  const auto leaf = issue_leaf(*chain.signer, {"a.example", nullptr, KeyType::p256});
  X509* const certificate = leaf->get();
  CHECK(X509_get_version(certificate) == X509_VERSION_3);
  CHECK(X509_get_key_usage(certificate) == KU_DIGITAL_SIGNATURE);
  CHECK(X509_get_extended_key_usage(certificate) == XKU_SSL_SERVER);
  CHECK(X509_check_ca(certificate) == 0);
  int days = 0, seconds = 0;
  REQUIRE(ASN1_TIME_diff(&days, &seconds, X509_get0_notBefore(certificate), nullptr) == 1);
  CHECK(days == 2);
  REQUIRE(ASN1_TIME_diff(&days, &seconds, X509_get0_notBefore(certificate),
                         X509_get0_notAfter(certificate)) == 1);
  CHECK(days <= 197);
  CHECK(ASN1_TIME_compare(X509_get0_notAfter(certificate),
                          X509_get0_notAfter(chain.intermediate())) == 0);
}

TEST_CASE("leaf: subjects that do not fit are left out, and then the names are critical") {
  const Chain chain;
  const std::string long_host = std::string(60, 'a') + ".example.com";
  const struct {
    std::string subject, host, expected;
  } cases[] = {
      {"", "short.example", "short.example"},
      {std::string(64, 'x'), "short.example", std::string(64, 'x')},
      {"Stadtwerke M\xc3\xbcnchen", "short.example", "Stadtwerke M\xc3\xbcnchen"},
      {"line\nbreak", "short.example", "short.example"},
      {"line\nbreak", long_host, ""},
      {"", long_host, ""},
  };
  for (const auto& c : cases) {
    CAPTURE(c.subject);
    const X509Ptr original = upstream(c.subject, "");
    const auto leaf = issue_leaf(*chain.signer, {c.host, original.get(), KeyType::p256});
    REQUIRE_MESSAGE(leaf.has_value(), leaf);
    CHECK(common_name(leaf->get()) == c.expected);
    CHECK(X509_NAME_entry_count(X509_get_subject_name(leaf->get())) ==
          (c.expected.empty() ? 0 : 1));
    CHECK(strict_verdict(chain, leaf->get(), c.host) == "ok");
    int critical = 0;
    std::unique_ptr<GENERAL_NAMES, Deleter<GENERAL_NAMES_free>> names{static_cast<GENERAL_NAMES*>(
        X509_get_ext_d2i(leaf->get(), NID_subject_alt_name, &critical, nullptr))};
    CHECK(critical == (c.expected.empty() ? 1 : 0));
  }
}

TEST_CASE("leaf: absurd upstream certificates stay within the limits") {
  const Chain chain;
  std::string many;
  for (int i = 0; i < 3000; ++i) many += fmt::format("{}DNS:h{}.example.com", i ? "," : "", i);
  const X509Ptr crowded = upstream("x", many);
  const auto leaf = issue_leaf(*chain.signer, {"h2999.example.com", crowded.get(), KeyType::p256});
  REQUIRE_MESSAGE(leaf.has_value(), leaf);
  const std::string names = names_of(leaf->get());
  CHECK(std::count(names.begin(), names.end(), ' ') == 499);
  CHECK(strict_verdict(chain, leaf->get(), "h2999.example.com") == "ok");
  CHECK(strict_verdict(chain, leaf->get(), "h0.example.com") == "ok");

  std::string wide;
  for (int i = 0; i < 400; ++i) {
    wide += fmt::format("{}DNS:{:03}{}.{}.{}", i ? "," : "", i, std::string(60, 'a'),
                        std::string(63, 'b'), std::string(63, 'c'));
  }
  const X509Ptr fat = upstream("x", wide);
  const auto slim = issue_leaf(*chain.signer, {"host.example", fat.get(), KeyType::p256});
  REQUIRE_MESSAGE(slim.has_value(), slim);
  CHECK(i2d_X509(slim->get(), nullptr) < 40 << 10);
  CHECK(i2d_X509(slim->get(), nullptr) > 30 << 10);
}

TEST_CASE("leaf: upstream names that are not names are dropped") {
  const Chain chain;
  const X509Ptr odd =
      upstream("x", "DNS:good.example,DNS:with space.example,DNS:" + std::string(300, 'a'));
  const auto leaf = issue_leaf(*chain.signer, {"host.example", odd.get(), KeyType::p256});
  REQUIRE_MESSAGE(leaf.has_value(), leaf);
  CHECK(names_of(leaf->get()) == "DNS:host.example DNS:good.example");
}

TEST_CASE("leaf: a host that fits no certificate is an error that shows it safely") {
  const Chain chain;
  for (const std::string& host : {std::string(), std::string("a b"), std::string("a\0b", 3),
                                  std::string("\xff"), std::string(254, 'a')}) {
    CHECK_FALSE(issue_leaf(*chain.signer, {host, nullptr, KeyType::p256}).has_value());
  }
  const auto leaf = issue_leaf(*chain.signer, {"a\x1b[2Jb", nullptr, KeyType::p256});
  REQUIRE_FALSE(leaf.has_value());
  CHECK(leaf.error().text.find('\x1b') == std::string::npos);
  CHECK(leaf.error().text.find("no certificate can be made for the name") == 0);
}

TEST_CASE("leaf: an RSA leaf may encrypt keys, and its key is made once by however many threads") {
  const Chain chain;
  std::vector<EVP_PKEY*> keys(4);
  std::vector<std::thread> threads;
  for (auto& key : keys)
    threads.emplace_back([&key, &chain] { key = chain.signer->key(KeyType::rsa2048); });
  for (auto& thread : threads) thread.join();
  CHECK(std::set<EVP_PKEY*>(keys.begin(), keys.end()).size() == 1);
  const auto leaf = issue_leaf(*chain.signer, {"a.example", nullptr, KeyType::rsa2048});
  REQUIRE_MESSAGE(leaf.has_value(), leaf);
  CHECK(EVP_PKEY_get_base_id(X509_get0_pubkey(leaf->get())) == EVP_PKEY_RSA);
  CHECK(EVP_PKEY_get_bits(X509_get0_pubkey(leaf->get())) == 2048);
  CHECK(X509_get_key_usage(leaf->get()) == (KU_DIGITAL_SIGNATURE | KU_KEY_ENCIPHERMENT));
  CHECK(strict_verdict(chain, leaf->get(), "a.example") == "ok");
}

TEST_CASE("leaf_cache: a client that trusts the root is content with every version and key") {
  const Chain chain;
  const struct {
    int floor, client;
    KeyType key;
    std::string ciphers, version;
  } cases[] = {
      {TLS1_2_VERSION, TLS1_3_VERSION, KeyType::p256, "", "TLSv1.3"},
      {TLS1_2_VERSION, TLS1_2_VERSION, KeyType::p256, "", "TLSv1.2"},
      {TLS1_2_VERSION, TLS1_2_VERSION, KeyType::rsa2048, "ECDHE-RSA-AES128-GCM-SHA256", "TLSv1.2"},
      {TLS1_2_VERSION, TLS1_2_VERSION, KeyType::rsa2048, "AES256-SHA", "TLSv1.2"},
      {TLS1_VERSION, TLS1_3_VERSION, KeyType::p256, "", "TLSv1.3"},
      {TLS1_VERSION, TLS1_1_VERSION, KeyType::p256, "DEFAULT:@SECLEVEL=0", "TLSv1.1"},
      {TLS1_VERSION, TLS1_VERSION, KeyType::p256, "DEFAULT:@SECLEVEL=0", "TLSv1"},
      {TLS1_VERSION, TLS1_VERSION, KeyType::rsa2048, "AES128-SHA:@SECLEVEL=0", "TLSv1"},
      {TLS1_2_VERSION, TLS1_1_VERSION, KeyType::p256, "DEFAULT:@SECLEVEL=0", ""},
  };
  for (const auto& c : cases) {
    CAPTURE(c.version);
    CAPTURE(c.ciphers);
    LeafCache cache{chain.signer, {c.floor, 10}};
    const auto context = cache.context_for({"shop.example", nullptr, c.key});
    REQUIRE_MESSAGE(context.has_value(), context);
    const Shaken shaken = shake(chain, context->get(), "shop.example", [&](SSL_CTX* client) {
      SSL_CTX_set_min_proto_version(client, TLS1_VERSION);
      SSL_CTX_set_max_proto_version(client, c.client);
      if (!c.ciphers.empty()) REQUIRE(SSL_CTX_set_cipher_list(client, c.ciphers.c_str()) == 1);
    });
    CHECK(shaken.done == !c.version.empty());
    CHECK(shaken.version == c.version);
    if (!c.version.empty()) CHECK(shaken.chain == 2);
  }
}

TEST_CASE("leaf_cache: the names in the handshake are the leaf's") {
  const Chain chain;
  LeafCache cache{chain.signer, {}};
  const auto context = cache.context_for({"a.example", nullptr, KeyType::p256});
  CHECK(shake(chain, context->get(), "a.example").subject == "a.example");
  const Shaken wrong = shake(chain, context->get(), "b.example");
  CHECK_FALSE(wrong.done);
  CHECK(wrong.reason == "hostname mismatch");
}

TEST_CASE(
    "leaf_cache: one context per host, upstream certificate and key; spelling does not matter") {
  const Chain chain;
  LeafCache cache{chain.signer, {}};
  const X509Ptr one = upstream("one", "");
  const X509Ptr two = upstream("two", "");
  const auto get = [&](const std::string& host, X509* original, KeyType key) {
    auto context = cache.context_for({host, original, key});
    REQUIRE_MESSAGE(context.has_value(), context);
    return context->get();
  };
  SSL_CTX* const first = get("a.example", one.get(), KeyType::p256);
  CHECK(get("a.example", one.get(), KeyType::p256) == first);
  CHECK(get("A.Example.", one.get(), KeyType::p256) == first);
  CHECK(get("a.example", two.get(), KeyType::p256) != first);
  CHECK(get("a.example", nullptr, KeyType::p256) != first);
  CHECK(get("b.example", one.get(), KeyType::p256) != first);
  CHECK(get("a.example", one.get(), KeyType::rsa2048) != first);
  CHECK(get("a.example", one.get(), KeyType::p256) == first);
}

TEST_CASE("leaf_cache: the least recently used is dropped at the limit, and lives while held") {
  const Chain chain;
  LeafCache cache{chain.signer, {TLS1_2_VERSION, 2}};
  const auto get = [&](const char* host) {
    return *cache.context_for({host, nullptr, KeyType::p256});
  };
  const auto a = get("a"), b = get("b");
  CHECK(get("a") == a);
  const auto c = get("c");  // drops b
  CHECK(get("a") == a);
  CHECK(get("c") == c);
  CHECK(get("b") != b);
  CHECK(b.use_count() == 1);
  CHECK(shake(chain, b.get(), "b").done);
}

TEST_CASE("leaf_cache: a program resumes on another io_context's cache, but not as another host") {
  const Chain chain;
  LeafCache here{chain.signer, {}}, there{chain.signer, {}};
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    CAPTURE(version);
    const auto limit = [&](SSL_CTX* client) { SSL_CTX_set_max_proto_version(client, version); };
    const auto context = *here.context_for({"a.example", nullptr, KeyType::p256});
    const Shaken first = shake(chain, context.get(), "a.example", limit);
    REQUIRE(first.done);
    CHECK_FALSE(first.resumed);
    const auto same = *there.context_for({"a.example", nullptr, KeyType::p256});
    CHECK(shake(chain, same.get(), "a.example", limit, first.session.get()).resumed);
    const auto other = *there.context_for({"b.example", nullptr, KeyType::p256});
    const Shaken elsewhere = shake(chain, other.get(), "b.example", limit, first.session.get());
    CHECK(elsewhere.done);
    CHECK_FALSE(elsewhere.resumed);
  }
}

TEST_CASE("leaf_cache: after renewal contexts carry the new intermediate") {
  Chain chain;
  LeafCache cache{chain.signer, {}};
  const auto before = *cache.context_for({"a.example", nullptr, KeyType::p256});
  chain.signer = chain.new_signer();
  cache.renew(chain.signer);
  const auto after = *cache.context_for({"a.example", nullptr, KeyType::p256});
  CHECK(before != after);
  CHECK(X509_check_issued(chain.intermediate(), SSL_CTX_get0_certificate(after.get())) ==
        X509_V_OK);
  CHECK(X509_check_issued(chain.intermediate(), SSL_CTX_get0_certificate(before.get())) !=
        X509_V_OK);
  CHECK(shake(chain, after.get(), "a.example").done);
}
