// NSS databases for real: certutil, in a private copy of the machine.
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
