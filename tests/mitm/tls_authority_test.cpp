// The root on disk: who may read it, what is wrong with it, and two programs that make it at once.
#include <fcntl.h>
#include <openssl/pem.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mitm/tls/authority.h"
#include "mitm/tls/certificate.h"
#include "tests/mitm/tls_fixture.h"

using namespace mitm::tls;
using tls_test::contents;
using tls_test::Directory;

namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != text.npos;
}

/// Runs `body` in a child; true when it returned true.
template <class Body>
bool in_child(Body body) {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(body() ? 0 : 1);
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

void store_root(const std::string& directory, const Identity& root) {
  const std::string certificate = to_pem(root.certificate.get());
  const std::string pem = to_pem(root);
  tls_test::write(directory + "/root-ca.pem", certificate);
  tls_test::write(directory + "/root-ca.key", pem.substr(0, pem.size() - certificate.size()));
  ::chmod((directory + "/root-ca.key").c_str(), 0600);
}

}  // namespace

TEST_CASE("authority: a new root is private, valid for ten years and loads again") {
  const Directory directory;
  const std::string home = directory / "made/too";
  const mode_t mask = ::umask(077);
  const auto root = create_root(home);
  ::umask(mask);
  REQUIRE_MESSAGE(root.has_value(), root);
  CHECK(tls_test::mode_of(home) == 0755);
  CHECK(tls_test::mode_of(home + "/root-ca.key") == 0600);
  CHECK(tls_test::mode_of(home + "/root-ca.pem") == 0644);
  CHECK(std::distance(std::filesystem::directory_iterator(home), {}) == 2);

  X509* const certificate = root->certificate.get();
  char host[256] = {};
  ::gethostname(host, sizeof host - 1);
  CHECK(contains(common_name(certificate), "osproxy CA " + std::string(host).substr(0, 32)));
  CHECK(X509_check_ca(certificate) == 1);
  CHECK(X509_get_pathlen(certificate) == 1);
  CHECK(X509_get_key_usage(certificate) == (KU_KEY_CERT_SIGN | KU_CRL_SIGN));
  CHECK(X509_get0_subject_key_id(certificate) != nullptr);
  CHECK(EVP_PKEY_get_bits(root->key.get()) == 256);
  CHECK_FALSE(expires_within(certificate, std::chrono::hours{24 * 3600}));
  CHECK(expires_within(certificate, std::chrono::hours{24 * 3651}));

  const auto again = load_or_create_root(home);
  REQUIRE_MESSAGE(again.has_value(), again);
  CHECK(X509_cmp(again->certificate.get(), certificate) == 0);
  CHECK(X509_check_private_key(again->certificate.get(), again->key.get()) == 1);
  const auto second = create_root(home);
  REQUIRE_FALSE(second.has_value());
  CHECK(contains(second.error().text, "there is a root already: " + home + "/root-ca.pem"));
}

TEST_CASE("authority: the fingerprint is what openssl x509 prints") {
  const Directory directory;
  const auto root = create_root(directory.path());
  REQUIRE_MESSAGE(root.has_value(), root);
  const std::string command =
      "openssl x509 -noout -fingerprint -sha256 -in " + directory.path() + "/root-ca.pem";
  FILE* pipe = ::popen(command.c_str(), "r");
  REQUIRE(pipe != nullptr);
  char line[256] = {};
  CHECK(std::fgets(line, sizeof line, pipe) != nullptr);
  ::pclose(pipe);
  CHECK(std::string(line) ==
        "sha256 Fingerprint=" + sha256_fingerprint(root->certificate.get()) + "\n");
}

TEST_CASE("authority: a hundred processes that create it at once all get one pair") {
  const Directory directory;
  const std::string home = directory / "state";
  std::vector<pid_t> children;
  for (int i = 0; i < 100; ++i) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      const auto root = load_or_create_root(home);
      if (root)
        tls_test::write(directory / std::to_string(i), sha256_fingerprint(root->certificate.get()));
      ::_exit(root ? 0 : 1);
    }
    children.push_back(pid);
  }
  for (const pid_t pid : children) {
    int status = 1;
    ::waitpid(pid, &status, 0);
    CHECK(status == 0);
  }
  const auto root = load_root(home);
  REQUIRE_MESSAGE(root.has_value(), root);
  for (int i = 0; i < 100; ++i) {
    CHECK(contents(directory / std::to_string(i)) == sha256_fingerprint(root->certificate.get()));
  }
}

TEST_CASE("authority: a key without certificate is an attempt that was cut off, and is finished") {
  const Directory directory;
  tls_test::write(directory / "root-ca.key", "half a k");
  ::chmod((directory / "root-ca.key").c_str(), 0644);
  const auto root = load_or_create_root(directory.path());
  REQUIRE_MESSAGE(root.has_value(), root);
  CHECK(load_root(directory.path()).has_value());
  CHECK(tls_test::mode_of(directory / "root-ca.key") == 0600);
}

