// Trust without installation: the bundle, and real runtimes that are told of it by the environment.
#include <csignal>
#include <cstdlib>
#include <map>

#include <fcntl.h>

#include "mitm/trust/program.h"
#include "mitm/trust/stores.h"
#include "mitm/trust/trust.h"
#include "tests/mitm/private_root.h"
#include "tests/mitm/tls_fixture.h"

using namespace mitm::tls;
using namespace mitm::trust;
using tls_test::contents;
using tls_test::shell;

namespace {

/// The environment of this process as it is to be for a test, put back afterwards.
class Variable {
 public:
  Variable(const std::string& name, const char* value) : name_(name) {
    if (const char* present = std::getenv(name.c_str())) before_ = present;
    value != nullptr ? ::setenv(name.c_str(), value, 1) : ::unsetenv(name.c_str());
  }
  ~Variable() {
    before_ ? ::setenv(name_.c_str(), before_->c_str(), 1) : ::unsetenv(name_.c_str());
  }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  const std::string name_;
  std::optional<std::string> before_;
};

/// None of the variables that name a bundle, whatever the tests are run with.
class NoVariables {
 public:
  NoVariables() {
    for (const auto& [name, value] : trust_variables("/no/bundle.pem", "/no/root.pem"))
      if (value == "/no/bundle.pem") unset_.push_back(std::make_unique<Variable>(name, nullptr));
  }

 private:
  std::vector<std::unique_ptr<Variable>> unset_;
};

std::string bundle_of(const tls_test::Chain& chain, const std::string& directory) {
  const auto path =
      write_combined_bundle(directory, chain.directory / "root-ca.pem", base::current_user());
  REQUIRE_MESSAGE(path.has_value(), path);
  CHECK(*path == directory + "/ca-bundle.pem");
  return contents(*path);
}

}  // namespace

TEST_CASE(
    "bundle: the system's roots and ours, readable by everyone, written only when it changes") {
  const NoVariables clean;
  const Variable none("SSL_CERT_FILE", nullptr);
  const tls_test::Chain chain;
  const tls_test::Directory directory;
  const std::string home = directory / "new";
  const mode_t mask = ::umask(077);
  const std::string bundle = bundle_of(chain, home);
  ::umask(mask);
  const std::string path = home + "/ca-bundle.pem";
  CHECK(tls_test::mode_of(path) == 0644);
  CHECK(tls_test::mode_of(home) == 0755);
  const auto root = read_root(chain.directory / "root-ca.pem");
  CHECK(root->is_in_pem(bundle));
  const std::string count = shell("grep -c -e '-BEGIN CERTIFICATE-' " + system_bundle());
  CHECK(shell("grep -c -e '-BEGIN CERTIFICATE-' " + path) ==
        fmt::format("0 {}", std::stoi(count.substr(2)) + 1));
  CHECK(shell("openssl verify -CAfile " + path + " " + (chain.directory / "root-ca.pem"))
            .find(": OK") != std::string::npos);

  const auto written = std::filesystem::last_write_time(path);
  bundle_of(chain, home);
  CHECK(std::filesystem::last_write_time(path) == written);

  const tls_test::Chain other;
  const std::string replaced = bundle_of(other, home);
  CHECK_FALSE(root->is_in_pem(replaced));
  CHECK(read_root(other.directory / "root-ca.pem")->is_in_pem(replaced));
}

TEST_CASE("bundle: the caller's own bundle is the base, and only its certificates are taken") {
  const NoVariables clean;
  const tls_test::Chain chain, company;
  const tls_test::Directory directory;
  const std::string theirs = directory / "company.pem";
  const std::string certificate = contents(company.directory / "root-ca.pem");
  const std::string ours = contents(chain.directory / "root-ca.pem");
  tls_test::write(theirs, "secret: 1\n" + certificate +
                              contents(company.directory / "root-ca.key") +
                              "-----BEGIN CERTIFICATE-----\ncut");
  {
    const Variable chosen("SSL_CERT_FILE", theirs.c_str());
    CHECK(bundle_of(chain, directory.path()) == certificate + ours);
  }
  {
    // Nested: our own bundle is no base, or old roots would stay for ever.
    const Variable chosen("SSL_CERT_FILE", (directory / "ca-bundle.pem").c_str());
    const std::string bundle = bundle_of(chain, directory.path());
    CHECK_FALSE(read_root(company.directory / "root-ca.pem")->is_in_pem(bundle));
  }
  tls_test::write(theirs, certificate + ours);
  const Variable chosen("SSL_CERT_FILE", theirs.c_str());
  CHECK(bundle_of(chain, directory.path()) == certificate + ours);
}

