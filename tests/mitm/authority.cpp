#include "tests/mitm/authority.h"

#include <filesystem>

#include <fmt/format.h>
#include <openssl/pem.h>
#include <unistd.h>

#include "tests/test.h"

namespace rig {
namespace {

Authority make_authority(const std::string& name) {
  const auto directory =
      std::filesystem::temp_directory_path() / fmt::format("osproxy-rig-{}-{}", ::getpid(), name);
  std::filesystem::remove_all(directory);
  auto root = mitm::tls::create_root(directory.string());
  REQUIRE(root);
  std::filesystem::remove_all(directory);
  auto intermediate = mitm::tls::issue_intermediate(*root);
  REQUIRE(intermediate);
  auto signer = mitm::tls::LeafSigner::make(std::move(*intermediate));
  REQUIRE(signer);
  return {mitm::tls::to_pem(root->certificate.get()), *signer};
}

}  // namespace

std::string wire_names(const std::vector<std::string>& names) {
  std::string wire;
  for (const auto& name : names) wire += static_cast<char>(name.size()) + name;
  return wire;
}

divert::Policy policy_for(std::string host, divert::Action action) {
  divert::Policy policy;
  divert::Rule rule;
  rule.hosts = {std::move(host)};
  rule.action = action;
  policy.rules = {rule};
  return policy;
}

divert::Verdict by_host(divert::Action otherwise, divert::Action action) {
  return {otherwise, "test", {{0, action}}};
}

mitm::tls::SslCtxPtr Authority::server(const std::string& host) const {
  mitm::tls::SslCtxPtr context{SSL_CTX_new(TLS_server_method())};
  auto leaf = mitm::tls::issue_leaf(*signer, {host, nullptr, mitm::tls::KeyType::p256});
  REQUIRE(leaf);
  SSL_CTX_use_certificate(context.get(), leaf->get());
  SSL_CTX_use_PrivateKey(context.get(), signer->key(mitm::tls::KeyType::p256));
  SSL_CTX_add1_chain_cert(context.get(), signer->intermediate().certificate.get());
  SSL_CTX_set_alpn_select_cb(
      context.get(),
      [](SSL*, const unsigned char** out, unsigned char* size, const unsigned char* in, unsigned,
         void*) {
        *out = in + 1;  // the client's first
        *size = in[0];
        return SSL_TLSEXT_ERR_OK;
      },
      nullptr);
  return context;
}

mitm::tls::SslCtxPtr Authority::client() const {
  mitm::tls::SslCtxPtr context{SSL_CTX_new(TLS_client_method())};
  const mitm::tls::BioPtr bio{BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()))};
  const mitm::tls::X509Ptr root{PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)};
  X509_STORE_add_cert(SSL_CTX_get_cert_store(context.get()), root.get());
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  return context;
}

const Authority& ours() {
  static const Authority one = make_authority("ours");
  return one;
}

const Authority& theirs() {
  static const Authority one = make_authority("theirs");
  return one;
}

const Authority& strangers() {
  static const Authority one = make_authority("strangers");
  return one;
}

mitm::intercept::Settings trusting() {
  mitm::intercept::Settings settings;
  settings.upstream_ca = theirs().pem;
  settings.upstream_ca_only = true;
  settings.body_limit = 4096;
  settings.message_limit = 4096;
  return settings;
}

mitm::intercept::Settings with_pages() {
  auto settings = trusting();
  settings.error_page = mitm::intercept::ErrorPage::always;
  return settings;
}

}  // namespace rig
