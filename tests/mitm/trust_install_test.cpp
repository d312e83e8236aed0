// Trust stores for real: the distribution's own tools, certutil and keytool, in a private copy of
// the machine.
#include <fcntl.h>
#include <unistd.h>

#include "mitm/trust/program.h"
#include "mitm/trust/stores.h"
#include "mitm/trust/trust.h"
#include "tests/mitm/private_root.h"
#include "tests/mitm/tls_fixture.h"
#include "tests/mitm/trust_fixture.h"

using namespace mitm::tls;
using namespace mitm::trust;
using namespace trust_test;
using tls_test::contents;
using tls_test::in_private_root;

namespace {

/// `text` with the first `part` taken out.
std::string without(std::string text, const std::string& part) {
  const std::size_t at = text.find(part);
  return at == text.npos ? "no such part" : text.erase(at, part.size());
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
