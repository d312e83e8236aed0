// fork(2), and three sockets. Standard input is a socket as well, because writing to a pipe whose
// reader has gone raises SIGPIPE, and there is no portable way of asking for less with a pipe. Not
// posix_spawn(3): it can neither become another user nor close what is open on every system.
#include "base/subprocess.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <string_view>
#include <thread>

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/signals_blocked.h"

namespace base {
namespace {

using Clock = std::chrono::steady_clock;

/// Where the child keeps the pipe by which it reports a failure.
constexpr int kReport = STDERR_FILENO + 1;

struct Pair {
  UniqueFd ours;
  UniqueFd theirs;
};

/// Above the standard three, whichever of those happen to be closed: else dup2() onto itself would
/// leave close-on-exec set.
UniqueFd lifted(UniqueFd fd) {
  return UniqueFd(::fcntl(fd.get(), F_DUPFD_CLOEXEC, kReport));
}

std::optional<Pair> make_pair() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()) != 0) return {};
  Pair pair{lifted(UniqueFd(ends[0])), lifted(UniqueFd(ends[1]))};
  if (!pair.ours || !pair.theirs || !set_non_blocking(pair.ours.get())) return {};
  return pair;
}

struct Channels {
  Pair in, out, err;
  Pair report;  ///< errno of what failed between fork and execve; at its end the program runs
};

Result<Channels> make_channels() {
  auto in = make_pair();
  auto out = make_pair();
  auto err = make_pair();
  auto report = make_pair();
  if (!in || !out || !err || !report) return os_error("cannot make a socketpair", errno);
  return Channels{std::move(*in), std::move(*out), std::move(*err), std::move(*report)};
}

std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> list;
  for (const auto& text : texts) list.push_back(const_cast<char*>(text.c_str()));
  list.push_back(nullptr);
  return list;
}

/// In the child: no terminal to ask for a password on, no directory kept busy, none of our
/// descriptors but `report`. 0 or errno.
int settle(const Channels& channels, const Program& program, int& report) {
  ::setsid();
  ::umask(022);
  if (::chdir("/") != 0) return errno;
  const int err = (program.merge_errors ? channels.out : channels.err).theirs.get();
  if (::dup2(channels.in.theirs.get(), STDIN_FILENO) < 0 ||
      ::dup2(channels.out.theirs.get(), STDOUT_FILENO) < 0 || ::dup2(err, STDERR_FILENO) < 0)
    return errno;
  if (report != kReport && ::dup2(report, kReport) < 0) return errno;
  report = kReport;
  if (!set_close_on_exec(report)) return errno;
  close_from(report + 1);
  if (program.user && program.user->uid != ::geteuid()) {
    if (const auto became = become(*program.user); !became) return became.error().os_code;
  }
  restore_signals();
  return 0;
}

/// A child that is killed, with all that it started, unless its end was seen.
class Child {
 public:
  explicit Child(pid_t pid) : pid_(pid) {}
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    if (pid_ > 0) kill();
  }

  /// Its exit code; empty: it has not ended by `deadline`.
  std::optional<int> wait_until(Clock::time_point deadline) {
    for (;;) {
      int status = 0;
      errno = 0;
      if (::waitpid(pid_, &status, WNOHANG) == pid_) {
        pid_ = 0;
        return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
      }
      if (errno == ECHILD) {
        // Another part of this process has waited for it: the number may be another process's by
        // now.
        pid_ = 0;
        return {};
      }
      if (Clock::now() >= deadline) return {};
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

 private:
  void kill() const {
    ::kill(-pid_, SIGKILL);
    ::kill(pid_, SIGKILL);  // before its setsid(2) it has no group of its own
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }

  pid_t pid_;
};

/// Writes what can be written now; the rest stays in `input`. Closes the end when nothing is left
/// or the program has closed its own.
void feed(UniqueFd& fd, std::string_view& input) {
  if (!input.empty()) {
    const ssize_t sent = ::send(fd.get(), input.data(), input.size(), kNoSignal);
    if (sent < 0 && (errno == EAGAIN || errno == EINTR)) return;
    input.remove_prefix(sent < 0 ? input.size() : static_cast<std::size_t>(sent));
  }
  if (input.empty()) fd.reset();
}

void drain(UniqueFd& fd, std::string& into) {
  std::array<char, 16 << 10> buffer;
  const ssize_t size = ::read(fd.get(), buffer.data(), buffer.size());
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (size <= 0) {
    fd.reset();
  } else {
    into.append(buffer.data(), static_cast<std::size_t>(size));
  }
}

enum class Transfer : std::uint8_t { ended, timed_out, too_much };

/// Feeds and reads the program until it has closed its outputs.
Transfer transfer(Channels& channels, const Program& program, Clock::time_point deadline,
                  Finished& finished, std::string& report) {
  std::string_view input = program.input;
  UniqueFd& in = channels.in.ours;
  UniqueFd& out = channels.out.ours;
  UniqueFd& err = channels.err.ours;
  UniqueFd& failed = channels.report.ours;
  while (out || err) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
    if (left.count() <= 0) return Transfer::timed_out;
    // poll(2) skips negative descriptors: those that are closed.
    std::array<pollfd, 4> polled{{{in.get(), POLLOUT, 0},
                                  {out.get(), POLLIN, 0},
                                  {err.get(), POLLIN, 0},
                                  {failed.get(), POLLIN, 0}}};
    if (::poll(polled.data(), polled.size(), static_cast<int>(left.count())) <= 0) continue;
    if (polled[0].revents != 0) feed(in, input);
    if (polled[1].revents != 0) drain(out, finished.out);
    if (polled[2].revents != 0) drain(err, finished.err);
    if (polled[3].revents != 0) drain(failed, report);
    if (finished.out.size() + finished.err.size() > program.output_limit) return Transfer::too_much;
  }
  while (failed) {
    pollfd polled{failed.get(), POLLIN, 0};
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
    if (left.count() <= 0 || ::poll(&polled, 1, static_cast<int>(left.count())) == 0) break;
    drain(failed, report);
  }
  in.reset();
  return Transfer::ended;
}

