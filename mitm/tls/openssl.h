// Owned OpenSSL objects.
#pragma once

#include <memory>
#include <string>

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "base/error.h"

namespace mitm::tls {

template <auto Free>
struct Deleter {
  template <class T>
  void operator()(T* object) const {
    Free(object);
  }
};

using SslPtr = std::unique_ptr<SSL, Deleter<SSL_free>>;
using SslCtxPtr = std::unique_ptr<SSL_CTX, Deleter<SSL_CTX_free>>;
using SslSessionPtr = std::unique_ptr<SSL_SESSION, Deleter<SSL_SESSION_free>>;
using X509Ptr = std::unique_ptr<X509, Deleter<X509_free>>;
using X509StorePtr = std::unique_ptr<X509_STORE, Deleter<X509_STORE_free>>;
using PkeyPtr = std::unique_ptr<EVP_PKEY, Deleter<EVP_PKEY_free>>;
using BioPtr = std::unique_ptr<BIO, Deleter<BIO_free_all>>;

/// With all that is in it.
void free_stack(STACK_OF(X509) * certificates);
using X509StackPtr = std::unique_ptr<STACK_OF(X509), Deleter<free_stack>>;

/// Another reference to the same object.
X509Ptr share(X509* certificate);
PkeyPtr share(EVP_PKEY* key);

/// The protocol that ALPN has agreed on; empty: none.
std::string selected_alpn(const SSL* ssl);

/// No configuration file is read, neither the system's nor one that the environment names
/// (OPENSSL_CONF): it could load libraries into root's process. To be called before anything else
/// of OpenSSL's.
void ignore_configuration();

/// "WHAT: reason", with the oldest reason of OpenSSL's error queue of this thread, which is
/// emptied.
base::Error openssl_error(std::string_view what);

}  // namespace mitm::tls
