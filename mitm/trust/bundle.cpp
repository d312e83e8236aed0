// Trust without installation: one file with the system's roots and ours, and the variables by which
// common runtimes find it.
#include <array>
#include <cstdlib>
#include <filesystem>
#include <set>

#include <openssl/err.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "mitm/tls/authority.h"
#include "mitm/tls/openssl.h"
#include "mitm/trust/program.h"
#include "mitm/trust/stores.h"
#include "mitm/trust/trust.h"

namespace mitm::trust {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kBundleLimit = 1 << 20;  ///< the usual ones have a quarter of it
constexpr std::string_view kBegin = "-----BEGIN CERTIFICATE-----";
constexpr std::string_view kEnd = "-----END CERTIFICATE-----";

/// One setting each; all take the path of a PEM file.
constexpr std::array<std::string_view, 19> kVariables = {
    "SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
    "DENO_CERT",
    "PERL_LWP_SSL_CA_FILE",
    "GIT_SSL_CAINFO",
    "CARGO_HTTP_CAINFO",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "AWS_CA_BUNDLE",
    "NIX_SSL_CERT_FILE",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "HEX_CACERTS_PATH",
    "BUNDLE_SSL_CA_CERT",
    "HTTPLIB2_CA_CERTS",
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
    // npm's counts where its configuration names a file: then it does not look at Node's.
    "npm_config_cafile",
    "YARN_HTTPS_CA_FILE_PATH",
    "COMPOSER_CAFILE",
};

/// Only certificates: whatever file the environment named, nothing else of it becomes readable to
/// all users.
std::string certificates_in(std::string_view text) {
  std::string found;
  for (;;) {
    const std::size_t begin = text.find(kBegin);
    const std::size_t end = begin == text.npos ? begin : text.find(kEnd, begin);
    if (end == text.npos) return found;
    found.append(text.substr(begin, end + kEnd.size() - begin)).append("\n");
    text.remove_prefix(end + kEnd.size());
  }
}

/// The caller's own bundle, when he has one and may read it, else the system's roots. Root opens no
/// path that the environment names: it could be a file of another user's, a pipe, a device.
base::Result<std::string> base_roots(const std::string& ours, const base::User& caller) {
  const char* chosen = std::getenv("SSL_CERT_FILE");
  if (chosen == nullptr || chosen == ours) return system_roots();
  auto own = base::run_as(caller, [chosen] {
    const auto text = base::read_file(chosen, kBundleLimit);
    return text ? certificates_in(*text) : std::string();
  });
  if (!own) return own.error();
  return own->empty() ? system_roots() : own;
}

/// Adds to `text` what is in `more` and not in `seen` (DER), up to 1 MiB.
void add_new(std::string& text, std::string_view more, std::set<std::string>& seen) {
  std::size_t room = kBundleLimit;
  for (const std::string& der : certificates_as_der(more)) {
    const auto* at = reinterpret_cast<const unsigned char*>(der.data());
    const tls::X509Ptr certificate{d2i_X509(nullptr, &at, static_cast<long>(der.size()))};
    const std::string pem = certificate ? tls::to_pem(certificate.get()) : std::string();
    if (pem.empty() || pem.size() > room || !seen.insert(der).second) continue;
    text += pem;
    room -= pem.size();
  }
  ERR_clear_error();
}

bool is_regular(const char* path) {
  struct stat facts {};
  return ::stat(path, &facts) == 0 && S_ISREG(facts.st_mode);
}

/// The beginning of time when there is no such file.
fs::file_time_type modified(const std::string& path) {
  std::error_code error;
  const auto time = fs::last_write_time(path, error);
  return error ? fs::file_time_type::min() : time;
}

/// A Java trust store beside the bundle: the roots of the first Java found, and ours. Empty: there
/// is no Java, or its keytool failed.
std::string java_trust_store(const std::string& directory, const std::string& root_pem_path) {
  for (const JavaStore& java : find_java()) {
    if (java.keytool.empty() || (::geteuid() == 0 && !java.of_root)) continue;
    // One for each Java, because each may have roots of its own.
    const std::string path =
        fmt::format("{}/java-cacerts-{:016x}", directory, std::hash<std::string>{}(java.cacerts));
    const auto newest = std::max(modified(java.cacerts), modified(root_pem_path));
    if (modified(path) > newest) return path;
    const auto root = read_root(root_pem_path);
    if (!root) return {};
    const auto source = base::read_file(java.cacerts);
    const auto bytes =
        source && root->is_in_bytes(*source)
            ? source
            : edited_by_keytool(
                  java, {"-importcert", "-noprompt", "-trustcacerts", "-alias", "osproxy-exec"},
                  *root);
    if (bytes && base::replace_file(path, *bytes, 0644)) return path;
  }
  return {};
}

/// A program's configuration file beside the bundle, or empty when it cannot be written.
std::string configuration(const std::string& bundle, const char* name, const std::string& text) {
  const std::string path = fs::path(bundle).parent_path() / name;
  const auto present = base::read_file(path);
  if (present && *present == text) return path;
  return base::replace_file(path, text, 0644) ? path : std::string{};
}

std::string wgetrc(const std::string& bundle, const std::string& home) {
  if (home.empty() || std::getenv("WGETRC") != nullptr ||
      ::access((home + "/.wgetrc").c_str(), F_OK) == 0)
    return {};
  return configuration(bundle, "wgetrc",
                       fmt::format("# Written by osproxy exec.\nca_certificate = {}\n", bundle));
}

/// apt.conf(5): read beside the usual ones.
std::string apt_conf(const std::string& bundle) {
  if (std::getenv("APT_CONFIG") != nullptr || find_program("apt-get").empty()) return {};
  return configuration(
      bundle, "apt.conf",
      fmt::format("// Written by osproxy exec.\nAcquire::https::CAInfo \"{}\";\n", bundle));
}

}  // namespace

