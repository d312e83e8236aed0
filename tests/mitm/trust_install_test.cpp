// Trust stores for real: the distribution's own tools, certutil and keytool, in a private copy of
// the machine.
#include <fcntl.h>
#include <unistd.h>

#include "mitm/trust/program.h"
#include "mitm/trust/stores.h"
#include "mitm/trust/trust.h"
#include "tests/mitm/private_root.h"
#include "tests/mitm/tls_fixture.h"

using namespace mitm::tls;
using namespace mitm::trust;
using tls_test::contents;
using tls_test::in_private_root;
using tls_test::Problems;
using tls_test::shell;
using tls_test::write;

namespace {

namespace fs = std::filesystem;

constexpr const char* kState = "/tmp/state";
constexpr const char* kPem = "/tmp/state/root-ca.pem";
constexpr const char* kBundle = "/etc/ssl/certs/ca-certificates.crt";
constexpr const char* kDebianFile = "/usr/local/share/ca-certificates/osproxy-ca.crt";
const base::User kRoot{0, 0, "root", "/nonexistent", ""};

/// "trusted", "absent: why", ...
std::string text(const StoreStatus& status) {
  using State = StoreStatus::State;
  const char* state = status.state == State::trusted  ? "trusted"
                      : status.state == State::absent ? "absent"
                                                      : "unavailable";
  return status.detail.empty() ? state : fmt::format("{}: {}", state, status.detail);
}

/// Of the first store whose name begins so.
std::string state_of(const base::Result<std::vector<StoreStatus>>& statuses,
                     const std::string& store) {
  if (!statuses) return statuses.error().text;
  for (const StoreStatus& status : *statuses) {
    if (status.store.rfind(store, 0) == 0) return text(status);
  }
  return "no such store";
}

/// `text` with the first `part` taken out.
std::string without(std::string text, const std::string& part) {
  const std::size_t at = text.find(part);
  return at == text.npos ? "no such part" : text.erase(at, part.size());
}

void new_root(Problems& problems) {
  fs::remove_all(kState);
  const auto root = create_root(kState);
  problems.expect(root.has_value(), "cannot make a root");
}

void script(const std::string& path, const std::string& body) {
  fs::remove(path);
  write(path, "#!/bin/sh\n" + body);
  ::chmod(path.c_str(), 0755);
}

/// Everything but Java and the system's store, which take seconds.
void without_java() {
  for (const char* path : {"/usr/lib/jvm", "/etc/ssl/certs/java", "/etc/ca-certificates/update.d"})
    fs::remove_all(path);
}

bool have(const char* program) {
  if (!find_program(program).empty()) return true;
  MESSAGE(program << " is not installed: nothing tested");
  return false;
}

/// A user with an NSS database, as a browser makes it.
base::User user_with_database(Problems& problems, const std::string& database) {
  const base::User user{4711, 4711, "ann", "/home/ann", ""};
  const std::string directory = user.home + "/" + database;
  fs::create_directories(directory);
  problems.equal(shell("certutil -N --empty-password -d sql:" + directory +
                       " && chown -R 4711:4711 /home/ann"),
                 "0 ", "certutil -N");
  return user;
}

}  // namespace

