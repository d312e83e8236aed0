// Trust stores are changed by their own tools. These run with an argument list and a short
// environment, and on a user's files with that user's ids, so that no link in a home directory can
// make root write elsewhere.
#include "mitm/trust/program.h"

#include <array>
#include <cerrno>
#include <csignal>

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/text.h"

namespace mitm::trust {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kInputLimit = 32 << 10;  ///< fits a pipe: written before the child is there
constexpr std::size_t kOutputLimit = 1 << 20;
constexpr const char* kPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
constexpr std::array kDirectories = {"/usr/local/sbin", "/usr/local/bin", "/usr/sbin",
                                     "/usr/bin",        "/sbin",          "/bin"};

/// In the child. Supplementary groups go first, the user id last: after it the others could not be
/// changed.
bool become(const StoreUser& user) {
  if (::geteuid() == user.uid) return true;
  const gid_t group = user.gid;
  return ::setgroups(1, &group) == 0 && ::setgid(user.gid) == 0 && ::setuid(user.uid) == 0;
}

/// In the child: no terminal to ask for a password on, no directory kept busy, signals as in a new
/// login.
bool settle(const StoreUser& user, int input, int output) {
  ::setsid();
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  for (const int number : {SIGPIPE, SIGINT, SIGTERM, SIGHUP, SIGCHLD}) ::signal(number, SIG_DFL);
  ::umask(022);
  return become(user) && ::chdir("/") == 0 && ::dup2(input, 0) == 0 && ::dup2(output, 1) == 1 &&
         ::dup2(output, 2) == 2;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> list;
  for (std::string& text : texts) list.push_back(text.data());
  list.push_back(nullptr);
  return list;
}

/// False when the deadline came first.
bool read_until_end(int fd, Clock::time_point deadline, std::string& output) {
  char block[4096];
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) return false;
    pollfd ready{fd, POLLIN, 0};
    const int count = ::poll(&ready, 1, static_cast<int>(left));
    if (count < 0 && errno != EINTR) return true;
    if (count <= 0) continue;
    const ssize_t size = ::read(fd, block, sizeof block);
    if (size == 0 || (size < 0 && errno != EINTR)) return true;
    if (size > 0 && output.size() < kOutputLimit)
      output.append(block, static_cast<std::size_t>(size));
  }
}

int wait_for(pid_t child) {
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/// `body` runs in a child with stdin, stdout and stderr in place; it does not return.
template <class Body>
base::Result<Finished> run_child(const StoreUser& user, std::string_view input,
                                 std::chrono::seconds limit, std::string_view name, Body body) {
  auto to_child = base::make_pipe(base::Blocking::yes);
  auto from_child = base::make_pipe(base::Blocking::yes);
  if (!to_child) return to_child.error();
  if (!from_child) return from_child.error();
  if (input.size() > kInputLimit)
    return base::failure("{}: more than {} bytes of input", name, kInputLimit);
  if (auto fed = base::write_all(to_child->in.get(), input); !fed) return fed.error();
  to_child->in.reset();
  const pid_t child = ::fork();
  if (child < 0) return base::os_error(fmt::format("cannot run {}", name), errno);
  if (child == 0) {
    if (settle(user, to_child->out.get(), from_child->in.get())) body();
    ::_exit(127);
  }
  from_child->in.reset();
  Finished finished;
  const bool ended = read_until_end(from_child->out.get(), Clock::now() + limit, finished.output);
  if (!ended) ::kill(-child, SIGKILL);
  if (!ended) ::kill(child, SIGKILL);  // before its setsid it has no group of its own
  finished.status = wait_for(child);
  if (!ended) return base::failure("{} did not end within {} seconds", name, limit.count());
  return finished;
}

}  // namespace

base::Result<Finished> run(const Program& program, const StoreUser& user) {
  std::vector<std::string> arguments = program.arguments;
  std::vector<std::string> environment = {fmt::format("PATH={}", kPath), "LANG=C", "LC_ALL=C",
                                          fmt::format("HOME={}", user.home),
                                          fmt::format("USER={}", user.name)};
  const std::vector<char*> argv = pointers(arguments);
  const std::vector<char*> envp = pointers(environment);
  auto finished = run_child(user, program.input, program.limit, arguments.front(),
                            [&] { ::execve(argv[0], argv.data(), envp.data()); });
  if (finished && finished->status == 127 && finished->output.empty()) {
    return base::failure("cannot run {} as user {}", arguments.front(), user.uid);
  }
  return finished;
}

base::Result<std::string> run_as(const StoreUser& user, const std::function<std::string()>& body) {
  if (::geteuid() == user.uid) return body();
  auto finished = run_child(user, {}, std::chrono::seconds{20}, "a look into " + user.home, [&] {
    const bool written = base::write_all(1, body()).has_value();
    ::_exit(written ? 0 : 1);
  });
  if (!finished) return finished.error();
  if (finished->status != 0)
    return base::failure("cannot look into {} as user {}", user.home, user.uid);
  return std::move(finished->output);
}

std::string find_program(std::string_view name) {
  for (const char* directory : kDirectories) {
    const std::string path = fmt::format("{}/{}", directory, name);
    struct stat facts {};
    if (::stat(path.c_str(), &facts) == 0 && S_ISREG(facts.st_mode) && (facts.st_mode & 0111) != 0)
      return path;
  }
  return {};
}

std::string install_command(const PackageNames& names) {
  if (!find_program("apt-get").empty()) return fmt::format("apt install {}", names.debian);
  if (!find_program("dnf").empty()) return fmt::format("dnf install {}", names.fedora);
  if (!find_program("pacman").empty()) return fmt::format("pacman -S {}", names.arch);
  if (!find_program("zypper").empty()) return fmt::format("zypper install {}", names.suse);
  if (!find_program("pkg").empty()) return fmt::format("pkg install {}", names.freebsd);
  // macOS itself has sw_vers, and Homebrew is not where root looks for programs.
  if (!find_program("sw_vers").empty()) return fmt::format("brew install {}", names.homebrew);
  return fmt::format("install the package {}", names.debian);
}

base::Error program_error(std::string_view name, const Finished& finished) {
  std::string_view output = finished.output;
  while (!output.empty() && (output.back() == '\n' || output.back() == ' '))
    output.remove_suffix(1);
  output.remove_prefix(output.find_last_of('\n') == output.npos ? 0
                                                                : output.find_last_of('\n') + 1);
  if (output.empty()) return base::failure("{} failed (exit {})", name, finished.status);
  return base::failure("{} failed (exit {}): {}", name, finished.status, base::printable(output));
}

StoreUser nobody_else() {
  // root's home is not /root everywhere, and security(1) looks for a user's settings in it.
  const passwd* entry = ::getpwuid(::geteuid());
  if (entry == nullptr) return {::geteuid(), ::getegid(), "", "/"};
  return {::geteuid(), ::getegid(), entry->pw_name, entry->pw_dir};
}

}  // namespace mitm::trust
