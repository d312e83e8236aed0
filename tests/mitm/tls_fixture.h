// What the tests of mitm/tls share: a directory of their own, a chain, and OpenSSL's own opinion of
// it.
#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include <openssl/x509v3.h>
#include <stdlib.h>

#include "mitm/tls/authority.h"
#include "mitm/tls/leaf.h"
#include "tests/mitm/file_mode.h"
#include "tests/mitm/temporary_directory.h"
#include "tests/test.h"

namespace tls_test {

using Directory = test::TemporaryDirectory;
using test::mode_of;

inline std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void write(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

/// A root in memory of its own directory, an intermediate and a signer.
struct Chain {
  Directory directory;
  mitm::tls::Identity root;
  std::shared_ptr<const mitm::tls::LeafSigner> signer;

  Chain() {
    auto made = mitm::tls::create_root(directory.path());
    REQUIRE_MESSAGE(made.has_value(), made);
    root = std::move(*made);
    signer = new_signer();
  }
  [[nodiscard]] std::shared_ptr<const mitm::tls::LeafSigner> new_signer() const {
    auto intermediate = mitm::tls::issue_intermediate(root);
    REQUIRE_MESSAGE(intermediate.has_value(), intermediate);
    auto made = mitm::tls::LeafSigner::make(std::move(*intermediate));
    REQUIRE_MESSAGE(made.has_value(), made);
    return *made;
  }
  [[nodiscard]] X509* intermediate() const { return signer->intermediate().certificate.get(); }
};

/// What a strict TLS client says of `leaf` under that name ("ok" when it is content).
inline std::string strict_verdict(const Chain& chain, X509* leaf, const std::string& host) {
  const mitm::tls::X509StorePtr store{X509_STORE_new()};
  X509_STORE_add_cert(store.get(), chain.root.certificate.get());
  const std::unique_ptr<STACK_OF(X509),
                        mitm::tls::Deleter<[](STACK_OF(X509) * stack) { sk_X509_free(stack); }>>
      untrusted{sk_X509_new_null()};
  sk_X509_push(untrusted.get(), chain.intermediate());
  const std::unique_ptr<X509_STORE_CTX, mitm::tls::Deleter<X509_STORE_CTX_free>> context{
      X509_STORE_CTX_new()};
  X509_STORE_CTX_init(context.get(), store.get(), leaf, untrusted.get());
  X509_VERIFY_PARAM* parameters = X509_STORE_CTX_get0_param(context.get());
  X509_VERIFY_PARAM_set_flags(parameters, X509_V_FLAG_X509_STRICT);
  X509_VERIFY_PARAM_set_auth_level(parameters, 2);
  X509_STORE_CTX_set_default(context.get(), "ssl_server");
  if (X509_VERIFY_PARAM_set1_ip_asc(parameters, host.c_str()) != 1) {
    X509_VERIFY_PARAM_set1_host(parameters, host.c_str(), host.size());
  }
  X509_verify_cert(context.get());
  return X509_verify_cert_error_string(X509_STORE_CTX_get_error(context.get()));
}

}  // namespace tls_test
