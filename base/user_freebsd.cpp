#include <algorithm>

#include <grp.h>
#include <unistd.h>

#include "base/user.h"

namespace base {

/// The first of the list is the effective group before FreeBSD 15, and one of many since: the
/// user's own is named beside it either way.
bool join_groups(const User& user, gid_t group) {
  const long most = ::sysconf(_SC_NGROUPS_MAX);
  std::vector<gid_t> groups(static_cast<std::size_t>(std::max(most, 15L)) + 1);
  int count = static_cast<int>(groups.size());
  // -1: there are more than fit; those that fit are there.
  (void)::getgrouplist(user.name.c_str(), user.gid, groups.data(), &count);
  groups.resize(std::min(groups.size(), static_cast<std::size_t>(std::max(count, 0))));
  groups = group_list(group, std::move(groups), static_cast<std::size_t>(std::max(most, 1L)));
  return ::setgroups(static_cast<int>(groups.size()), groups.data()) == 0;
}

bool leave_groups(gid_t group) {
  return ::setgroups(1, &group) == 0;
}

bool set_ids(uid_t uid, gid_t gid) {
  return ::setresgid(gid, gid, gid) == 0 && ::setresuid(uid, uid, uid) == 0;
}

}  // namespace base
