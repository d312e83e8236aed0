// Users and groups; what POSIX has for all systems.
#include "divert/privilege.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <fstream>

#include <grp.h>
#include <pwd.h>
#include <unistd.h>

namespace divert {
namespace {

constexpr gid_t kFirstCaptureGroup = kUsualExemptGroup + 256;
constexpr gid_t kTries = 64;

User from_entry(const passwd& entry) {
  return {entry.pw_uid, entry.pw_gid, entry.pw_name, entry.pw_dir, entry.pw_shell};
}

/// "name:first:count" lines. Linux has the file; elsewhere it is not there.
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

base::Result<> become(const User& user, std::optional<gid_t> group) {
  const gid_t gid = group.value_or(user.gid);
  if (!join_groups(user, gid) || !set_ids(user.uid, gid))
    return base::os_error("cannot become user " + user.name, errno);
  return {};
}

base::Result<> become_worker(const User& user, gid_t gid) {
  if (!leave_groups(gid) || !set_ids(user.uid, gid))
    return base::os_error("cannot become user " + user.name, errno);
  if (!seal()) return base::os_error("cannot seal the worker", errno);
  return {};
}

std::vector<gid_t> group_list(gid_t effective, std::vector<gid_t> others, std::size_t most) {
  std::erase(others, effective);
  others.insert(others.begin(), effective);
  others.resize(std::min(others.size(), std::max(most, std::size_t{1})));
  return others;
}

std::string group_number_in_use(gid_t gid) {
  if (const group* entry = ::getgrgid(gid)) return std::string("the group ") + entry->gr_name;
  if (in_subgid(gid)) return "a range in /etc/subgid";
  const auto processes = processes_with_group(gid);
  return processes.empty() ? std::string() : fmt::format("process {}", processes.front());
}

base::Result<gid_t> choose_capture_group(gid_t exempt) {
  for (gid_t gid = kFirstCaptureGroup; gid < kFirstCaptureGroup + kTries; ++gid) {
    if (gid != exempt && group_number_in_use(gid).empty()) return gid;
  }
  return base::failure("no free group number for the command from {} to {}", kFirstCaptureGroup,
                       kFirstCaptureGroup + kTries - 1);
}

base::Result<gid_t> choose_exempt_group(std::optional<gid_t> wanted) {
  if (wanted) {
    const std::string user = group_number_in_use(*wanted);
    if (user.empty()) return *wanted;
    return base::failure(
        "group number {} belongs to {}: its connections would escape; choose another with --group, or none",
        *wanted, user);
  }
  for (gid_t gid = kUsualExemptGroup; gid < kUsualExemptGroup + kTries; ++gid) {
    if (group_number_in_use(gid).empty()) return gid;
  }
  return base::failure("no free group number from {} to {}; name one with --group", kUsualExemptGroup,
                       kUsualExemptGroup + kTries - 1);
}

}  // namespace divert