TEST_CASE(
    "trust: the system's store, for real: OpenSSL and curl trust us, and then nothing is left") {
  if (!have("update-ca-certificates")) return;
  const tls_test::Chain chain;
  const auto leaf = issue_leaf(*chain.signer, {"shop.example", nullptr, KeyType::p256});
  REQUIRE_MESSAGE(leaf.has_value(), leaf);
  const std::string leaf_pem =
      to_pem({share(leaf->get()), share(chain.signer->key(KeyType::p256))});
  const std::string intermediate_pem = to_pem(chain.intermediate());
  const std::string root_pem = to_pem(chain.root.certificate.get());
  CHECK(in_private_root([&](Problems& problems) {
          fs::create_directory(kState);
          write(kPem, root_pem);
          write("/tmp/leaf.pem", leaf_pem);
          write("/tmp/intermediate.pem", intermediate_pem);
          (void)shell("update-ca-certificates");  // settles what others have left undone here
          const std::string links =
              "ls -l --time-style=+ /etc/ssl/certs | grep -v "
              "-e ca-certificates.crt -e ' java$' -e total";
          const std::string bundle = contents(kBundle), listing = shell(links);
          const auto verify = [] {
            return shell(
                "env -i openssl verify -CApath /etc/ssl/certs -untrusted /tmp/intermediate.pem "
                "/tmp/leaf.pem");
          };
          problems.equal(state_of(trust_status(kPem, kRoot), "system"), "absent", "before");
          problems.expect(verify()[0] != '0', "trusted before");

          problems.equal(state_of(install_trust(kPem, kRoot), "system"), "trusted", "install");
          problems.equal(verify(), "0 /tmp/leaf.pem: OK", "openssl verify");
          problems.expect(without(contents(kBundle), root_pem) == bundle,
                          "the bundle is not the old one and ours");
          // In a network namespace of its own, so that nobody else has the port.
          write("/tmp/serve.sh",
                "ip link set lo up\n"
                "openssl s_server -quiet -www -accept 127.0.0.1:443 -cert /tmp/leaf.pem "
                "-cert_chain /tmp/intermediate.pem >/dev/null 2>&1 &\n"
                "for i in $(seq 200); do ss -Hltn | grep -q :443 && break; sleep 0.05; done\n"
                "env -i curl -sS -o /dev/null -w '%{http_code} %{ssl_verify_result}' --resolve "
                "shop.example:443:127.0.0.1 https://shop.example/\n"
                "code=$?; kill $!; exit $code\n");
          if (!find_program("curl").empty())
            problems.equal(shell("unshare --net sh /tmp/serve.sh"), "0 200 0", "curl");

          const auto written = fs::last_write_time(kBundle);
          problems.equal(state_of(install_trust(kPem, kRoot), "system"), "trusted",
                         "install again");
          problems.expect(fs::last_write_time(kBundle) == written,
                          "the second install rewrote the bundle");

          problems.equal(state_of(uninstall_trust(kPem, kRoot), "system"), "absent", "uninstall");
          problems.expect(contents(kBundle) == bundle, "the bundle differs after uninstall");
          problems.equal(shell(links), listing, "links after uninstall");
          problems.expect(verify()[0] != '0', "trusted after uninstall");
          const auto removed = fs::last_write_time(kBundle);
          problems.equal(state_of(uninstall_trust(kPem, kRoot), "system"), "absent",
                         "uninstall again");
          problems.expect(fs::last_write_time(kBundle) == removed,
                          "the second uninstall rewrote the bundle");
        }) == "");
}

TEST_CASE("trust: a new root takes an older one's place, and goes out although its file is gone") {
  if (!have("update-ca-certificates") || !have("certutil")) return;
  CHECK(in_private_root([](Problems& problems) {
          without_java();
          const base::User user = user_with_database(problems, ".pki/nssdb");
          (void)shell("update-ca-certificates");
          const std::string before = contents(kBundle);
          new_root(problems);
          (void)install_trust(kPem, user);
          new_root(problems);
          problems.equal(
              state_of(trust_status(kPem, user), "system"),
              std::string("absent: ") + kDebianFile +
                  " is another osproxy root; run: sudo osproxy ca install --ca-dir /tmp/state",
              "older");
          problems.equal(state_of(trust_status(kPem, user), "NSS"),
                         "absent: another osproxy root, or one that is not trusted, is there; "
                         "run: sudo osproxy ca install --ca-dir /tmp/state",
                         "older NSS");
          const auto installed = install_trust(kPem, user);
          problems.equal(state_of(installed, "system"), "trusted", "replaced");
          problems.equal(state_of(installed, "NSS"), "trusted", "replaced NSS");
          problems.equal(shell("env -i openssl verify -CApath /etc/ssl/certs " + std::string(kPem)),
                         "0 " + std::string(kPem) + ": OK", "by its hash");
          problems.expect(without(contents(kBundle), contents(kPem)) == before,
                          "not one root of ours");
          fs::remove_all(kState);
          const auto gone = uninstall_trust(kPem, user);
          problems.equal(state_of(gone, "system"), "absent", "gone");
          problems.equal(state_of(gone, "NSS"), "absent", "gone NSS");
          problems.expect(contents(kBundle) == before, "the bundle differs");
          problems.expect(
              shell("certutil -L -d sql:/home/ann/.pki/nssdb").find("osproxy") == std::string::npos,
              "still in NSS");
        }) == "");
}

