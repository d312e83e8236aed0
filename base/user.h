// A user of this machine, and becoming that user for good.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

#include "base/error.h"

namespace base {

/// As the password database has it.
struct User {
  uid_t uid = 0;
  gid_t gid = 0;  ///< primary group
  std::string name;
  std::string home;
  std::string shell;
};

[[nodiscard]] Result<User> user_named(const std::string& name);
[[nodiscard]] Result<User> user_numbered(uid_t uid);
/// The effective user and group of this process; without an entry in the password database it has
/// no name, and "/" as its home.
User current_user();

/// Becomes `user` for good, with its supplementary groups. `group`: with that one as real and
/// effective group instead of its own. Needs root. On failure the process must end.
[[nodiscard]] Result<> become(const User& user, std::optional<gid_t> group = std::nullopt);

/// The list for setgroups(2): `effective` first, and once, then the others, `most` of all at most.
[[nodiscard]] std::vector<gid_t> group_list(gid_t effective, std::vector<gid_t> others,
                                            std::size_t most);

// Each system's own part of the above; false: errno says why.

/// The user's supplementary groups, where needed with `group` as the first, which is the effective
/// one.
[[nodiscard]] bool join_groups(const User& user, gid_t group);
/// No group but `group`, if any.
[[nodiscard]] bool leave_groups(gid_t group);
/// Real, effective and saved ids of the calling process, for good.
[[nodiscard]] bool set_ids(uid_t uid, gid_t gid);

}  // namespace base
