// The root certificate on disk and the intermediates it signs. The root key is what a thief would
// want: it is never read from a file that anyone else could have read or written, and two programs
// that make it at the same time end with one pair.
#include "mitm/tls/authority.h"

#include <cerrno>
#include <filesystem>

#include <boost/asio/ip/host_name.hpp>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/ascii.h"
#include "base/fd.h"
#include "base/text.h"
#include "mitm/tls/certificate.h"

namespace mitm::tls {
namespace {

using std::chrono::hours;
using std::chrono::system_clock;

constexpr hours kDay{24};
constexpr hours kRootLife = 3650 * kDay;
constexpr hours kIntermediateLife = 7 * kDay;
constexpr std::size_t kFileLimit = 1 << 20;
constexpr std::size_t kHostLimit =
    32;  ///< of the host's name in ours, so that all of it fits a common name

struct Paths {
  explicit Paths(const std::string& directory)
      : key(directory + "/root-ca.key"),
        certificate(directory + "/root-ca.pem"),
        option(ca_dir_option(directory)) {}
  std::string key;
  std::string certificate;
  std::string option;  ///< for commands that are advised

  [[nodiscard]] std::string remedy() const {
    return fmt::format(
        "to have a new root made, remove {} and {}, then run: sudo osproxy ca create{}", key,
        certificate, option);
  }
};

bool exists(const std::string& path) {
  return ::access(path.c_str(), F_OK) == 0;
}

/// Held by the one process that may write the pair; the directory itself is the lock, so no file is
/// left.
base::Result<base::UniqueFd> lock(const std::string& directory) {
  base::UniqueFd fd{::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (!fd) return base::os_error(fmt::format("cannot open {}", directory), errno);
  while (::flock(fd.get(), LOCK_EX) != 0) {
    if (errno != EINTR) return base::os_error(fmt::format("cannot lock {}", directory), errno);
  }
  return fd;
}

base::Result<> make_directory(const std::string& directory) {
  std::error_code error;
  const bool made = std::filesystem::create_directories(directory, error);
  if (error) return base::os_error(fmt::format("cannot create {}", directory), error.value());
  // Whatever the umask was: all users may read the certificate.
  if (made && ::chmod(directory.c_str(), 0755) != 0) {
    return base::os_error(fmt::format("cannot open {} to its readers", directory), errno);
  }
  return {};
}

/// This machine and today, for a common name: "build7 2026-11-23".
std::string place_and_date() {
  boost::system::error_code error;
  std::string host;
  for (const char c : boost::asio::ip::host_name(error)) {
    const bool plain = base::is_letter(c) || base::is_digit(c) || c == '-' || c == '.' || c == '_';
    if (plain && host.size() < kHostLimit) host += c;
  }
  return fmt::format("{} {}", host.empty() ? "localhost" : host,
                     base::rfc3339(system_clock::now()).substr(0, 10));
}

base::Result<Identity> make_root() {
  auto key = generate_p256();
  if (!key) return key.error();
  const auto now = system_clock::now();
  auto certificate = draft_certificate("osproxy CA " + place_and_date(), nullptr, key->get(),
                                       {now - kBackdated, now - kBackdated + kRootLife});
  if (!certificate) return certificate.error();
  X509* const root = certificate->get();
  const bool made =
      add_extension(root, nullptr, NID_basic_constraints, "critical,CA:TRUE,pathlen:1") &&
      add_extension(root, nullptr, NID_key_usage, "critical,keyCertSign,cRLSign") &&
      add_extension(root, nullptr, NID_subject_key_identifier, "hash") && sign(root, key->get());
  if (!made) return openssl_error("cannot make the root certificate");
  return Identity{std::move(*certificate), std::move(*key)};
}

/// The caller holds the lock. The key is on disk before its certificate: a key alone is an
/// unfinished attempt and is written over; a certificate always has its key.
base::Result<Identity> create_locked(const Paths& paths, int directory) {
  auto root = make_root();
  if (!root) return root.error();
  const std::string pem = to_pem(*root);
  const std::string certificate = to_pem(root->certificate.get());
  const std::string_view key = std::string_view(pem).substr(0, pem.size() - certificate.size());
  if (auto written = base::replace_file(paths.key, key, 0600); !written) return written.error();
  int code = ::fsync(directory) == 0 ? 0 : errno;
  base::Result<> written;
  if (code == 0) written = base::replace_file(paths.certificate, certificate, 0644);
  if (code != 0) written = base::os_error(fmt::format("cannot write {}", paths.key), code);
  if (!written) {
    ::unlink(paths.key.c_str());
    return written.error();
  }
  return root;
}

base::Result<> check_private(const std::string& path) {
  struct stat facts {};
  if (::stat(path.c_str(), &facts) != 0)
    return base::os_error(fmt::format("cannot read {}", path), errno);
  if (facts.st_uid != 0 && facts.st_uid != ::geteuid()) {
    return base::failure(
        "{} belongs to user {}, who could use it to read all traffic; make it root's: "
        "chown root {}",
        path, facts.st_uid, path);
  }
  if ((facts.st_mode & 077) != 0) {
    return base::failure("{} is open to other users (mode {:04o}); close it: chmod 600 {}", path,
                         facts.st_mode & 07777, path);
  }
  return {};
}

/// Encrypted PEM must fail, not ask for a passphrase on the terminal.
int no_passphrase(char*, int, int, void*) {
  return -1;
}

BioPtr reader(std::string_view pem) {
  return BioPtr{BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()))};
}

PkeyPtr parse_key(std::string_view pem) {
  const BioPtr bio = reader(pem);
  return PkeyPtr{bio ? PEM_read_bio_PrivateKey(bio.get(), nullptr, no_passphrase, nullptr)
                     : nullptr};
}

X509Ptr parse_certificate(std::string_view pem) {
  const BioPtr bio = reader(pem);
  return X509Ptr{bio ? PEM_read_bio_X509(bio.get(), nullptr, no_passphrase, nullptr) : nullptr};
}

template <class Write>
std::string written_pem(Write write) {
  const BioPtr bio{BIO_new(BIO_s_mem())};
  char* text = nullptr;
  if (!bio || write(bio.get()) != 1) return {};
  const long size = BIO_get_mem_data(bio.get(), &text);
  return {text, static_cast<std::size_t>(size)};
}

bool begins_in_the_future(X509* certificate) {
  return X509_cmp_current_time(X509_get0_notBefore(certificate)) > 0;
}

/// What a root must be to sign anything that verifies.
base::Result<> check_root(const Paths& paths, const Identity& root) {
  X509* const certificate = root.certificate.get();
  if (X509_check_private_key(certificate, root.key.get()) != 1) {
    ERR_clear_error();
    return base::failure("{} does not belong to {}; {}", paths.key, paths.certificate,
                         paths.remedy());
  }
  if (X509_check_ca(certificate) != 1) {
    return base::failure("{} is not the certificate of an authority; {}", paths.certificate,
                         paths.remedy());
  }
  if (begins_in_the_future(certificate)) {
    return base::failure("{} is not valid yet: check this machine's clock", paths.certificate);
  }
  if (expires_within(certificate, hours{0})) {
    return base::failure("{} expired on {}; run: sudo osproxy ca uninstall; {}", paths.certificate,
                         base::rfc3339(not_after(certificate)).substr(0, 10), paths.remedy());
  }
  return {};
}

}  // namespace