TEST_CASE("authority: commands are advised with the directory, where it is not the usual one") {
  CHECK(ca_dir_option("") == "");
  CHECK(ca_dir_option(kStateDirectory) == "");
  CHECK(ca_dir_option("/x/ca") == " --ca-dir /x/ca");
}

TEST_CASE("authority: what is wrong with the files is said with the file and the way out") {
  const Directory directory;
  const std::string key = directory / "root-ca.key";
  const std::string certificate = directory / "root-ca.pem";
  const std::string remedy = "to have a new root made, remove " + key + " and " + certificate +
                             ", then run: sudo osproxy ca create --ca-dir " + directory.path();
  CHECK(load_root(directory.path()).error().text ==
        "there is no root certificate in " + directory.path() +
            "; make one: sudo osproxy ca create --ca-dir " + directory.path());
  REQUIRE(create_root(directory.path()).has_value());
  const std::string good_key = contents(key);
  const std::string good_certificate = contents(certificate);
  const auto error = [&] {
    const auto root = load_or_create_root(directory.path());
    REQUIRE_FALSE(root.has_value());
    return root.error().text;
  };

  SUBCASE("readable by others") {
    ::chmod(key.c_str(), 0640);
    CHECK(error() == key + " is open to other users (mode 0640); close it: chmod 600 " + key);
  }
  SUBCASE("owned by a user") {
    REQUIRE(::chown(key.c_str(), 65534, 65534) == 0);
    CHECK(error() == key +
                         " belongs to user 65534, who could use it to read all traffic; make it "
                         "root's: chown root " +
                         key);
  }
  SUBCASE("key missing") {
    ::unlink(key.c_str());
    CHECK(error() == certificate + " has lost its key " + key + "; " + remedy);
  }
  SUBCASE("garbage key") {
    tls_test::write(key, "garbage");
    CHECK(error() == key + " holds no usable private key in PEM form; " + remedy);
  }
  SUBCASE("garbage certificate") {
    tls_test::write(certificate, std::string("\0\xff garbage", 10));
    CHECK(error() == certificate + " holds no certificate in PEM form; " + remedy);
  }
  SUBCASE("empty certificate") {
    tls_test::write(certificate, "");
    CHECK(error() == certificate + " holds no certificate in PEM form; " + remedy);
  }
  SUBCASE("someone else's key") {
    const Directory other;
    REQUIRE(create_root(other.path()).has_value());
    tls_test::write(key, contents(other / "root-ca.key"));
    CHECK(error() == key + " does not belong to " + certificate + "; " + remedy);
  }
  SUBCASE("no authority") {
    auto leaf_key = generate_p256();
    const auto now = std::chrono::system_clock::now();
    auto leaf =
        draft_certificate("x", nullptr, leaf_key->get(), {now, now + std::chrono::hours{1}});
    REQUIRE(sign(leaf->get(), leaf_key->get()));
    store_root(directory.path(), {std::move(*leaf), std::move(*leaf_key)});
    CHECK(error() == certificate + " is not the certificate of an authority; " + remedy);
  }
  SUBCASE("expired, or not valid yet") {
    using std::chrono::hours;
    const auto now = std::chrono::system_clock::now();
    for (const bool past : {true, false}) {
      auto own = generate_p256();
      const Validity validity = past ? Validity{now - hours{48}, now - hours{1}}
                                     : Validity{now + hours{1}, now + hours{9}};
      auto root = draft_certificate("x", nullptr, own->get(), validity);
      REQUIRE(add_extension(root->get(), nullptr, NID_basic_constraints, "critical,CA:TRUE"));
      REQUIRE(sign(root->get(), own->get()));
      store_root(directory.path(), {std::move(*root), std::move(*own)});
      const std::string text = error();
      if (past) {
        CHECK(contains(text, certificate + " expired on "));
        CHECK(contains(text, "; run: sudo osproxy ca uninstall; " + remedy));
      } else {
        CHECK(text == certificate + " is not valid yet: check this machine's clock");
      }
    }
  }
}

TEST_CASE("authority: a passphrase is never asked for") {
  const Directory directory;
  auto root = create_root(directory.path());
  REQUIRE_MESSAGE(root.has_value(), root);
  FILE* file = std::fopen((directory / "root-ca.key").c_str(), "w");
  REQUIRE(file != nullptr);
  const unsigned char word[] = "secret";
  CHECK(PEM_write_PrivateKey(file, root->key.get(), EVP_aes_128_cbc(), word, 6, nullptr, nullptr) ==
        1);
  std::fclose(file);
  const auto loaded = load_root(directory.path());
  REQUIRE_FALSE(loaded.has_value());
  CHECK(contains(loaded.error().text, "root-ca.key holds no usable private key"));
}

