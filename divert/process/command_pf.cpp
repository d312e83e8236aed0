// pf knows no cgroups: a group number of its own distinguishes a command from all others.
#include "divert/process/command.h"
#include "divert/process/privilege.h"

namespace divert {

base::Result<Cgroup> make_cgroup(pid_t /*owner*/, gid_t exempt) {
  const auto gid = choose_scope_group(exempt);
  if (!gid) return gid.error();
  Cgroup cgroup;
  cgroup.gid = *gid;
  return cgroup;
}

/// A number need not be given back.
bool remove_cgroup(const std::string& /*name*/) {
  return false;
}

std::vector<pid_t> processes_in(const Cgroup& cgroup) {
  return cgroup.gid ? processes_with_group(*cgroup.gid) : std::vector<pid_t>{};
}

int enter(const Cgroup& /*cgroup*/) {
  return 0;
}

}  // namespace divert