base::Result<Identity> create_root(const std::string& directory) {
  if (auto made = make_directory(directory); !made) return made.error();
  auto held = lock(directory);
  if (!held) return held.error();
  const Paths paths{directory};
  if (exists(paths.certificate)) {
    return base::Error{
        fmt::format("there is a root already: {}; {}", paths.certificate, paths.remedy()), EEXIST};
  }
  return create_locked(paths, held->get());
}

base::Result<Identity> load_root(const std::string& directory) {
  const Paths paths{directory};
  auto certificate = load_root_certificate(directory);
  if (!certificate) return certificate.error();
  if (auto closed = check_private(paths.key); !closed) {
    if (closed.error().os_code != ENOENT) return closed.error();
    return base::failure("{} has lost its key {}; {}", paths.certificate, paths.key,
                         paths.remedy());
  }
  auto pem = base::read_file(paths.key, kFileLimit);
  if (!pem) return pem.error();
  Identity root{std::move(*certificate), parse_key(*pem)};
  if (!root.key) {
    ERR_clear_error();
    return base::failure("{} holds no usable private key in PEM form; {}", paths.key,
                         paths.remedy());
  }
  if (auto good = check_root(paths, root); !good) return good.error();
  return root;
}

std::string ca_dir_option(std::string_view directory) {
  if (directory.empty() || directory == kStateDirectory) return {};
  return fmt::format(" --ca-dir {}", directory);
}