TEST_CASE("trust: an update that fails leaves nothing of ours, and the other stores go on") {
  if (!have("update-ca-certificates") || !have("certutil")) return;
  CHECK(in_private_root([](Problems& problems) {
          without_java();
          new_root(problems);
          const base::User user = user_with_database(problems, ".pki/nssdb");
          script("/usr/sbin/update-ca-certificates", "echo some; echo disk on fire >&2; exit 3\n");
          const auto failed = install_trust(kPem, user);
          problems.equal(state_of(failed, "system"),
                         "absent: update-ca-certificates failed (exit 3): disk on fire", "failed");
          problems.equal(state_of(failed, "NSS"), "trusted", "NSS");
          problems.expect(!fs::exists(kDebianFile), "the file is still there");
          script("/usr/sbin/update-ca-certificates", "exit 0\n");
          problems.equal(state_of(install_trust(kPem, user), "system"),
                         std::string("absent: update-ca-certificates ran, but ") + kBundle +
                             " has no osproxy root",
                         "nothing done");
          problems.expect(!fs::exists(kDebianFile), "the file is still there");
          write(kDebianFile, contents(kPem));
          problems.equal(
              state_of(trust_status(kPem, user), "system"),
              fmt::format(
                  "absent: {} has not reached {}; run: sudo osproxy ca install --ca-dir /tmp/state",
                  kDebianFile, kBundle),
              "not reached");
        }) == "");
}

TEST_CASE("trust: what is missing is named with the command that installs it") {
  CHECK(in_private_root([](Problems& problems) {
          without_java();
          new_root(problems);
          script("/usr/bin/apt-get", "");
          for (const char* name : {"/usr/sbin/update-ca-certificates", "/usr/bin/certutil",
                                   "/sbin/update-ca-certificates", "/bin/certutil"})
            fs::remove(name);
          fs::create_directories("/usr/local/share/ca-certificates");
          const base::User user{4711, 4711, "ann", "/home/ann", ""};
          fs::create_directories("/home/ann/.mozilla/firefox/x.default");
          write("/home/ann/.mozilla/firefox/x.default/cert9.db", "");
          const auto statuses = install_trust(kPem, user);
          problems.equal(
              state_of(statuses, "system (/usr/local/share/ca-certificates)"),
              "unavailable: update-ca-certificates is missing: apt install ca-certificates",
              "system");
          problems.equal(state_of(statuses, "NSS (/home/ann/.mozilla/firefox/x.default)"),
                         "unavailable: certutil is missing: apt install libnss3-tools", "NSS");
          problems.expect(!fs::exists(kDebianFile), "a file was installed");
          fs::remove_all("/usr/local/share/ca-certificates");
          problems.equal(state_of(trust_status(kPem, user), "system"),
                         "unavailable: no directory for local roots: apt install ca-certificates",
                         "no directory");
          fs::remove("/usr/bin/apt-get");
          fs::remove("/bin/apt-get");
          script("/usr/bin/dnf", "");
          problems.equal(state_of(trust_status(kPem, user), "NSS"),
                         "unavailable: certutil is missing: dnf install nss-tools", "dnf");
        }) == "");
}

