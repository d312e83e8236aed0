// The user who typed the command, the rights of the worker, and group numbers of our own.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

#include "base/error.h"
#include "base/user.h"

namespace divert {

/// The user who typed sudo or doas (SUDO_UID, DOAS_USER), else the real user. Only meaningful for
/// root.
[[nodiscard]] base::Result<base::User> invoking_user();

/// Becomes `user` for good with `gid` as its only group, not dumpable, without the right to gain
/// privileges.
[[nodiscard]] base::Result<> become_worker(const base::User& user, gid_t gid);

/// The first number tried: above what useradd and container ranges hand out by default, below 2^31.
inline constexpr gid_t kUsualExemptGroup = 1'869'837'176;

/// Numbers that exist: all but those that a user namespace does not map.
struct GroupRange {
  gid_t first = 0;
  gid_t last = 0;

  bool operator==(const GroupRange&) const = default;
};

/// Of /proc/self/gid_map, "first outside count" lines, as far as they can be read.
[[nodiscard]] std::vector<GroupRange> parse_gid_map(std::string_view text);

/// Of /etc/subgid, "name:first:count" lines; others are left out.
[[nodiscard]] std::vector<GroupRange> parse_subgid(std::string_view text);

/// Up to `most` numbers to be tried in this order: from `first` upwards, or, where that one does
/// not exist, from the end of the largest range downwards.
[[nodiscard]] std::vector<gid_t> group_candidates(const std::vector<GroupRange>& existing,
                                                  gid_t first, std::size_t most);

/// A group number that exists here and that no group entry, no /etc/subgid range and no live
/// process has. `wanted`: that one or an error that says who has it.
[[nodiscard]] base::Result<gid_t> choose_exempt_group(std::optional<gid_t> wanted);

/// Another such number, for a command that is to be told from all others by it.
[[nodiscard]] base::Result<gid_t> choose_scope_group(gid_t exempt);

/// Who uses group number `gid`: "the group adm", "a range in /etc/subgid", "process 77"; empty:
/// it is free. Walks the list of processes.
std::string group_number_in_use(gid_t gid);

/// Live processes that have it as real, effective, saved or supplementary group, as far as they can
/// be seen.
[[nodiscard]] std::vector<pid_t> processes_with_group(gid_t gid);

// Each system's own part of the above; false: errno says why.

/// No process may debug this one or read its memory, and it gains no rights by executing something,
/// where the system can promise that. EBUSY: one does already, see tracer().
[[nodiscard]] bool seal();
/// Who traces this process, for the reader of an error: "process 77 (truss)"; empty: nothing, or
/// unknown.
[[nodiscard]] std::string tracer();

}  // namespace divert