TEST_CASE("authority: a directory that cannot be made or written is named") {
  CHECK(create_root("/proc/osproxy").error().text ==
        "cannot create /proc/osproxy: No such file or directory");
  const Directory directory;
  tls_test::write(directory / "file", "");
  CHECK(create_root(directory / "file/x").error().text ==
        "cannot create " + directory.path() + "/file/x: Not a directory");
  const bool denied = in_child([&] {
    if (::setuid(65534) != 0) return false;
    const auto root = create_root(directory / "x");
    return !root &&
           root.error().text == "cannot create " + directory.path() + "/x: Permission denied";
  });
  CHECK(denied);
}

TEST_CASE("authority: a full or read-only file system leaves no half of a pair") {
  const Directory directory;
  // A mount namespace of the child's own: nothing to undo.
  const bool full = in_child([&] {
    if (::unshare(CLONE_NEWNS) != 0 ||
        ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
      return false;
    // Room for the key and no more.
    if (::mount("tmpfs", directory.path().c_str(), "tmpfs", 0, "size=8k,nr_inodes=3,mode=755") != 0)
      return false;
    tls_test::write(directory / "filler", std::string(4096, 'x'));
    const auto root = create_root(directory.path());
    return !root && contains(root.error().text, "root-ca.pem") &&
           contains(root.error().text, "No space left on device") &&
           std::distance(std::filesystem::directory_iterator(directory.path()), {}) == 1;
  });
  CHECK(full);
  const bool read_only = in_child([&] {
    if (::unshare(CLONE_NEWNS) != 0 ||
        ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
      return false;
    if (::mount("tmpfs", directory.path().c_str(), "tmpfs", MS_RDONLY, "mode=755") != 0)
      return false;
    const auto root = create_root(directory.path());
    return !root && contains(root.error().text, "root-ca.key") && root.error().os_code == EROFS;
  });
  CHECK(read_only);
}

TEST_CASE("authority: an intermediate lasts seven days and never longer than the root") {
  const Directory directory;
  auto root = create_root(directory.path());
  REQUIRE_MESSAGE(root.has_value(), root);
  using std::chrono::hours;
  const auto one = issue_intermediate(*root);
  REQUIRE_MESSAGE(one.has_value(), one);
  X509* const certificate = one->certificate.get();
  CHECK(X509_get_pathlen(certificate) == 0);
  CHECK(X509_get_key_usage(certificate) == KU_KEY_CERT_SIGN);
  CHECK(X509_get_extended_key_usage(certificate) == XKU_SSL_SERVER);
  CHECK(X509_get0_authority_key_id(certificate) != nullptr);
  CHECK(contains(common_name(certificate), "osproxy intermediate "));
  CHECK_FALSE(expires_within(certificate, hours{7 * 24 - 1}));
  CHECK(expires_within(certificate, hours{7 * 24 + 1}));
  CHECK(X509_verify(certificate, root->key.get()) == 1);
  for (const X509* made : {certificate, root->certificate.get()})
    CHECK(not_before(made) <= std::chrono::system_clock::now() - hours{47});
  const auto two = issue_intermediate(*root);
  CHECK(ASN1_INTEGER_cmp(X509_get0_serialNumber(certificate),
                         X509_get0_serialNumber(two->certificate.get())) != 0);

  X509_time_adj_ex(X509_getm_notAfter(root->certificate.get()), 0, 3600, nullptr);
  REQUIRE(sign(root->certificate.get(), root->key.get()));
  const auto last = issue_intermediate(*root);
  REQUIRE_MESSAGE(last.has_value(), last);
  CHECK(not_after(last->certificate.get()) <= not_after(root->certificate.get()));
}

TEST_CASE("authority: an identity survives the socketpair, and a cut one is refused") {
  const tls_test::Chain chain;
  const std::string pem = to_pem(chain.signer->intermediate());
  const auto whole = identity_from_pem(pem);
  REQUIRE_MESSAGE(whole.has_value(), whole);
  CHECK(X509_cmp(whole->certificate.get(), chain.intermediate()) == 0);
  CHECK(EVP_PKEY_eq(whole->key.get(), chain.signer->intermediate().key.get()) == 1);
  for (std::size_t size = 0; size + 1 < pem.size(); ++size) {
    CHECK_FALSE(identity_from_pem(std::string_view(pem).substr(0, size)).has_value());
  }
  const std::string other = to_pem(chain.root);
  const std::size_t split = other.find("-----BEGIN CERTIFICATE");
  const auto mixed = identity_from_pem(other.substr(0, split) + to_pem(chain.intermediate()));
  REQUIRE_FALSE(mixed.has_value());
  CHECK(mixed.error().text ==
        "a private key does not belong to its certificate: key values mismatch");
}
