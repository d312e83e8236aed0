// Starting the command of `exec`; by POSIX.
#include "divert/process/command.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include <fmt/format.h>
#include <unistd.h>

#include "base/signals_blocked.h"
#include "base/subprocess.h"

namespace divert {
namespace {

void set_environment(const Command& command) {
  for (const char* name :
       {"SUDO_USER", "SUDO_UID", "SUDO_GID", "SUDO_COMMAND", "SUDO_HOME", "DOAS_USER"})
    ::unsetenv(name);
  ::setenv("HOME", command.user.home.c_str(), 1);
  ::setenv("USER", command.user.name.c_str(), 1);
  ::setenv("LOGNAME", command.user.name.c_str(), 1);
  if (!command.user.shell.empty()) ::setenv("SHELL", command.user.shell.c_str(), 1);
  for (const auto& [name, value] : command.environment) ::setenv(name.c_str(), value.c_str(), 1);
}

/// Nothing of the broker's is held meanwhile: the guard listens for its last writer.
void close_all_but(int one, int other) {
  const auto [low, high] = std::minmax(one, other);
  for (int fd = STDERR_FILENO + 1; fd < high; ++fd) {
    if (fd != low) ::close(fd);
  }
  base::close_from(high + 1);
}

/// In the child, from fork to execve. Writes errno to `report` and ends when anything fails.
[[noreturn]] void run_child(const Command& command, int gate, int report) {
  const auto give_up = [report](int code) {
    (void)!::write(report, &code, sizeof code);
    ::_exit(127);
  };
  ::setpgid(0, 0);
  close_all_but(gate, report);
  if (command.stdout_to_stderr && ::dup2(STDERR_FILENO, STDOUT_FILENO) < 0) give_up(errno);
  if (const int error = enter(command.cgroup)) give_up(error);
  // The end of the stream instead of a letter: the broker has died, and no rule is in force.
  char letter = 0;
  ssize_t n = 0;
  while ((n = ::read(gate, &letter, 1)) < 0 && errno == EINTR) {
  }
  if (n != 1) ::_exit(127);
  if (command.descriptors) ::setrlimit(RLIMIT_NOFILE, &*command.descriptors);
  set_environment(command);
  if (const auto became = base::become(command.user, command.cgroup.gid); !became)
    give_up(became.error().os_code);
  base::restore_signals();
  std::vector<char*> argv;
  for (const auto& word : command.argv) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  ::execvp(argv[0], argv.data());
  give_up(errno);
  std::abort();
}

}  // namespace

base::Result<HeldCommand> HeldCommand::start(const Command& command) {
  auto gate = base::make_pipe(base::Blocking::yes);
  if (!gate) return gate.error();
  auto report = base::make_pipe(base::Blocking::yes);
  if (!report) return report.error();
  const base::SignalsBlocked across_fork;
  const pid_t pid = ::fork();
  if (pid < 0) return base::os_error("cannot start a process", errno);
  if (pid == 0) {
    gate->in.reset();
    run_child(command, gate->out.get(), report->in.get());
  }
  ::setpgid(pid, pid);
  HeldCommand held;
  held.pid_ = pid;
  held.gate_ = std::move(gate->in);
  held.report_ = std::move(report->out);
  held.name_ = command.argv.front();
  held.hint_not_found_ = command.hint_not_found;
  return held;
}

base::Result<> HeldCommand::release() {
  (void)!::write(gate_.get(), "g", 1);
  gate_.reset();
  int code = 0;
  ssize_t n = 0;
  while ((n = ::read(report_.get(), &code, sizeof code)) < 0 && errno == EINTR) {
  }
  if (n != sizeof code) return {};
  auto error = base::os_error(fmt::format("cannot run '{}'", name_), code);
  if (code == ENOENT && !hint_not_found_.empty()) error.text += "; " + hint_not_found_;
  return error;
}

std::string caution_on_services(const std::vector<std::string>& argv, std::string_view system) {
  if (system != "darwin" || argv.empty()) return {};
  const std::string& program = argv.front();
  const bool opens = program == "open" || program.ends_with("/open");
  if (!opens && program.find(".app/") == std::string::npos) return {};
  return fmt::format(
      "{}: {} is not captured, for it does not have the command's group; `osproxy run` with a "
      "filter that names it sees it",
      program,
      opens ? "what it has launchd start"
            : "what launchd's services (WebKit's networking, nsurlsessiond) do for an app");
}

}  // namespace divert