std::string as_text(std::chrono::milliseconds time) {
  return time.count() % 1000 == 0 ? fmt::format("{} s", time.count() / 1000)
                                  : fmt::format("{} ms", time.count());
}

/// `body` runs in a child whose streams are in place; what it returns is an errno, unless it does
/// not return. `program` has the limits.
template <class Body>
Result<Finished> run_child(const Program& program, std::string_view name, Body body) {
  const auto deadline = Clock::now() + program.time_limit;
  auto channels = make_channels();
  if (!channels) return channels.error();
  pid_t pid = 0;
  {
    // None is handled by our handlers in the child.
    const SignalsBlocked across_fork;
    pid = ::fork();
    if (pid == 0) {
      int report = channels->report.theirs.get();
      int code = settle(*channels, program, report);
      if (code == 0) code = body();
      (void)!::write(report, &code, sizeof code);
      ::_exit(127);
    }
  }
  if (pid < 0) return os_error(fmt::format("cannot run {}", name), errno);
  Child child(pid);
  for (Pair* pair : {&channels->in, &channels->out, &channels->err, &channels->report})
    pair->theirs.reset();
  Finished finished;
  std::string report;
  const Transfer end = transfer(*channels, program, deadline, finished, report);
  if (report.size() == sizeof(int)) {
    int code = 0;
    report.copy(reinterpret_cast<char*>(&code), sizeof code);
    return os_error(program.user ? fmt::format("cannot run {} as user {}", name, program.user->uid)
                                 : fmt::format("cannot run {}", name),
                    code);
  }
  if (end == Transfer::too_much)
    return failure("{} wrote more than {} MiB; it was stopped", name, program.output_limit >> 20);
  const auto status = end == Transfer::ended ? child.wait_until(deadline) : std::nullopt;
  if (!status && !program.keep_partial_output)
    return failure("{} did not end within {}; it was stopped", name, as_text(program.time_limit));
  finished.status = status.value_or(128 + SIGKILL);
  return finished;
}

}  // namespace

Result<Finished> run(const Program& program) {
  const std::vector<char*> arguments = pointers(program.arguments);
  const std::vector<char*> environment = pointers(program.environment);
  return run_child(program, program.arguments.front(), [&] {
    ::execve(arguments.front(), arguments.data(), environment.data());
    return errno;
  });
}

Result<std::string> run_as(const User& user, const std::function<std::string()>& body) {
  if (::geteuid() == user.uid) return body();
  Program limits;
  limits.user = user;
  const std::string name = "a look into " + user.home;
  auto finished = run_child(limits, name, [&]() -> int {
    const bool written = write_all(STDOUT_FILENO, body()).has_value();
    ::_exit(written ? 0 : 1);
  });
  if (!finished) return finished.error();
  if (finished->status != 0) return failure("cannot look into {} as user {}", user.home, user.uid);
  return std::move(finished->out);
}

void restore_signals() {
  for (int number = 1; number < NSIG; ++number) ::signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
}

}  // namespace base