TEST_CASE("trust: each distribution's directory, file name and command") {
  const struct {
    const char *directory, *file, *program, *arguments;
  } cases[] = {
      {"/etc/pki/ca-trust/source/anchors", "osproxy-ca.pem", "update-ca-trust", "extract"},
      {"/usr/local/share/ca-certificates", "osproxy-ca.crt", "update-ca-certificates", ""},
      {"/etc/ca-certificates/trust-source/anchors", "osproxy-ca.pem", "trust", "extract-compat"},
      {"/usr/share/pki/trust/anchors", "osproxy-ca.pem", "update-ca-certificates", ""},
  };
  for (const auto& c : cases) {
    CAPTURE(c.directory);
    CHECK(in_private_root([&](Problems& problems) {
            without_java();
            new_root(problems);
            for (const auto& other : cases) fs::remove_all(other.directory);
            fs::create_directories(c.directory);
            write("/tmp/roots", contents(kBundle));
            script(std::string("/usr/bin/") + c.program,
                   fmt::format("echo \"$*\" > /tmp/arguments; cat /tmp/roots {}/* > {}; true\n",
                               c.directory, kBundle));
            fs::remove(std::string("/usr/sbin/") + c.program);
            const std::string before = contents(kBundle);
            problems.equal(
                state_of(install_trust(kPem, kRoot), fmt::format("system ({})", c.directory)),
                "trusted", "install");
            problems.equal(contents("/tmp/arguments"), std::string(c.arguments) + "\n",
                           "arguments");
            problems.equal(contents(fmt::format("{}/{}", c.directory, c.file)), contents(kPem),
                           "file");
            problems.equal(tls_test::mode_of(fmt::format("{}/{}", c.directory, c.file)), 0644U,
                           "mode");
            problems.equal(state_of(uninstall_trust(kPem, kRoot), "system"), "absent", "uninstall");
            problems.expect(fs::is_empty(c.directory), "a file is left");
            problems.expect(contents(kBundle) == before, "the bundle differs");
          }) == "");
  }
}

TEST_CASE("trust: NSS databases of every browser, with the user's ids") {
  if (!have("certutil")) return;
  CHECK(in_private_root([](Problems& problems) {
          without_java();
          fs::remove_all("/usr/local/share/ca-certificates");
          new_root(problems);
          const char* const places[] = {".pki/nssdb",
                                        "snap/chromium/current/.pki/nssdb",
                                        ".config/mozilla/firefox/z",
                                        ".mozilla/firefox/a.default",
                                        ".mozilla/firefox/with space",
                                        "snap/firefox/common/.mozilla/firefox/b"};
          base::User user;
          for (const char* place : places) {
            fs::create_directories(std::string("/home/ann/") + place);
            (void)shell(fmt::format("certutil -N --empty-password -d 'sql:/home/ann/{}'", place));
          }
          fs::create_directories("/home/ann/.mozilla/firefox/Crash Reports");
          user = user_with_database(problems, ".mozilla/firefox/other");
          const auto installed = install_trust(kPem, user);
          problems.equal(installed->size(), 8U, "system and seven databases");
          for (const char* place : places) {
            problems.equal(state_of(installed, fmt::format("NSS (/home/ann/{})", place)), "trusted",
                           place);
            problems.equal(shell(fmt::format("certutil -V -u V -n osproxy -d 'sql:/home/ann/{}'; "
                                             "certutil -L -d 'sql:/home/ann/{}' | grep -c "
                                             "'osproxy  *C,,'",
                                             place, place))
                               .back(),
                           '1', place);
          }
          problems.equal(shell("find /home/ann ! -user 4711 -o ! -group 4711"), "0 ",
                         "files of others");
          problems.equal(state_of(uninstall_trust(kPem, user), "NSS"), "absent", "uninstall");
          for (const char* place : places) {
            problems.equal(
                shell(fmt::format("certutil -L -d 'sql:/home/ann/{}' | grep osproxy", place)), "1 ",
                place);
          }
        }) == "");
}

