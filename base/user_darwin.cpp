// macOS has no setresuid(2): setgid(2) and setuid(2) by root set all three ids.
#include <cerrno>

#include <grp.h>
#include <unistd.h>

#include "base/user.h"

namespace base {

/// The kernel asks the directory service about all other groups of the user by itself: setgroups(2)
/// would end that.
bool join_groups(const User& user, gid_t group) {
  return ::initgroups(user.name.c_str(), static_cast<int>(group)) == 0;
}

/// An empty list would be read as group 0.
bool leave_groups(gid_t group) {
  return ::setgroups(1, &group) == 0;
}

bool set_ids(uid_t uid, gid_t gid) {
  if (::setgid(gid) != 0 || ::setuid(uid) != 0) return false;
  const bool gone = ::getuid() == uid && ::geteuid() == uid && ::getgid() == gid &&
                    ::getegid() == gid && (uid == 0 || ::setuid(0) != 0);
  if (!gone) errno = EPERM;
  return gone;
}

}  // namespace base
