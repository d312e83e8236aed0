// ptrace(2), setrlimit(2); processes are listed by sysctl(3).
#include <algorithm>
#include <cerrno>

#include <sys/resource.h>
#include <sys/sysctl.h>
#include <unistd.h>

#include "divert/process/privilege.h"

namespace divert {
namespace {

// <sys/ptrace.h>, which not every SDK has.
constexpr int kDenyAttach = 31;  // PT_DENY_ATTACH
extern "C" int ptrace(int request, pid_t pid, char* address, int data);

/// Processes that start between the two questions.
constexpr std::size_t kRoom = 64;

std::vector<kinfo_proc> processes() {
  int name[] = {CTL_KERN, KERN_PROC, KERN_PROC_ALL};
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

bool has_group(const kinfo_proc& process, gid_t gid) {
  const auto& real = process.kp_eproc.e_pcred;
  if (real.p_rgid == gid || real.p_svgid == gid) return true;
  // The first one is the effective group.
  const auto& effective = process.kp_eproc.e_ucred;
  const std::size_t count =
      std::clamp<std::size_t>(static_cast<std::size_t>(effective.cr_ngroups), 1, NGROUPS);
  return std::find(effective.cr_groups, effective.cr_groups + count, gid) !=
         effective.cr_groups + count;
}

}  // namespace

std::string tracer() {
  int name[] = {CTL_KERN, KERN_PROC, KERN_PROC_PID, ::getpid()};
  kinfo_proc self{};
  std::size_t size = sizeof self;
  if (::sysctl(name, 4, &self, &size, nullptr, 0) != 0 || size == 0) return {};
  return (self.kp_proc.p_flag & P_TRACED) != 0 ? "a debugger" : "";
}

/// A process that has changed its ids leaves no core and cannot be opened by its user (P_SUGID);
/// this keeps debuggers out as well. macOS cannot forbid a process to gain rights by execve(2): the
/// worker executes nothing. What is traced already would be ended by PT_DENY_ATTACH, without a
/// word.
bool seal() {
  if (!tracer().empty()) {
    errno = EBUSY;
    return false;
  }
  const rlimit none{0, 0};
  return ::setrlimit(RLIMIT_CORE, &none) == 0 && ptrace(kDenyAttach, 0, nullptr, 0) == 0;
}

std::vector<pid_t> processes_with_group(gid_t gid) {
  std::vector<pid_t> found;
  for (const auto& process : processes()) {
    if (has_group(process, gid)) found.push_back(process.kp_proc.p_pid);
  }
  return found;
}

}  // namespace divert
