// What POSIX has for all systems.
#include "base/user.h"

#include <algorithm>
#include <cerrno>

#include <pwd.h>
#include <unistd.h>

namespace base {
namespace {

User from_entry(const passwd& entry) {
  return {entry.pw_uid, entry.pw_gid, entry.pw_name, entry.pw_dir, entry.pw_shell};
}

}  // namespace

Result<User> user_named(const std::string& name) {
  const passwd* entry = ::getpwnam(name.c_str());
  if (!entry) return failure("there is no user '{}' on this machine", name);
  return from_entry(*entry);
}

Result<User> user_numbered(uid_t uid) {
  const passwd* entry = ::getpwuid(uid);
  if (!entry) return failure("user number {} has no entry in the password database", uid);
  return from_entry(*entry);
}

User current_user() {
  // root's home is not /root everywhere, and security(1) looks for a user's settings in it.
  const auto known = user_numbered(::geteuid());
  User user = known ? *known : User{::geteuid(), 0, "", "/", ""};
  user.gid = ::getegid();
  return user;
}

Result<> become(const User& user, std::optional<gid_t> group) {
  const gid_t gid = group.value_or(user.gid);
  if (!join_groups(user, gid) || !set_ids(user.uid, gid))
    return os_error("cannot become user " + user.name, errno);
  return {};
}

std::vector<gid_t> group_list(gid_t effective, std::vector<gid_t> others, std::size_t most) {
  std::erase(others, effective);
  others.insert(others.begin(), effective);
  others.resize(std::min(others.size(), std::max(most, std::size_t{1})));
  return others;
}

}  // namespace base