TEST_CASE("trust: NSS: of more databases than anyone has only the first are visited") {
  const tls_test::Directory home;
  fs::permissions(home.path(), fs::perms{0755});
  const std::string name(240, 'd');
  for (int i = 0; i < 4100; ++i) {
    const auto directory = home / fmt::format(".mozilla/firefox/{}{}", i, name);
    fs::create_directories(directory);
    write(directory + "/cert9.db", "");
  }
  const auto stores = nss_stores({65534, 65534, "nobody", home.path(), ""}).size();
  CHECK(stores == 4000);
}

TEST_CASE("trust: NSS: distrusted, with a password, broken or not the user's own") {
  if (!have("certutil")) return;
  CHECK(
      in_private_root([](Problems& problems) {
        without_java();
        fs::remove_all("/usr/local/share/ca-certificates");
        new_root(problems);
        const base::User user = user_with_database(problems, ".pki/nssdb");
        const std::string database = "-d sql:/home/ann/.pki/nssdb";
        problems.equal(state_of(install_trust(kPem, user), "NSS"), "trusted", "install");
        problems.equal(shell("certutil -M -n osproxy -t ,, " + database), "0 ", "distrust");
        problems.expect(state_of(trust_status(kPem, user), "NSS").rfind("absent: another", 0) == 0,
                        "trusted without its flag");
        problems.equal(state_of(install_trust(kPem, user), "NSS"), "trusted", "trusted again");
        (void)uninstall_trust(kPem, user);

        // Another certificate is never touched.
        (void)shell(std::string(tls_test::kMakeCertificate) +
                    "-subj /CN=mine -out "
                    "/tmp/mine.pem");
        problems.equal(shell("certutil -A -n 'osproxy of mine' -t C,, -i /tmp/mine.pem " +
                             database + "; chown -R 4711:4711 /home/ann"),
                       "0 ", "mine");
        (void)install_trust(kPem, user);
        (void)uninstall_trust(kPem, user);
        problems.equal(shell("certutil -L " + database + " | grep -c 'osproxy of mine  *C,,'"),
                       "0 1", "mine is left");

        // A link to a database that only root may write.
        fs::create_directories("/root/nssdb");
        (void)shell(
            "certutil -N --empty-password -d sql:/root/nssdb; chmod 755 /root /root/nssdb; chmod "
            "644 /root/nssdb/*");
        fs::remove_all("/home/ann/.pki/nssdb");
        fs::create_symlink("/root/nssdb", "/home/ann/.pki/nssdb");
        const std::string bytes = contents("/root/nssdb/cert9.db");
        const std::string answer = state_of(install_trust(kPem, user), "NSS");
        problems.expect(answer.rfind("absent: certutil failed", 0) == 0,
                        "through a link: " + answer);
        problems.expect(contents("/root/nssdb/cert9.db") == bytes, "root's database was changed");

        fs::remove("/home/ann/.pki/nssdb");
        fs::create_directories("/home/ann/.pki/nssdb");
        write("/home/ann/.pki/nssdb/cert9.db", "this is no database");
        const std::string broken = state_of(install_trust(kPem, user), "NSS");
        problems.expect(broken.rfind("unavailable: certutil failed", 0) == 0, "broken: " + broken);

        // No question on the terminal, whatever the answer.
        fs::remove_all("/home/ann/.pki/nssdb");
        fs::create_directories("/home/ann/.pki/nssdb");
        write("/tmp/password", "secret\n");
        (void)shell("certutil -N -f /tmp/password " + database + "; chown -R 4711:4711 /home/ann");
        const auto begin = std::chrono::steady_clock::now();
        (void)install_trust(kPem, user);
        problems.expect(std::chrono::steady_clock::now() - begin < std::chrono::seconds{30},
                        "waited for a password");
      }) == "");
}

