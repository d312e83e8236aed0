// Users and groups on Linux.
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include <grp.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/fd.h"
#include "divert/privilege.h"

namespace divert {
namespace {

/// The first number tried: above what useradd and container ranges hand out by default, below 2^31.
constexpr gid_t kFirstExemptGroup = 1'869'837'176;
constexpr gid_t kTries = 64;

User from_entry(const passwd& entry) {
  return {entry.pw_uid, entry.pw_gid, entry.pw_name, entry.pw_dir, entry.pw_shell};
}

bool number_is(std::string_view text, gid_t gid) {
  gid_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size() && value == gid;
}

/// "name:first:count" lines.
bool in_subgid(gid_t gid) {
  std::ifstream file{"/etc/subgid"};
  for (std::string line; std::getline(file, line);) {
    unsigned long first = 0;
    unsigned long count = 0;
    const auto colon = line.find(':');
    if (colon == line.npos || std::sscanf(line.c_str() + colon + 1, "%lu:%lu", &first, &count) != 2) continue;
    if (gid >= first && gid - first < count) return true;
  }
  return false;
}

/// Whether a `Gid:` or `Groups:` line of /proc/PID/status names the group.
bool process_has_group(const std::filesystem::path& process, gid_t gid) {
  std::ifstream file{process / "status"};
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("Gid:") && !line.starts_with("Groups:")) continue;
    std::istringstream words{line.substr(line.find(':') + 1)};
    for (std::string word; words >> word;) {
      if (number_is(word, gid)) return true;
    }
  }
  return false;
}

}  // namespace

base::Result<User> user_named(const std::string& name) {
  errno = 0;
  const passwd* entry = ::getpwnam(name.c_str());
  if (!entry) return base::failure("there is no user '{}' on this machine", name);
  return from_entry(*entry);
}

base::Result<User> invoking_user() {
  if (const char* name = std::getenv("DOAS_USER"); name && !std::getenv("SUDO_UID")) return user_named(name);
  uid_t uid = ::getuid();
  if (const char* text = std::getenv("SUDO_UID"); text && uid == 0) {
    const std::string_view digits = text;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), uid);
    if (error != std::errc{} || end != digits.data() + digits.size()) {
      return base::failure("SUDO_UID is '{}', not a user number; unset it or run through sudo", digits);
    }
  }
  const passwd* entry = ::getpwuid(uid);
  if (!entry) return base::failure("user number {} has no entry in the password database", uid);
  return from_entry(*entry);
}

base::Result<> become(const User& user) {
  if (::initgroups(user.name.c_str(), user.gid) != 0 || ::setresgid(user.gid, user.gid, user.gid) != 0 ||
      ::setresuid(user.uid, user.uid, user.uid) != 0) {
    return base::os_error("cannot become user " + user.name, errno);
  }
  return {};
}

base::Result<> become_worker(const User& user, gid_t gid) {
  if (::setgroups(0, nullptr) != 0 || ::setresgid(gid, gid, gid) != 0 ||
      ::setresuid(user.uid, user.uid, user.uid) != 0) {
    return base::os_error("cannot become user " + user.name, errno);
  }
  if (::prctl(PR_SET_DUMPABLE, 0) != 0 || ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
    return base::os_error("cannot seal the worker", errno);
  }
  return {};
}

std::string group_number_in_use(gid_t gid) {
  if (const group* entry = ::getgrgid(gid)) return std::string("the group ") + entry->gr_name;
  if (in_subgid(gid)) return "a range in /etc/subgid";
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator{"/proc", ignored}) {
    const std::string name = entry.path().filename();
    if (name[0] >= '0' && name[0] <= '9' && process_has_group(entry.path(), gid)) return "process " + name;
  }
  return {};
}

base::Result<gid_t> choose_exempt_group(std::optional<gid_t> wanted) {
  if (wanted) {
    const std::string user = group_number_in_use(*wanted);
    if (user.empty()) return *wanted;
    return base::failure(
        "group number {} belongs to {}: its connections would escape; choose another with --group, or none",
        *wanted, user);
  }
  for (gid_t gid = kFirstExemptGroup; gid < kFirstExemptGroup + kTries; ++gid) {
    if (group_number_in_use(gid).empty()) return gid;
  }
  return base::failure("no free group number from {} to {}; name one with --group", kFirstExemptGroup,
                       kFirstExemptGroup + kTries - 1);
}

}  // namespace divert
