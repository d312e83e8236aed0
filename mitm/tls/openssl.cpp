// OpenSSL's reference counts and its error queue, in our terms.
#include "mitm/tls/openssl.h"

#include <openssl/err.h>

namespace mitm::tls {

void free_stack(STACK_OF(X509) * certificates) {
  sk_X509_pop_free(certificates, X509_free);
}

X509Ptr share(X509* certificate) {
  if (certificate != nullptr) X509_up_ref(certificate);
  return X509Ptr{certificate};
}

PkeyPtr share(EVP_PKEY* key) {
  if (key != nullptr) EVP_PKEY_up_ref(key);
  return PkeyPtr{key};
}

std::string selected_alpn(const SSL* ssl) {
  const unsigned char* alpn = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(ssl, &alpn, &size);
  return {reinterpret_cast<const char*>(alpn), size};
}

void ignore_configuration() {
  OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, nullptr);
}

base::Error openssl_error(std::string_view what) {
  const unsigned long oldest = ERR_get_error();
  const char* reason = oldest == 0 ? nullptr : ERR_reason_error_string(oldest);
  ERR_clear_error();
  if (reason != nullptr) return base::failure("{}: {}", what, reason);
  if (oldest != 0) return base::failure("{}: OpenSSL error {:#x}", what, oldest);
  return base::failure("{}: OpenSSL gives no reason", what);
}

}  // namespace mitm::tls
