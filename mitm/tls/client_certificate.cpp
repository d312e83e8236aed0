// Read twice: by the process with the user's rights, so that what is wrong is said at the start,
// and by the worker. Root only passes the text on.
#include "mitm/tls/client_certificate.h"

#include <openssl/err.h>
#include <openssl/pem.h>

#include "base/host_pattern.h"

namespace mitm::tls {
namespace {

BioPtr reader_of(const std::string& pem) {
  return BioPtr{BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()))};
}

/// Called when the key is encrypted: there is no terminal to ask.
int no_passphrase(char*, int, int, void* asked) {
  *static_cast<bool*>(asked) = true;
  return -1;
}

base::Result<std::vector<X509Ptr>> certificates_in(const ClientCertificateText& text) {
  const BioPtr bio = reader_of(text.cert);
  std::vector<X509Ptr> found;
  while (X509* one = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr))
    found.emplace_back(one);
  const bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  ERR_clear_error();
  if (!at_end)
    return base::failure(".cert: certificate {} in {} is damaged", found.size() + 1,
                         text.cert_path);
  if (found.empty())
    return base::failure(".cert: there is no certificate in PEM form in {}", text.cert_path);
  return found;
}

base::Result<PkeyPtr> key_in(const ClientCertificateText& text) {
  const BioPtr bio = reader_of(text.key);
  bool encrypted = false;
  PkeyPtr key{PEM_read_bio_PrivateKey(bio.get(), nullptr, no_passphrase, &encrypted)};
  ERR_clear_error();
  if (key) return key;
  if (encrypted) {
    return base::failure(
        ".key: the key in {} is encrypted; take its passphrase off: openssl pkey -in {} -out NEW",
        text.key_path, text.key_path);
  }
  if (text.key.find("PRIVATE KEY-----") == text.key.npos)
    return base::failure(".key: there is no private key in PEM form in {}", text.key_path);
  return base::failure(".key: the private key in {} is damaged", text.key_path);
}

}  // namespace

base::Result<ClientCertificates::Entry> ClientCertificates::read(
    const ClientCertificateText& text) {
  auto certificates = certificates_in(text);
  if (!certificates) return certificates.error();
  auto key = key_in(text);
  if (!key) return key.error();
  const bool pair = X509_check_private_key(certificates->front().get(), key->get()) == 1;
  ERR_clear_error();
  if (!pair)
    return base::failure(".key: the key in {} is not that of the first certificate in {}",
                         text.key_path, text.cert_path);
  Entry entry{text.host, text.cert_path, std::move(certificates->front()), std::move(*key),
              X509StackPtr{sk_X509_new_null()}};
  for (std::size_t i = 1; i < certificates->size(); ++i)
    sk_X509_push(entry.chain.get(), (*certificates)[i].release());
  const SslCtxPtr context{SSL_CTX_new(TLS_client_method())};
  const bool usable =
      context && SSL_CTX_use_cert_and_key(context.get(), entry.certificate.get(), entry.key.get(),
                                          entry.chain.get(), 1) == 1;
  if (!usable)
    return openssl_error(fmt::format(".cert: what is in {} cannot be used", text.cert_path));
  return entry;
}

base::Result<std::shared_ptr<const ClientCertificates>> ClientCertificates::make(
    const std::vector<ClientCertificateText>& texts) {
  auto all = std::make_shared<ClientCertificates>();
  for (std::size_t i = 0; i < texts.size(); ++i) {
    auto entry = read(texts[i]);
    if (!entry) return base::failure("[{}]{}", i, entry.error().text);
    all->entries_.push_back(std::move(*entry));
  }
  return std::shared_ptr<const ClientCertificates>{std::move(all)};
}

std::string_view ClientCertificates::present(SSL* ssl, std::string_view host) const {
  for (const Entry& entry : entries_) {
    if (!entry.host.empty() && !base::host_matches(entry.host, host)) continue;
    const int given =
        SSL_use_cert_and_key(ssl, entry.certificate.get(), entry.key.get(), entry.chain.get(), 1);
    ERR_clear_error();
    return given == 1 ? entry.path : std::string_view{};
  }
  return {};
}

}  // namespace mitm::tls
