// Linux: cgroup v2 by its file system, the rest by POSIX.
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "divert/capture.h"

namespace divert {
namespace {

/// cgroup v2 where /proc/self/mounts has it: /sys/fs/cgroup, or /sys/fs/cgroup/unified beside version 1.
base::UniqueFd open_mounted_root() {
  std::ifstream mounts{"/proc/self/mounts"};
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream words{line};
    std::string device, where, type;
    words >> device >> where >> type;
    if (type == "cgroup2") return base::UniqueFd{::open(where.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  }
  return {};
}

/// The root directory of cgroup v2. A mount of our own, visible to nobody, comes first: `ip netns exec` and
/// some containers hide the usual one.
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

void set_environment(const Command& command) {
  for (const char* name : {"SUDO_USER", "SUDO_UID", "SUDO_GID", "SUDO_COMMAND", "SUDO_HOME", "DOAS_USER"})
    ::unsetenv(name);
  ::setenv("HOME", command.user.home.c_str(), 1);
  ::setenv("USER", command.user.name.c_str(), 1);
  ::setenv("LOGNAME", command.user.name.c_str(), 1);
  if (!command.user.shell.empty()) ::setenv("SHELL", command.user.shell.c_str(), 1);
  for (const auto& [name, value] : command.environment) ::setenv(name.c_str(), value.c_str(), 1);
}

void restore_signals() {
  for (int number = 1; number < NSIG; ++number) ::signal(number, SIG_DFL);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

/// In the child, from fork to execve. Writes errno to `report` and ends when anything fails.
[[noreturn]] void run_child(const Command& command, int gate, int report) {
  const auto give_up = [report](int code) {
    (void)!::write(report, &code, sizeof code);
    ::_exit(127);
  };
  ::setpgid(0, 0);
  if (!command.cgroup.name.empty() &&
      !write_pid(open_root(), command.cgroup.name + "/cgroup.procs", ::getpid())) {
    give_up(errno);
  }
  char letter = 0;
  while (::read(gate, &letter, 1) < 0 && errno == EINTR) {
  }
  set_environment(command);
  if (const auto became = become(command.user); !became) give_up(became.error().os_code);
  restore_signals();
  std::vector<char*> argv;
  for (const auto& word : command.argv) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  ::execvp(argv[0], argv.data());
  give_up(errno);
  std::abort();
}

}  // namespace

base::Result<Cgroup> make_cgroup(pid_t owner) {
  const base::UniqueFd root = open_root();
  if (!root) return Cgroup{};
  Cgroup cgroup{fmt::format("osproxy-{}", owner), 0, 1};
  struct stat facts {};
  if (::mkdirat(root.get(), cgroup.name.c_str(), 0755) != 0 ||
      ::fstatat(root.get(), cgroup.name.c_str(), &facts, 0) != 0) {
    return base::os_error(fmt::format("cannot make the cgroup {}", cgroup.name), errno);
  }
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

base::Result<HeldCommand> HeldCommand::start(const Command& command) {
  int gate[2];
  int report[2];
  if (::pipe2(gate, O_CLOEXEC) != 0) return base::os_error("cannot make a pipe", errno);
  base::UniqueFd gate_in{gate[0]}, gate_out{gate[1]};
  if (::pipe2(report, O_CLOEXEC) != 0) return base::os_error("cannot make a pipe", errno);
  base::UniqueFd report_in{report[0]}, report_out{report[1]};
  const pid_t pid = ::fork();
  if (pid < 0) return base::os_error("cannot start a process", errno);
  if (pid == 0) {
    gate_out.reset();
    run_child(command, gate_in.get(), report_out.get());
  }
  ::setpgid(pid, pid);
  HeldCommand held;
  held.pid_ = pid;
  held.gate_ = std::move(gate_out);
  held.report_ = std::move(report_in);
  held.name_ = command.argv.front();
  return held;
}

base::Result<> HeldCommand::release() {
  gate_.reset();
  int code = 0;
  ssize_t n = 0;
  while ((n = ::read(report_.get(), &code, sizeof code)) < 0 && errno == EINTR) {
  }
  if (n == sizeof code) return base::os_error(fmt::format("cannot run '{}'", name_), code);
  return {};
}

}  // namespace divert
