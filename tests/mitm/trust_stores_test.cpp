// The stores of macOS, FreeBSD and OpenBSD, with programs in place of theirs that keep to the
// arguments, the answers and the exit statuses of the real ones, in a private copy of this machine.
#include <openssl/err.h>
#include <unistd.h>

#include "mitm/trust/program.h"
#include "mitm/trust/stores.h"
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
constexpr const char* kKeychain = "/Library/Keychains/System.keychain";
constexpr const char* kSettings = "/tmp/settings";

std::string text(const StoreStatus& status) {
  using State = StoreStatus::State;
  const char* state = status.state == State::trusted  ? "trusted"
                      : status.state == State::absent ? "absent"
                                                      : "unavailable";
  return status.detail.empty() ? state : fmt::format("{}: {}", state, status.detail);
}

Root new_root(Problems& problems) {
  fs::remove_all(kState);
  problems.expect(create_root(kState).has_value(), "cannot make a root");
  auto root = read_root(kPem);
  problems.expect(root.has_value(), "cannot read the root");
  return root ? *root : Root{};
}

void program(const std::string& path, const std::string& text) {
  fs::remove(path);
  write(path, text);
  ::chmod(path.c_str(), 0755);
}

/// A certificate of somebody else's.
std::string other_root(const char* name) {
  (void)shell(
      fmt::format("{} -subj '/CN={}' -out /tmp/other.pem", tls_test::kMakeCertificate, name));
  return contents("/tmp/other.pem");
}

/// security(1): certificates in the keychain's file, trust settings as SHA-1 beside it, and
/// /tmp/answer for what a person does at the window: "no window", "cancel", or nothing: gives the
/// password.
constexpr const char* kSecurity = R"(#!/usr/bin/python3 -IS
import base64, hashlib, os, re, sys
keychain, settings = '/Library/Keychains/System.keychain', '/tmp/settings'
open('/tmp/log', 'a').write(' '.join(sys.argv[1:]) + '\n')
read = lambda path: open(path).read() if os.path.exists(path) else ''
PEM = '-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n'
pems = lambda text: re.findall(PEM, text, re.S)
der = lambda pem: base64.b64decode(''.join(pem.split('\n')[1:-2]))
sha1 = lambda pem: hashlib.sha1(der(pem)).hexdigest().upper()
def fail(text, status=1):
    print(text, file=sys.stderr)
    sys.exit(status)
def window(call):
    answer = read('/tmp/answer').strip()
    if answer == 'no window':
        fail(call + ': The authorization was denied since no user interaction was possible.')
    if answer == 'cancel':
        fail(call + ': The authorization was canceled by the user.')
verb, args = sys.argv[1], sys.argv[2:]
if verb == 'find-certificate':
    assert args == ['-a', '-p', keychain], args
    sys.stdout.write(read(keychain))
elif verb == 'verify-cert':
    assert args[0] == '-c' and args[2:] == ['-p', 'basic', '-l', '-L', '-q'], args
    sys.exit(0 if sha1(read(args[1])) in read(settings) else 1)
elif verb == 'add-trusted-cert':
    assert args[:-1] == ['-d', '-r', 'trustRoot', '-p', 'ssl', '-p', 'basic', '-k', keychain], args
    pem = read(args[-1])
    if pem not in read(keychain):
        open(keychain, 'a').write(pem)
    window('SecTrustSettingsSetTrustSettings')
    if read('/tmp/answer') != 'ignored':
        open(settings, 'a').write(sha1(pem) + '\n')
elif verb == 'remove-trusted-cert':
    assert args[0] == '-d' and len(args) == 2, args
    present, mine = read(settings), sha1(read(args[1]))
    if not present:
        fail('SecTrustSettingsRemoveTrustSettings: No Trust Settings were found.')
    if mine not in present:
        fail('SecTrustSettingsRemoveTrustSettings: '
             'The specified item could not be found in the keychain.')
    window('SecTrustSettingsRemoveTrustSettings')
    open(settings, 'w').write(present.replace(mine + '\n', ''))
elif verb == 'delete-certificate':
    assert args[0] == '-Z' and args[2:] == [keychain], args
    all = pems(read(keychain))
    left = [pem for pem in all if sha1(pem) != args[1]]
    if len(left) != len(all) - 1:
        fail('Unable to delete certificate matching "%s"' % args[1])
    open(keychain, 'w').write(''.join(left))
else:
    fail('unknown command', 2)
)";