TEST_CASE("trust: Java, by Debian's hook and by keytool") {
  if (!have("keytool") || !have("update-ca-certificates") ||
      !fs::exists("/etc/ssl/certs/java/cacerts"))
    return;
  CHECK(in_private_root([](Problems& problems) {
          new_root(problems);
          (void)shell("update-ca-certificates");
          const std::string aliases =
              "keytool -list -keystore /etc/ssl/certs/java/cacerts "
              "-storepass changeit 2>/dev/null | sort";
          const std::string before = shell(aliases);
          problems.expect(before.size() > 1000, "no aliases to compare");
          // One Java with a file of its own, PKCS #12, and one that is a user's.
          fs::create_directories("/usr/lib/jvm/own/lib/security");
          const std::string own = "/usr/lib/jvm/own/lib/security/cacerts";
          (void)shell(
              std::string(tls_test::kMakeCertificate) +
              "-subj /CN=mine -out "
              "/tmp/mine.pem; keytool -importcert -noprompt -storetype PKCS12 -alias mine -file "
              "/tmp/mine.pem -keystore " +
              own + " -storepass changeit; chmod 640 " + own);
          fs::create_directories("/usr/lib/jvm/users/lib/security");
          const std::string users = "/usr/lib/jvm/users/lib/security/cacerts";
          fs::copy_file(own, users);
          problems.expect(::chown(users.c_str(), 4711, 4711) == 0, "chown");
          const std::string theirs = contents(users);

          const auto installed = install_trust(kPem, kRoot);
          problems.equal(state_of(installed, "Java (/etc/ssl/certs/java/cacerts)"), "trusted",
                         "shared");
          problems.equal(state_of(installed, "Java (" + own + ")"), "trusted", "own");
          problems.equal(state_of(installed, "Java (" + users + ")"),
                         "unavailable: it belongs to a user, who can import the root there: "
                         "keytool -importcert -alias osproxy -file /var/lib/osproxy/root-ca.pem "
                         "-keystore " +
                             users + " -storepass changeit",
                         "user's");
          problems.equal(tls_test::mode_of(own), 0640U, "mode");
          const auto listed = [&](const std::string& alias) {
            return shell("keytool -list -alias " + alias + " -keystore " + own +
                         " -storepass changeit")[0];
          };
          problems.equal(listed("osproxy"), '0', "alias");
          problems.equal(listed("mine"), '0', "mine");

          const auto gone = uninstall_trust(kPem, kRoot);
          problems.equal(state_of(gone, "Java (/etc/ssl/certs/java/cacerts)"), "absent",
                         "shared, gone");
          problems.equal(state_of(gone, "Java (" + own + ")"), "absent", "own, gone");
          problems.equal(shell(aliases), before, "aliases after uninstall");
          problems.equal(listed("osproxy"), '1', "alias is left");
          problems.equal(listed("mine"), '0', "mine");
          problems.expect(contents(users) == theirs, "a user's file was changed");
        }) == "");
}

TEST_CASE("trust: root never runs a keytool that a user could have written") {
  CHECK(in_private_root([](Problems& problems) {
          without_java();
          fs::remove_all("/usr/local/share/ca-certificates");
          new_root(problems);
          for (const char* home : {"/home/ann/jdk", "/usr/lib/jvm/link"}) {
            fs::create_directories(std::string(home) + "/lib/security");
            fs::create_directories(std::string(home) + "/bin");
          }
          problems.expect(::chown("/home/ann/jdk/bin", 4711, 4711) == 0, "chown");
          script("/home/ann/jdk/bin/keytool", "echo ran > /tmp/ran\n");
          fs::create_symlink("/home/ann/jdk/bin/keytool", "/usr/lib/jvm/link/bin/keytool");
          const auto root = read_root(kPem);
          for (const std::string& bytes : {std::string("\x30\x82 PKCS"), root->der}) {
            write("/home/ann/jdk/lib/security/cacerts", bytes);
            write("/usr/lib/jvm/link/lib/security/cacerts", bytes);
            ::setenv("JAVA_HOME", "/home/ann/jdk", 1);
            (void)trust_status(kPem, kRoot);
            (void)install_trust(kPem, kRoot);
            (void)uninstall_trust(kPem, kRoot);
            (void)trust_variables("/tmp/state/ca-bundle.pem", kPem);
            problems.expect(!fs::exists("/tmp/ran"), "a user's program ran as root");
            problems.equal(contents("/home/ann/jdk/lib/security/cacerts"), bytes, "cacerts");
          }
          // The same program in root's hands does run: the test would see it.
          problems.expect(::chown("/home/ann/jdk/bin", 0, 0) == 0, "chown");
          (void)uninstall_trust(kPem, kRoot);
          problems.expect(fs::exists("/tmp/ran"), "the program never runs");
        }) == "");
}

