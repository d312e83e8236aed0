// Who typed the command, and becoming that user for good.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

#include "base/error.h"

namespace divert {

/// A user of this machine, as the password database has it.
struct User {
  uid_t uid = 0;
  gid_t gid = 0;  ///< primary group
  std::string name;
  std::string home;
  std::string shell;
};

/// The user who typed sudo or doas (SUDO_UID, DOAS_USER), else the real user. Only meaningful for root.
[[nodiscard]] base::Result<User> invoking_user();
[[nodiscard]] base::Result<User> user_named(const std::string& name);

/// Becomes `user` for good, with its supplementary groups. On failure the process must end.
[[nodiscard]] base::Result<> become(const User& user);

/// Becomes `user` for good with `gid` as its only group, not dumpable, without the right to gain privileges.
[[nodiscard]] base::Result<> become_worker(const User& user, gid_t gid);

/// A group number that no group entry, no /etc/subgid range and no live process has. `wanted`: that one or an
/// error that says who has it.
[[nodiscard]] base::Result<gid_t> choose_exempt_group(std::optional<gid_t> wanted);

/// Who uses group number `gid`: "the group adm", "a range in /etc/subgid", "process 77"; empty: nobody. Walks
/// /proc.
std::string group_number_in_use(gid_t gid);

}  // namespace divert