void macos(Problems& problems, const std::string& others) {
  fs::create_directories("/Library/Keychains");
  write(kKeychain, others);
  program("/usr/bin/security", kSecurity);
  problems.expect(!find_program("security").empty(), "no security");
}

/// certctl(8) up to FreeBSD 14: links by hash to the files of three directories.
constexpr const char* kCertctl = R"(#!/bin/sh
[ "$*" = rehash ] || exit 64
echo rehash >> /tmp/log
find /etc/ssl/certs -type l -delete
for directory in /usr/share/certs/trusted /usr/local/share/certs /usr/local/etc/ssl/certs; do
  [ -d "$directory" ] || continue
  echo "Scanning $directory for certificates..."
  for file in "$directory"/*.pem; do
    [ -e "$file" ] || continue
    hash=$(openssl x509 -noout -subject_hash -in "$file") n=0
    while [ -e "/etc/ssl/certs/$hash.$n" ]; do n=$((n + 1)); done
    ln -s "$file" "/etc/ssl/certs/$hash.$n"
  done
done
)";

void freebsd() {
  for (const char* path : {"/usr/local/etc/ssl", "/etc/ssl/certs", "/etc/ssl/cert.pem", "/etc/pki",
                           "/etc/ssl/ca-bundle.pem"})
    fs::remove_all(path);
  fs::create_directories("/etc/ssl/certs");
  fs::create_directories("/usr/share/certs/trusted");
  write("/usr/share/certs/trusted/some.pem", other_root("some root"));
  program("/usr/sbin/certctl", kCertctl);
  (void)shell("/usr/sbin/certctl rehash");
}

std::string hashed() {
  return shell("cd /etc/ssl/certs && ls -l --time-style=+ | sed 's/.*root root//'");
}

}  // namespace

TEST_CASE("stores: macOS: the keychain and the trust settings, and nothing is left") {
  CHECK(in_private_root([](Problems& problems) {
          const std::string others = other_root("not osproxy CA x") + other_root("company");
          macos(problems, others);
          const Root root = new_root(problems);
          const auto store = keychain_store();
          problems.equal(text(store->status(root)), "absent", "before");
          const StoreStatus installed = install_into(*store, root);
          problems.equal(text(installed), "trusted", "install");
          problems.equal(installed.store, std::string("system (") + kKeychain + ")", "its name");
          problems.equal(contents(kKeychain), others + root.pem, "the keychain");
          fs::remove("/tmp/log");
          problems.equal(text(install_into(*store, root)), "trusted", "again");
          problems.expect(contents("/tmp/log").find("add-") == std::string::npos, "added twice");

          problems.equal(text(uninstall_from(*store, root)), "absent", "uninstall");
          problems.equal(contents(kKeychain), others, "others' certificates");
          problems.equal(contents(kSettings), "", "settings");
          fs::remove("/tmp/log");
          problems.equal(text(uninstall_from(*store, root)), "absent", "uninstall again");
          problems.expect(contents("/tmp/log").find("delete") == std::string::npos,
                          "deleted twice");
          problems.equal(shell("ls /tmp | grep osproxy-tls"), "1 ", "files left");
        }) == "");
}

TEST_CASE("stores: macOS: an older root goes out for a new one, also when its file is gone") {
  CHECK(in_private_root([](Problems& problems) {
          macos(problems, "");
          const auto store = keychain_store();
          const Root old = new_root(problems);
          (void)install_into(*store, old);
          const Root root = new_root(problems);
          problems.equal(text(store->status(root)),
                         "absent: another osproxy root is there; "
                         "run: sudo osproxy ca install --ca-dir /tmp/state",
                         "older");
          problems.equal(text(install_into(*store, root)), "trusted", "replaced");
          problems.equal(contents(kKeychain), root.pem, "only the new one");
          problems.equal(shell(std::string("wc -l <") + kSettings), "0 1", "one setting");
          problems.equal(text(uninstall_from(*store, {})), "absent", "its file is gone");
          problems.equal(contents(kKeychain) + contents(kSettings), "", "nothing is left");

          // Somebody has deleted the certificate by hand, and the setting stayed.
          (void)install_into(*store, root);
          write(kKeychain, "");
          problems.equal(text(uninstall_from(*store, root)), "absent", "a setting alone");
          problems.equal(contents(kSettings), "", "its setting");
        }) == "");
}

TEST_CASE("stores: macOS: without a person nothing is half installed, and what to do is said") {
  CHECK(in_private_root([](Problems& problems) {
          macos(problems, "");
          const Root root = new_root(problems);
          const auto store = keychain_store();
          const struct {
            const char *answer, *part;
          } cases[] = {
              {"no window", "run it in a Terminal on the Mac's own screen"},
              {"cancel", "run it again and give it"},
              {"ignored", "the root is not trusted"},
          };
          for (const auto& c : cases) {
            write("/tmp/answer", c.answer);
            const std::string said = text(install_into(*store, root));
            problems.expect(said.starts_with("absent: ") && said.find(c.part) != said.npos, said);
            problems.equal(contents(kKeychain) + contents(kSettings), "", c.answer);
          }
          fs::remove("/tmp/answer");
          (void)install_into(*store, root);
          write("/tmp/answer", "no window");
          const std::string said = text(uninstall_from(*store, root));
          problems.expect(said.starts_with("trusted: security remove-trusted-cert failed (exit 1)"),
                          said);
          problems.equal(contents(kKeychain), root.pem, "the certificate stays with its setting");

          fs::remove("/tmp/answer");
          write(kSettings, "");
          problems.equal(text(store->status(root)),
                         "absent: the root is there, but not "
                         "trusted; run: sudo osproxy ca install --ca-dir /tmp/state",
                         "not trusted");
          problems.equal(text(install_into(*store, root)), "trusted", "trusted again");
          fs::remove("/usr/bin/security");
          problems.equal(text(keychain_store()->status(root)),
                         "unavailable: the program security is missing, which is part of macOS",
                         "missing");
        }) == "");
}

TEST_CASE("stores: macOS: only root changes it, everyone may look") {
  CHECK(in_private_root([](Problems& problems) {
          macos(problems, "");
          const Root root = new_root(problems);
          ::chmod(kState, 0755);
          write("/tmp/log", "");
          write(kSettings, "");
          for (const char* path : {"/tmp/log", kSettings}) ::chmod(path, 0666);
          problems.expect(::seteuid(65534) == 0, "seteuid");
          const auto store = keychain_store();
          problems.equal(text(store->status(root)), "absent", "status");
          problems.equal(text(install_into(*store, root)),
                         "absent: needs root; run: sudo osproxy ca install --ca-dir /tmp/state",
                         "install");
          problems.expect(::seteuid(0) == 0, "seteuid");
          (void)install_into(*store, root);
          problems.expect(::seteuid(65534) == 0, "seteuid");
          problems.equal(text(store->status(root)), "trusted", "status when trusted");
          problems.equal(text(uninstall_from(*store, root)),
                         "trusted: needs root; run: sudo osproxy ca uninstall --ca-dir /tmp/state",
                         "uninstall");
        }) == "");
}

TEST_CASE("stores: FreeBSD: OpenSSL finds the root by its hash, and nothing is left") {
  CHECK(in_private_root([](Problems& problems) {
          freebsd();
          const Root root = new_root(problems);
          const auto store = freebsd_store();
          const std::string before = hashed();
          const std::string file = "/usr/local/etc/ssl/certs/osproxy-ca.pem";
          const std::string verify =
              "env -i openssl verify -no-CAfile -CApath /etc/ssl/certs " + std::string(kPem);
          problems.expect(shell(verify)[0] != '0', "trusted before");
          problems.equal(text(store->status(root)), "absent", "before");
          problems.equal(text(install_into(*store, root)), "trusted", "install");
          problems.equal(shell(verify), "0 " + std::string(kPem) + ": OK", "openssl");
          problems.equal(contents(file), root.pem, "file");
          problems.equal(tls_test::mode_of(file), 0644U, "mode");
          write("/tmp/log", "");
          problems.equal(text(install_into(*store, root)), "trusted", "again");
          problems.equal(contents("/tmp/log"), "", "rehashed for nothing");

          // The next one of the same name gets the next number, and is found too.
          fs::rename(file, "/usr/local/etc/ssl/certs/a.pem");
          (void)shell("/usr/sbin/certctl rehash");
          problems.equal(text(store->status(root)), "trusted", "under another name");
          problems.equal(
              text(uninstall_from(*store, root)),
              "trusted: /etc/ssl/certs still has the root from another file than " + file,
              "another file");
          fs::remove("/usr/local/etc/ssl/certs/a.pem");
          (void)shell("/usr/sbin/certctl rehash");

          (void)install_into(*store, root);
          problems.equal(text(uninstall_from(*store, root)), "absent", "uninstall");
          problems.equal(hashed(), before, "links");
          problems.expect(fs::is_empty("/usr/local/etc/ssl/certs"), "a file is left");
          write("/tmp/log", "");
          problems.equal(text(uninstall_from(*store, root)), "absent", "uninstall again");
          problems.equal(contents("/tmp/log"), "", "rehashed for nothing");
        }) == "");
}

TEST_CASE("stores: FreeBSD: a certctl that fails or is missing leaves nothing") {
  CHECK(in_private_root([](Problems& problems) {
          freebsd();
          const Root root = new_root(problems);
          const std::string file = "/usr/local/etc/ssl/certs/osproxy-ca.pem";
          program("/usr/sbin/certctl", "#!/bin/sh\necho certctl: disk on fire >&2; exit 1\n");
          problems.equal(text(install_into(*freebsd_store(), root)),
                         "absent: certctl failed (exit 1): certctl: disk on fire", "fails");
          problems.expect(!fs::exists(file), "a file is left");
          program("/usr/sbin/certctl", "#!/bin/sh\n");
          problems.equal(text(install_into(*freebsd_store(), root)),
                         "absent: certctl ran, but /etc/ssl/certs has no osproxy root",
                         "does nothing");
          problems.expect(!fs::exists(file), "a file is left");
          fs::remove("/usr/sbin/certctl");
          problems.equal(text(install_into(*freebsd_store(), root)),
                         "unavailable: certctl is missing: it belongs to FreeBSD 12.2 and later",
                         "missing");
        }) == "");
}

TEST_CASE("stores: OpenBSD: the one file is read, never written") {
  CHECK(in_private_root([](Problems& problems) {
          const Root root = new_root(problems);
          const std::string other = other_root("some root");
          write("/etc/ssl/cert.pem", other);
          const auto store = openbsd_store();
          const std::string said = text(install_into(*store, root));
          problems.expect(said.starts_with("unavailable: not changed by osproxy"), said);
          problems.expect(
              said.find("osproxy ca export | doas tee -a /etc/ssl/cert.pem") != said.npos, said);
          problems.equal(contents("/etc/ssl/cert.pem"), other, "the file");
          write("/etc/ssl/cert.pem", other + root.pem);
          problems.equal(text(store->status(root)), "trusted", "by hand");
          problems.equal(
              text(uninstall_from(*store, root)),
              "trusted: the root was put into /etc/ssl/cert.pem by hand; take it out there", "out");
          problems.equal(contents("/etc/ssl/cert.pem"), other + root.pem, "the file");
        }) == "");
}

TEST_CASE("stores: a system without a bundle has its roots in files by hash") {
  CHECK(in_private_root([](Problems& problems) {
          freebsd();
          const std::string second = other_root("another root");
          write("/usr/share/certs/trusted/another.pem", second);
          (void)shell("/usr/sbin/certctl rehash");
          write("/etc/ssl/certs/README.txt", "no certificate");
          problems.equal(system_bundle(), "", "no bundle");
          const auto roots = system_roots();
          problems.expect(roots && certificates_as_der(*roots).size() == 2, "both roots");
          fs::create_directories("/usr/local/share/certs");
          write("/usr/local/share/certs/ca-root-nss.crt", second);
          problems.equal(system_bundle(), "/usr/local/share/certs/ca-root-nss.crt", "ca_root_nss");
          problems.equal(*system_roots(), second, "its contents");
          write("/etc/ssl/cert.pem", second);
          problems.equal(system_bundle(), "/etc/ssl/cert.pem", "FreeBSD 15, macOS");
        }) == "");
}

TEST_CASE("stores: what security(1) lists, cut anywhere, gives whole certificates or none") {
  const tls_test::Chain one, two;
  const std::string pems[] = {contents(one.directory / "root-ca.pem"),
                              contents(two.directory / "root-ca.pem")};
  const std::string listed = "security: some words\n" + pems[0] +
                             "SHA-1 hash: 00\n-----BEGIN X509 CRL-----\nAAAA\n-----END X509 "
                             "CRL-----\n" +
                             pems[1];
  const auto whole = certificates_as_der(listed);
  REQUIRE(whole.size() == 2);
  CHECK(whole[0] == read_root(one.directory / "root-ca.pem")->der);
  for (std::size_t size = 0; size < listed.size(); ++size) {
    CAPTURE(size);
    const auto some = certificates_as_der(std::string_view(listed).substr(0, size));
    REQUIRE(some.size() <= 2);
    for (std::size_t i = 0; i < some.size(); ++i) CHECK(some[i] == whole[i]);
  }
}
