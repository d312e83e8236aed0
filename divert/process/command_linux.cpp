// cgroup v2 by its file system.
#include <cerrno>
#include <fstream>
#include <sstream>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "divert/process/command.h"

namespace divert {
namespace {

/// cgroup v2 where /proc/self/mounts has it: /sys/fs/cgroup, or /sys/fs/cgroup/unified beside
/// version 1.
base::UniqueFd open_mounted_root() {
  std::ifstream mounts{"/proc/self/mounts"};
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream words{line};
    std::string device, where, type;
    words >> device >> where >> type;
    if (type == "cgroup2")
      return base::UniqueFd{::open(where.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  }
  return {};
}

/// The root directory of cgroup v2. A mount of our own, which no other process sees, comes first:
/// `ip netns exec` and some containers hide the usual one.
base::UniqueFd open_root() {
  const base::UniqueFd context{::fsopen("cgroup2", FSOPEN_CLOEXEC)};
  if (context && ::fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) == 0) {
    base::UniqueFd root{::fsmount(context.get(), FSMOUNT_CLOEXEC, 0)};
    if (root) return root;
  }
  return open_mounted_root();
}

/// Bytes of cgroup.procs: a pid a line.
std::vector<pid_t> pids_in(const base::UniqueFd& root, const std::string& name) {
  const auto path = fmt::format("/proc/self/fd/{}/{}/cgroup.procs", root.get(), name);
  std::ifstream file{path};
  std::vector<pid_t> pids;
  for (pid_t pid = 0; file >> pid;) pids.push_back(pid);
  return pids;
}

bool write_pid(const base::UniqueFd& root, const std::string& procs, pid_t pid) {
  const base::UniqueFd fd{::openat(root.get(), procs.c_str(), O_WRONLY | O_CLOEXEC)};
  return fd && base::write_all(fd.get(), std::to_string(pid)).has_value();
}

bool make_directory(const base::UniqueFd& root, const std::string& name) {
  if (::mkdirat(root.get(), name.c_str(), 0755) == 0) return true;
  // EEXIST: of an osproxy that was killed and had the same pid.
  return errno == EEXIST && remove_cgroup(name) && ::mkdirat(root.get(), name.c_str(), 0755) == 0;
}

Cgroup without(std::string why) {
  Cgroup none;
  none.why = std::move(why);
  return none;
}

}  // namespace

base::Result<Cgroup> make_cgroup(pid_t owner, gid_t /*exempt*/) {
  const base::UniqueFd root = open_root();
  if (!root) return without("this machine has no cgroup v2");
  Cgroup cgroup;
  cgroup.name = fmt::format("osproxy-{}", owner);
  cgroup.level = 1;
  struct stat facts {};
  if (!make_directory(root, cgroup.name) ||
      ::fstatat(root.get(), cgroup.name.c_str(), &facts, 0) != 0)
    return without(
        base::os_error(fmt::format("cannot make the cgroup {}", cgroup.name), errno).text);
  cgroup.id = facts.st_ino;
  return cgroup;
}

bool remove_cgroup(const std::string& name) {
  const base::UniqueFd root = open_root();
  if (!root) return false;
  for (const pid_t pid : pids_in(root, name)) write_pid(root, "cgroup.procs", pid);
  // A process that is just ending keeps the directory busy for a moment.
  for (int tries = 0; tries < 50; ++tries) {
    if (::unlinkat(root.get(), name.c_str(), AT_REMOVEDIR) == 0) return true;
    if (errno != EBUSY) return false;
    ::usleep(10'000);
  }
  return false;
}

std::vector<pid_t> processes_in(const Cgroup& cgroup) {
  return cgroup.name.empty() ? std::vector<pid_t>{} : pids_in(open_root(), cgroup.name);
}

int enter(const Cgroup& cgroup) {
  if (cgroup.name.empty()) return 0;
  return write_pid(open_root(), cgroup.name + "/cgroup.procs", ::getpid()) ? 0 : errno;
}

}  // namespace divert