TEST_CASE("trust: Java with another password, or a broken file, stays as it is") {
  if (!have("keytool")) return;
  CHECK(in_private_root([](Problems& problems) {
          fs::remove_all("/usr/local/share/ca-certificates");
          new_root(problems);
          const std::string keytool = fs::canonical(find_program("keytool")).string();
          const std::string cacerts =
              fs::path(keytool).parent_path().parent_path().string() + "/lib/security/cacerts";
          fs::remove(cacerts);
          fs::remove_all("/etc/ssl/certs/java");
          (void)shell("keytool -importcert -noprompt -alias one -file " + std::string(kPem) +
                      " -keystore " + cacerts +
                      " -storepass topsecret && keytool -delete -alias one -keystore " + cacerts +
                      " -storepass topsecret");
          for (const std::string& bytes :
               {contents(cacerts), std::string("\xfe\xed\xfe\xed nonsense", 13)}) {
            write(cacerts, bytes);
            const std::string answer = state_of(install_trust(kPem, kRoot), "Java (" + cacerts);
            problems.expect(answer.find("keytool failed (exit 1): ") != std::string::npos,
                            "answer: " + answer);
            problems.expect(contents(cacerts) == bytes, "the file was changed");
          }
        }) == "");
}

TEST_CASE("trust: without root each store says what it needs") {
  CHECK(in_private_root([](Problems& problems) {
          new_root(problems);
          fs::create_directories("/usr/local/share/ca-certificates");
          script("/usr/sbin/update-ca-certificates", "");
          problems.expect(::setgid(65534) == 0 && ::setuid(65534) == 0, "setuid");
          const base::User user{65534, 65534, "nobody", "/nonexistent", ""};
          problems.equal(state_of(install_trust(kPem, user), "system"),
                         "absent: needs root; run: sudo osproxy ca install --ca-dir /tmp/state",
                         "install");
        }) == "");
}

TEST_CASE("trust: no root certificate, or garbage, is an error that names the file") {
  const tls_test::Directory directory;
  const auto missing = install_trust(directory / "root-ca.pem", kRoot);
  REQUIRE_FALSE(missing.has_value());
  CHECK(missing.error().text ==
        "cannot read " + directory.path() + "/root-ca.pem: No such file or directory");
  write(directory / "root-ca.pem", "garbage");
  const auto garbage = install_trust(directory / "root-ca.pem", kRoot);
  REQUIRE_FALSE(garbage.has_value());
  CHECK(garbage.error().text == directory.path() + "/root-ca.pem holds no certificate in PEM form");
}

TEST_CASE("trust: a certificate in PEM is found whole and nowhere in what is cut") {
  const tls_test::Chain chain;
  const auto root = read_root(chain.directory / "root-ca.pem");
  REQUIRE_MESSAGE(root.has_value(), root);
  const std::string other = to_pem(chain.intermediate());
  CHECK(root->is_in_pem(other + "# text\n" + root->pem + other));
  CHECK_FALSE(root->is_in_pem(other + other));
  for (std::size_t size = 0; size + 1 < root->pem.size(); ++size) {
    CHECK_FALSE(root->is_in_pem(root->pem.substr(0, size)));
  }
  CHECK_FALSE(Root{}.is_in_pem(root->pem));
  CHECK_FALSE(Root{}.is_in_bytes("x"));
}
