// Firefox and Chromium keep roots in NSS databases in the user's home, changed by certutil.
#include <filesystem>

#include "mitm/trust/program.h"
#include "mitm/trust/stores.h"

namespace mitm::trust {
namespace {

namespace fs = std::filesystem;

constexpr PackageNames kPackages{"libnss3-tools",     "nss-tools", "nss",
                                 "mozilla-nss-tools", "nss",       "nss"};
constexpr int kMostDeleted = 16;  ///< roots of one subject share a nickname, and go one at a time

constexpr std::size_t kMostDatabases = 4000;

/// One path a line, of each directory that holds a database. Runs with the user's ids.
std::string find_databases(const std::string& home) {
  std::vector<std::string> found;
  std::error_code error;
  const auto keep = [&](const fs::path& directory) {
    if (found.size() < kMostDatabases && fs::exists(directory / "cert9.db", error))
      found.push_back(directory.string());
  };
  for (const char* chromium : {".pki/nssdb", "snap/chromium/current/.pki/nssdb"})
    keep(fs::path(home) / chromium);
  const std::size_t chromium_count = found.size();
  for (const char* firefox :
       {".mozilla/firefox", ".config/mozilla/firefox", "snap/firefox/common/.mozilla/firefox",
        ".var/app/org.mozilla.firefox/.mozilla/firefox"}) {
    for (const auto& profile : fs::directory_iterator(fs::path(home) / firefox, error))
      keep(profile.path());
  }
  std::sort(found.begin() + static_cast<std::ptrdiff_t>(chromium_count), found.end());
  std::string lines;
  for (const std::string& path : found) {
    if (path.find('\n') == path.npos) lines.append(path).append("\n");
  }
  return lines;
}

/// The trust flags ("C,,") of our nickname in certutil's table; none when it is not there.
std::optional<std::string> flags_of_ours(std::string_view table) {
  while (!table.empty()) {
    const std::string_view line = table.substr(0, table.find('\n'));
    table.remove_prefix(std::min(table.size(), line.size() + 1));
    const std::size_t gap = line.find_last_not_of(' ') == line.npos ? line.npos : line.find(' ');
    if (gap == line.npos || line.substr(0, gap) != kStoreName) continue;
    const std::size_t flags = line.find_first_not_of(' ', gap);
    return std::string(line.substr(flags, line.find(' ', flags) - flags));
  }
  return std::nullopt;
}

class NssStore final : public TrustStore {
 public:
  NssStore(std::string directory, base::User user)
      : directory_(std::move(directory)),
        user_(std::move(user)),
        certutil_(find_program("certutil")) {}

  StoreStatus status(const Root& root) const override {
    using State = StoreStatus::State;
    StoreStatus status{State::absent, fmt::format("NSS ({})", directory_), {}};
    const auto flags = our_flags();
    if (!flags) {
      status.state = State::unavailable;
      status.detail = flags.error().text;
    } else if (*flags) {
      const auto pem = certutil({"-L", "-n", kStoreName, "-a"});
      if (pem && root.is_in_pem(*pem) && (*flags)->front() == 'C') {
        status.state = State::trusted;
      } else {
        status.detail =
            "another osproxy root, or one that is not trusted, is there; " + root.advice("install");
      }
    }
    return status;
  }

  base::Result<> install(const Root& root) const override {
    if (auto cleared = uninstall(root); !cleared) return cleared.error();
    const auto added = certutil({"-A", "-n", kStoreName, "-t", "C,,", "-a"}, root.pem);
    if (!added) return added.error();
    return {};
  }

  base::Result<> uninstall(const Root&) const override {
    for (int i = 0; i < kMostDeleted; ++i) {
      const auto flags = our_flags();
      if (!flags) return flags.error();
      if (!*flags) return {};
      if (auto deleted = certutil({"-D", "-n", kStoreName}); !deleted) return deleted.error();
    }
    return base::failure("more than {} certificates named {} in {}", kMostDeleted, kStoreName,
                         directory_);
  }

 private:
  base::Result<std::optional<std::string>> our_flags() const {
    const auto table = certutil({"-L"});
    if (!table) return table.error();
    return flags_of_ours(*table);
  }

  base::Result<std::string> certutil(std::vector<std::string> arguments,
                                     std::string input = {}) const {
    if (certutil_.empty())
      return base::failure("certutil is missing: {}", install_command(kPackages));
    arguments.insert(arguments.begin(), certutil_);
    arguments.insert(arguments.end(), {"-d", "sql:" + directory_});
    auto finished = run_tool(std::move(arguments), user_, std::move(input));
    if (!finished) return finished.error();
    if (finished->status != 0) return program_error("certutil", *finished);
    return std::move(finished->out);
  }

  std::string directory_;
  base::User user_;
  std::string certutil_;
};

}  // namespace

TrustStores nss_stores(const base::User& user) {
  TrustStores stores;
  if (user.home.empty()) return stores;
  const auto lines = base::run_as(user, [&] { return find_databases(user.home); });
  std::string_view rest = lines ? std::string_view(*lines) : std::string_view();
  for (auto end = rest.find('\n'); end != rest.npos; end = rest.find('\n')) {
    stores.push_back(std::make_unique<NssStore>(std::string(rest.substr(0, end)), user));
    rest.remove_prefix(end + 1);
  }
  return stores;
}

}  // namespace mitm::trust
