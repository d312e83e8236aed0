#include "mitm/trust/certificate_directories.h"

#include <cstdlib>
#include <filesystem>
#include <set>
#include <sstream>

#include <openssl/x509.h>

namespace mitm::trust {
namespace {

namespace fs = std::filesystem;

void add_with_links(const std::string& directory, std::set<std::string>& found) {
  found.insert(directory);
  std::error_code error;
  for (const auto& entry : fs::directory_iterator{directory, error}) {
    const fs::path target =
        entry.is_symlink(error) ? fs::canonical(entry.path(), error) : fs::path{};
    if (!error && !target.empty() && target.parent_path() != target.root_path())
      found.insert(target.parent_path().string());
  }
}

}  // namespace

std::vector<std::string> certificate_directories() {
  const char* named = std::getenv(X509_get_default_cert_dir_env());
  std::istringstream list{named != nullptr ? named : X509_get_default_cert_dir()};
  std::set<std::string> found;
  for (std::string directory; std::getline(list, directory, ':');) {
    if (!directory.empty()) add_with_links(directory, found);
  }
  return {found.begin(), found.end()};
}

}  // namespace mitm::trust
