// Goes through all trust stores of the machine; what fails in one is said of that one, and the
// others go on.
#include "mitm/trust/trust.h"

#include <openssl/err.h>
#include <openssl/pem.h>

#include "base/fd.h"
#include "mitm/tls/authority.h"
#include "mitm/tls/openssl.h"
#include "mitm/trust/stores.h"

namespace mitm::trust {
namespace {

using State = StoreStatus::State;

/// The next certificate's DER from PEM; false at the end. What is no certificate is skipped.
bool next_der(BIO* bio, std::string& der) {
  char* name = nullptr;
  char* header = nullptr;
  unsigned char* data = nullptr;
  long size = 0;
  const bool read = PEM_read_bio(bio, &name, &header, &data, &size) == 1;
  der.clear();
  if (read && std::string_view(name) == PEM_STRING_X509) {
    der.assign(reinterpret_cast<char*>(data), static_cast<std::size_t>(size));
  }
  OPENSSL_free(name);
  OPENSSL_free(header);
  OPENSSL_free(data);
  ERR_clear_error();
  return read;
}

/// Stores that copy from others come last, and are looked for when those are done.
template <class Visit>
std::vector<StoreStatus> visit_stores(const base::User& user, Visit visit) {
  std::vector<StoreStatus> all{visit(*system_store())};
  for (const auto& store : nss_stores(user)) all.push_back(visit(*store));
  for (const auto& store : java_stores()) all.push_back(visit(*store));
  return all;
}

std::string directory_of(const std::string& path) {
  return path.substr(0, path.rfind('/'));
}

/// Without the file, what bears our name can still be shown and taken out.
Root root_or_nothing(const std::string& root_pem_path) {
  auto root = read_root(root_pem_path);
  return root ? std::move(*root) : Root{{}, {}, directory_of(root_pem_path)};
}

StoreStatus after(const TrustStore& store, const Root& root, const base::Result<>& done) {
  StoreStatus status = store.status(root);
  if (!done) {
    status.detail = done.error().text;
    status.failed = true;
  }
  return status;
}

}  // namespace

std::vector<std::string> certificates_as_der(std::string_view pem) {
  const tls::BioPtr bio{BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()))};
  std::vector<std::string> all;
  std::string der;
  while (bio && next_der(bio.get(), der)) {
    if (!der.empty()) all.push_back(der);
  }
  return all;
}

std::string Root::advice(std::string_view verb) const {
  return fmt::format("run: sudo osproxy ca {}{}", verb, tls::ca_dir_option(ca_directory));
}

bool Root::is_in_pem(std::string_view bundle) const {
  const tls::BioPtr bio{BIO_new_mem_buf(bundle.data(), static_cast<int>(bundle.size()))};
  std::string other;
  while (!der.empty() && bio && next_der(bio.get(), other)) {
    if (other == der) return true;
  }
  return false;
}

bool Root::is_in_hashed(const std::string& directory) const {
  constexpr int kMostOfOneName = 64;
  const auto* at = reinterpret_cast<const unsigned char*>(der.data());
  const tls::X509Ptr certificate{d2i_X509(nullptr, &at, static_cast<long>(der.size()))};
  ERR_clear_error();
  if (!certificate) return false;
  const unsigned long hash = X509_subject_name_hash(certificate.get());
  for (int number = 0; number < kMostOfOneName; ++number) {
    const auto file = base::read_file(fmt::format("{}/{:08x}.{}", directory, hash, number));
    if (!file) return false;
    if (is_in_pem(*file)) return true;
  }
  return false;
}

bool Root::is_in_bytes(std::string_view bytes) const {
  return !der.empty() && bytes.find(der) != bytes.npos;
}

base::Result<Root> read_root(const std::string& root_pem_path) {
  auto pem = base::read_file(root_pem_path, 1 << 20);
  if (!pem) return pem.error();
  Root root{std::move(*pem), {}, directory_of(root_pem_path)};
  const tls::BioPtr bio{BIO_new_mem_buf(root.pem.data(), static_cast<int>(root.pem.size()))};
  while (root.der.empty() && bio && next_der(bio.get(), root.der)) {
  }
  if (root.der.empty()) return base::failure("{} holds no certificate in PEM form", root_pem_path);
  return root;
}

std::vector<StoreStatus> trust_status(const std::string& root_pem_path, const base::User& user) {
  const Root root = root_or_nothing(root_pem_path);
  return visit_stores(user, [&](const TrustStore& store) { return store.status(root); });
}

StoreStatus install_into(const TrustStore& store, const Root& root) {
  const StoreStatus before = store.status(root);
  if (before.state != State::absent) return before;
  return after(store, root, store.install(root));
}

StoreStatus uninstall_from(const TrustStore& store, const Root& root) {
  const StoreStatus before = store.status(root);
  if (before.state == State::unavailable) return before;
  return after(store, root, store.uninstall(root));
}

base::Result<std::vector<StoreStatus>> install_trust(const std::string& root_pem_path,
                                                     const base::User& user) {
  const auto root = read_root(root_pem_path);
  if (!root) return root.error();
  return visit_stores(user, [&](const TrustStore& store) { return install_into(store, *root); });
}

base::Result<std::vector<StoreStatus>> uninstall_trust(const std::string& root_pem_path,
                                                       const base::User& user) {
  const Root root = root_or_nothing(root_pem_path);
  return visit_stores(user, [&](const TrustStore& store) { return uninstall_from(store, root); });
}

}  // namespace mitm::trust