TEST_CASE("bundle: certificates that the caller's variables name are taken over, each once") {
  const NoVariables clean;
  const tls_test::Chain chain, company, team;
  const tls_test::Directory directory;
  const std::string ours = contents(chain.directory / "root-ca.pem");
  const std::string one = contents(company.directory / "root-ca.pem"),
                    two = contents(team.directory / "root-ca.pem");
  const std::string system = directory / "system.pem", curl = directory / "curl.pem",
                    node = directory / "node.pem";
  tls_test::write(system, one);
  tls_test::write(curl, "a comment\n" + one + two + contents(team.directory / "root-ca.key"));
  tls_test::write(
      node,
      two + ours + "-----BEGIN CERTIFICATE-----\nno certificate\n-----END CERTIFICATE-----\n");
  const Variable a("SSL_CERT_FILE", system.c_str()), b("CURL_CA_BUNDLE", curl.c_str()),
      c("NODE_EXTRA_CA_CERTS", node.c_str()), d("REQUESTS_CA_BUNDLE", directory.path().c_str()),
      e("PIP_CERT", "/no/such.pem");
  CHECK(bundle_of(chain, directory.path()) == one + two + ours);
  CHECK(roots_of_variables(directory.path()) == one + two + ours);
  // Nested: our own bundle is none of the caller's.
  const std::string bundle = directory / "ca-bundle.pem";
  const Variable f("CURL_CA_BUNDLE", bundle.c_str()), g("NODE_EXTRA_CA_CERTS", bundle.c_str()),
      h("SSL_CERT_FILE", bundle.c_str());
  CHECK(roots_of_variables(directory.path()).empty());
}

