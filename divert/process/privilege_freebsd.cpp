// procctl(2); processes are listed by sysctl(3).
#include <algorithm>
#include <cerrno>
#include <optional>

#include <sys/param.h>
#include <sys/procctl.h>
#include <sys/resource.h>
#include <sys/sysctl.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/text.h"
#include "divert/process/privilege.h"

namespace divert {
namespace {

/// Processes that start between the two questions.
constexpr std::size_t kRoom = 64;

std::vector<kinfo_proc> processes() {
  int name[] = {CTL_KERN, KERN_PROC, KERN_PROC_PROC};
  // A list that has outgrown the room is asked for again.
  for (int tries = 0; tries < 5; ++tries) {
    std::size_t size = 0;
    if (::sysctl(name, 3, nullptr, &size, nullptr, 0) != 0) return {};
    std::vector<kinfo_proc> list(size / sizeof(kinfo_proc) + kRoom);
    size = list.size() * sizeof(kinfo_proc);
    if (::sysctl(name, 3, list.data(), &size, nullptr, 0) == 0) {
      list.resize(size / sizeof(kinfo_proc));
      return list;
    }
    if (errno != ENOMEM) return {};
  }
  return {};
}

/// Empty: there is no such process.
std::optional<kinfo_proc> process(pid_t pid) {
  int name[] = {CTL_KERN, KERN_PROC, KERN_PROC_PID, pid};
  kinfo_proc found{};
  std::size_t size = sizeof found;
  if (::sysctl(name, 4, &found, &size, nullptr, 0) != 0 || size != sizeof found) return {};
  return found;
}

bool has_group(const kinfo_proc& process, gid_t gid) {
  if (process.ki_rgid == gid || process.ki_svgid == gid) return true;
  // The first one is the effective group.
  const auto count =
      std::clamp<std::size_t>(static_cast<std::size_t>(process.ki_ngroups), 1, KI_NGROUPS);
  return std::find(process.ki_groups, process.ki_groups + count, gid) != process.ki_groups + count;
}

}  // namespace

bool seal() {
  int untraceable = PROC_TRACE_CTL_DISABLE;
  if (::procctl(P_PID, ::getpid(), PROC_TRACE_CTL, &untraceable) != 0) return false;
#ifdef PROC_NO_NEW_PRIVS_CTL
  // EINVAL: a kernel that is older than this program. The worker executes nothing.
  int no_new_rights = PROC_NO_NEW_PRIVS_ENABLE;
  if (::procctl(P_PID, ::getpid(), PROC_NO_NEW_PRIVS_CTL, &no_new_rights) != 0 && errno != EINVAL)
    return false;
#endif
  return true;
}

/// Those that ptrace(2) has attached (truss, debuggers), and ktrace(1), which has no process.
std::string tracer() {
  const auto self = process(::getpid());
  if (!self) return {};
  if (self->ki_tracer != 0) {
    const auto other = process(self->ki_tracer);
    return fmt::format("process {} ({})", self->ki_tracer,
                       other ? base::printable(other->ki_comm) : "gone");
  }
  return self->ki_traceflag != 0 ? "ktrace" : "";
}

std::vector<pid_t> processes_with_group(gid_t gid) {
  std::vector<pid_t> found;
  for (const auto& process : processes()) {
    if (has_group(process, gid)) found.push_back(process.ki_pid);
  }
  return found;
}

}  // namespace divert
