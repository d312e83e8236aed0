#include <grp.h>
#include <unistd.h>

#include "base/user.h"

namespace base {

bool join_groups(const User& user, gid_t /*group*/) {
  return ::initgroups(user.name.c_str(), user.gid) == 0;
}

bool leave_groups(gid_t /*group*/) {
  return ::setgroups(0, nullptr) == 0;
}

bool set_ids(uid_t uid, gid_t gid) {
  return ::setresgid(gid, gid, gid) == 0 && ::setresuid(uid, uid, uid) == 0;
}

}  // namespace base