TEST_CASE("bundle: what the caller may not read is not read for him") {
  const NoVariables clean;
  const tls_test::Chain chain, company;
  const tls_test::Directory directory;
  const std::string secret = directory / "secret.pem";
  tls_test::write(secret, to_pem(company.root.certificate.get()));
  ::chmod(secret.c_str(), 0600);
  const Variable chosen("SSL_CERT_FILE", secret.c_str());
  const auto path = write_combined_bundle(directory.path(), chain.directory / "root-ca.pem",
                                          {65534, 65534, "nobody", "/", ""});
  REQUIRE_MESSAGE(path.has_value(), path);
  const std::string bundle = contents(*path);
  CHECK_FALSE(read_root(company.directory / "root-ca.pem")->is_in_pem(bundle));
  CHECK(read_root(chain.directory / "root-ca.pem")->is_in_pem(bundle));
  CHECK(bundle.size() > 50'000);
}

TEST_CASE("bundle: further certificates are in it, each once") {
  const NoVariables clean;
  const tls_test::Chain chain, company;
  const tls_test::Directory directory;
  const std::string more = to_pem(company.root.certificate.get());
  const auto path = write_combined_bundle(directory.path(), chain.directory / "root-ca.pem",
                                          base::current_user(), more + more);
  REQUIRE_MESSAGE(path.has_value(), path);
  const std::string bundle = contents(*path);
  const auto at = bundle.find(more);
  REQUIRE(at != bundle.npos);
  CHECK(bundle.find(more, at + 1) == bundle.npos);
  CHECK(read_root(chain.directory / "root-ca.pem")->is_in_pem(bundle));
}

TEST_CASE("bundle: errors name the file") {
  const tls_test::Chain chain;
  CHECK(write_combined_bundle("/proc", chain.directory / "root-ca.pem", base::current_user())
            .error()
            .text.find("/proc/ca-bundle.pem") != std::string::npos);
  CHECK(write_combined_bundle("/tmp", "/nonexistent.pem", base::current_user()).error().text ==
        "cannot read /nonexistent.pem: No such file or directory");
}

TEST_CASE("bundle: variables keep what the caller has") {
  const tls_test::Chain chain;
  const tls_test::Directory directory;
  const Variable java("JAVA_TOOL_OPTIONS", "-Dmine=1"), wget("WGETRC", nullptr);
  bundle_of(chain, directory.path());
  const std::string bundle = directory / "ca-bundle.pem";
  const auto variables = [&](const std::string& home) {
    const auto list = trust_variables(bundle, chain.directory / "root-ca.pem", home);
    std::map<std::string, std::string> map(list.begin(), list.end());
    CHECK(map.size() == list.size());
    return map;
  };
  auto map = variables({});
  for (const char* name :
       {"SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "DENO_CERT", "PERL_LWP_SSL_CA_FILE",
        "GIT_SSL_CAINFO", "CARGO_HTTP_CAINFO", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "PIP_CERT",
        "AWS_CA_BUNDLE", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "NIX_SSL_CERT_FILE",
        "HEX_CACERTS_PATH", "BUNDLE_SSL_CA_CERT", "npm_config_cafile", "YARN_HTTPS_CA_FILE_PATH",
        "COMPOSER_CAFILE"}) {
    CHECK(map[name] == bundle);
  }
  CHECK_FALSE(map.contains("SSL_CERT_DIR"));
  CHECK_FALSE(map.contains("WGETRC"));
  if (!find_java().empty())
    CHECK(map["JAVA_TOOL_OPTIONS"].rfind(
              "-Dmine=1 -Djavax.net.ssl.trustStore=" + directory.path() + "/", 0) == 0);
  CHECK(variables(directory.path())["WGETRC"] == directory / "wgetrc");
  tls_test::write(directory / ".wgetrc", "");
  CHECK_FALSE(variables(directory.path()).contains("WGETRC"));
  if (!find_program("apt-config").empty()) {
    CHECK(map["APT_CONFIG"] == directory / "apt.conf");
    CHECK(shell("APT_CONFIG=" + map["APT_CONFIG"] + " apt-config dump Acquire::https::CAInfo") ==
          "0 Acquire::https::CAInfo \"" + bundle + "\";");
  }
  const Variable apt("APT_CONFIG", "/x");
  CHECK_FALSE(variables({}).contains("APT_CONFIG"));
  const Variable set("WGETRC", "/x");
  CHECK_FALSE(variables("/nonexistent").contains("WGETRC"));
}

TEST_CASE("bundle: Java's trust store is made once, and anew for a new root") {
  if (find_java().empty() || find_program("keytool").empty()) return;
  const tls_test::Directory directory;
  const auto store_for = [&](const tls_test::Chain& chain) {
    bundle_of(chain, directory.path());
    for (const auto& [name, value] :
         trust_variables(directory / "ca-bundle.pem", chain.directory / "root-ca.pem")) {
      if (name != "JAVA_TOOL_OPTIONS") continue;
      const std::size_t begin = value.find("trustStore=") + 11;
      return value.substr(begin, value.find(' ', begin) - begin);
    }
    return std::string();
  };
  const tls_test::Chain one;
  const std::string store = store_for(one);
  CHECK(tls_test::mode_of(store) == 0644);
  const std::string certificates =
      shell("keytool -list -rfc -keystore " + store + " -storepass changeit");
  CHECK(read_root(one.directory / "root-ca.pem")->is_in_pem(certificates));
  const auto entries = [](const std::string& file) {
    const std::string listed = shell("keytool -list -keystore " + file +
                                     " -storepass changeit 2>/dev/null | grep -c trustedCertEntry");
    return std::stoi(listed.substr(2));
  };
  CHECK(entries(store) == entries(find_java().front().cacerts) + 1);
  const auto written = std::filesystem::last_write_time(store);
  CHECK(store_for(one) == store);
  CHECK(std::filesystem::last_write_time(store) == written);
  const tls_test::Chain two;
  CHECK(store_for(two) == store);
  CHECK(read_root(two.directory / "root-ca.pem")->is_in_bytes(contents(store)));
}

TEST_CASE("bundle: curl, wget, python and Java trust us by the variables alone") {
  const Variable java("JAVA_TOOL_OPTIONS", nullptr), wget("WGETRC", nullptr);
  const tls_test::Chain chain;
  const tls_test::Directory directory;
  bundle_of(chain, directory.path());
  const auto leaf = issue_leaf(*chain.signer, {"localhost", nullptr, KeyType::p256});
  REQUIRE_MESSAGE(leaf.has_value(), leaf);
  tls_test::write(directory / "leaf.pem",
                  to_pem({share(leaf->get()), share(chain.signer->key(KeyType::p256))}));
  tls_test::write(directory / "intermediate.pem", to_pem(chain.intermediate()));
  tls_test::write(directory / "Get.java",
                  "class Get { public static void main(String[] a) throws Exception { "
                  "System.out.println(((java.net.HttpURLConnection) new "
                  "java.net.URL(a[0]).openConnection()).getResponseCode()); } }");
  const struct {
    const char *program, *command;
  } cases[] = {
      {"curl", "curl -sS -o /dev/null -w '%{http_code}\\n' $URL"},
      {"wget", "wget -nv -O /dev/null $URL && echo 200"},
      {"python3",
       "python3 -c 'import sys, urllib.request; "
       "print(urllib.request.urlopen(sys.argv[1]).status)' $URL"},
      {"java", "java -Xint Get.java $URL"},
  };
  std::string trusting = "env -i PATH=/usr/bin:/bin";
  for (const auto& [name, value] : trust_variables(
           directory / "ca-bundle.pem", chain.directory / "root-ca.pem", directory.path())) {
    trusting += fmt::format(" '{}={}'", name, value);
  }
  for (const auto& c : cases) {
    CAPTURE(c.program);
    if (find_program(c.program).empty()) continue;
    // Port 0: s_server says which one it got.
    const auto get = [&](const std::string& environment) {
      return shell(fmt::format(
          "cd {}; openssl s_server -www -accept 127.0.0.1:0 -cert leaf.pem -cert_chain "
          "intermediate.pem >log 2>&1 & server=$!; cd {}; for i in $(seq 100); do port=$(sed -n "
          "'s/^ACCEPT.*://p' log); [ -n \"$port\" ] && break; sleep 0.1; done; {} HOME={} "
          "URL=https://localhost:$port/ sh -c {}; code=$?; kill $server; rm -f log; exit $code",
          directory.path(), directory.path(), environment, directory.path(),
          fmt::format("'{}'", std::string(c.command).find('\'') == std::string::npos
                                  ? c.command
                                  : "sh ./command")));
    };
    tls_test::write(directory / "command", c.command);
    const std::string with = get(trusting);
    CAPTURE(with);
    CHECK(with[0] == '0');
    CHECK(with.substr(with.size() - 3) == "200");
    CHECK(get("env -i PATH=/usr/bin:/bin")[0] != '0');
  }
}