base::Result<Identity> load_or_create_root(const std::string& directory) {
  const Paths paths{directory};
  if (exists(paths.certificate)) return load_root(directory);
  if (auto made = make_directory(directory); !made) return made.error();
  auto held = lock(directory);
  if (!held) return held.error();
  if (exists(paths.certificate)) return load_root(directory);
  return create_locked(paths, held->get());
}

base::Result<X509Ptr> load_root_certificate(const std::string& directory) {
  const Paths paths{directory};
  auto pem = base::read_file(paths.certificate, kFileLimit);
  if (!pem && pem.error().os_code == ENOENT) {
    return base::Error{
        fmt::format("there is no root certificate in {}; make one: sudo osproxy ca create{}",
                    directory, paths.option),
        ENOENT};
  }
  if (!pem) return pem.error();
  X509Ptr certificate = parse_certificate(*pem);
  if (!certificate) {
    ERR_clear_error();
    return base::failure("{} holds no certificate in PEM form; {}", paths.certificate,
                         paths.remedy());
  }
  return certificate;
}

base::Result<Identity> issue_intermediate(const Identity& root) {
  auto key = generate_p256();
  if (!key) return key.error();
  X509* const issuer = root.certificate.get();
  const auto now = system_clock::now();
  const Validity validity{now - kBackdated, std::min(now + kIntermediateLife, not_after(issuer))};
  auto certificate =
      draft_certificate("osproxy intermediate " + place_and_date(), issuer, key->get(), validity);
  if (!certificate) return certificate.error();
  X509* const draft = certificate->get();
  const bool made =
      add_extension(draft, issuer, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
      add_extension(draft, issuer, NID_key_usage, "critical,keyCertSign") &&
      add_extension(draft, issuer, NID_ext_key_usage, "serverAuth") &&
      add_extension(draft, issuer, NID_subject_key_identifier, "hash") &&
      add_extension(draft, issuer, NID_authority_key_identifier, "keyid:always") &&
      sign(draft, root.key.get());
  if (!made) return openssl_error("cannot make the intermediate certificate");
  return Identity{std::move(*certificate), std::move(*key)};
}

std::string to_pem(const Identity& identity) {
  return written_pem([&](BIO* bio) {
           return PEM_write_bio_PrivateKey(bio, identity.key.get(), nullptr, nullptr, 0, nullptr,
                                           nullptr);
         }) +
         to_pem(identity.certificate.get());
}

std::string to_pem(X509* certificate) {
  return written_pem([&](BIO* bio) { return PEM_write_bio_X509(bio, certificate); });
}

base::Result<X509Ptr> certificate_from_pem(std::string_view pem) {
  X509Ptr certificate = parse_certificate(pem);
  if (!certificate) return openssl_error("cannot read a certificate from PEM");
  return certificate;
}

base::Result<Identity> identity_from_pem(std::string_view pem) {
  Identity identity{parse_certificate(pem), parse_key(pem)};
  if (!identity.certificate) return openssl_error("cannot read a certificate from PEM");
  if (!identity.key) return openssl_error("cannot read a private key from PEM");
  if (X509_check_private_key(identity.certificate.get(), identity.key.get()) != 1) {
    return openssl_error("a private key does not belong to its certificate");
  }
  return identity;
}

std::string der_of(X509* certificate) {
  unsigned char* bytes = nullptr;
  const int size = i2d_X509(certificate, &bytes);
  if (size < 0) return {};
  std::string der(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size));
  OPENSSL_free(bytes);
  return der;
}

std::string sha256_fingerprint(X509* certificate) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  if (X509_digest(certificate, EVP_sha256(), digest, &size) != 1) return {};
  std::string text;
  for (unsigned at = 0; at < size; ++at) text += fmt::format("{}{:02X}", at ? ":" : "", digest[at]);
  return text;
}

bool expires_within(X509* certificate, hours span) {
  return not_after(certificate) <= system_clock::now() + span;
}

}  // namespace mitm::tls