std::string bundle_path(const std::string& directory) {
  return directory + "/ca-bundle.pem";
}

std::span<const std::string_view> variable_names() {
  return kVariables;
}

std::string roots_of_variables(const std::string& directory) {
  const std::string ours = bundle_path(directory);
  std::string all;
  std::set<std::string> read;
  for (const std::string_view name : kVariables) {
    const char* const path = std::getenv(name.data());
    // A pipe would be waited for.
    if (path == nullptr || path == ours || !is_regular(path) || !read.insert(path).second) continue;
    if (const auto text = base::read_file(path, kBundleLimit)) all += certificates_in(*text);
  }
  std::string roots;
  std::set<std::string> seen;
  add_new(roots, all, seen);
  return roots;
}

base::Result<std::string> write_combined_bundle(const std::string& directory,
                                                const std::string& root_pem_path,
                                                const base::User& caller, std::string_view more) {
  const auto root = read_root(root_pem_path);
  if (!root) return root.error();
  const std::string path = bundle_path(directory);
  const auto roots = base_roots(path, caller);
  if (!roots) return roots.error();
  const auto others = base::run_as(caller, [&] { return roots_of_variables(directory); });
  if (!others) return others.error();
  std::string bundle = certificates_in(*roots);
  const auto known = certificates_as_der(bundle);
  std::set<std::string> seen{known.begin(), known.end()};
  seen.insert(root->der);
  add_new(bundle, *others, seen);
  add_new(bundle, more, seen);
  if (!root->is_in_pem(bundle)) bundle += certificates_in(root->pem);
  const auto present = base::read_file(path);
  if (present && *present == bundle) return path;
  std::error_code error;
  if (fs::create_directories(directory, error)) ::chmod(directory.c_str(), 0755);
  if (auto written = base::replace_file(path, bundle, 0644); !written) return written.error();
  return path;
}

std::vector<std::pair<std::string, std::string>> trust_variables(const std::string& bundle,
                                                                 const std::string& root_pem_path,
                                                                 const std::string& home) {
  std::vector<std::pair<std::string, std::string>> variables;
  for (const std::string_view name : kVariables) variables.emplace_back(name, bundle);
  const std::string store =
      java_trust_store(fs::path(bundle).parent_path().string(), root_pem_path);
  if (!store.empty()) {
    const char* present = std::getenv("JAVA_TOOL_OPTIONS");
    variables.emplace_back(
        "JAVA_TOOL_OPTIONS",
        fmt::format("{}{}-Djavax.net.ssl.trustStore={} -Djavax.net.ssl.trustStorePassword=changeit",
                    present != nullptr ? present : "",
                    present != nullptr && *present != '\0' ? " " : "", store));
  }
  if (std::string path = wgetrc(bundle, home); !path.empty())
    variables.emplace_back("WGETRC", std::move(path));
  if (std::string path = apt_conf(bundle); !path.empty())
    variables.emplace_back("APT_CONFIG", std::move(path));
  return variables;
}

}  // namespace mitm::trust
