// posix_spawn and three sockets. Standard input is a socket as well, because writing to a pipe
// whose reader has gone raises SIGPIPE, and there is no portable way of asking for less with a
// pipe.
#include "pfctl/run_program.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <optional>
#include <thread>

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"

namespace pfctl {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kMostOutput = 4 << 20;

struct Pair {
  base::UniqueFd ours;
  base::UniqueFd theirs;
};

// Above the standard three, whichever of those happen to be closed: else dup2() onto itself would
// leave close-on-exec set.
base::UniqueFd lifted(base::UniqueFd fd) {
  return base::UniqueFd(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 3));
}

std::optional<Pair> make_pair() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()) != 0) return {};
  Pair pair{lifted(base::UniqueFd(ends[0])), lifted(base::UniqueFd(ends[1]))};
  if (!pair.ours || !pair.theirs) return {};
  ::fcntl(pair.ours.get(), F_SETFL, O_NONBLOCK);
  return pair;
}

class SpawnActions {
 public:
  SpawnActions() { ::posix_spawn_file_actions_init(&actions_); }
  SpawnActions(const SpawnActions&) = delete;
  SpawnActions& operator=(const SpawnActions&) = delete;
  ~SpawnActions() { ::posix_spawn_file_actions_destroy(&actions_); }

  void give(const base::UniqueFd& fd, int as) {
    ::posix_spawn_file_actions_adddup2(&actions_, fd.get(), as);
  }
  [[nodiscard]] const posix_spawn_file_actions_t* get() const { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_{};
};

// No signal blocked or ignored, whatever we do with ours.
class SpawnAttributes {
 public:
  SpawnAttributes() {
    ::posix_spawnattr_init(&attributes_);
    sigset_t set;
    sigemptyset(&set);
    ::posix_spawnattr_setsigmask(&attributes_, &set);
    for (const int signal : {SIGPIPE, SIGINT, SIGTERM, SIGHUP, SIGCHLD}) sigaddset(&set, signal);
    ::posix_spawnattr_setsigdefault(&attributes_, &set);
    ::posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  }
  SpawnAttributes(const SpawnAttributes&) = delete;
  SpawnAttributes& operator=(const SpawnAttributes&) = delete;
  ~SpawnAttributes() { ::posix_spawnattr_destroy(&attributes_); }

  [[nodiscard]] const posix_spawnattr_t* get() const { return &attributes_; }

 private:
  posix_spawnattr_t attributes_{};
};

// A child that is killed and waited for when nobody has seen its end.
class Child {
 public:
  explicit Child(pid_t pid) : pid_(pid) {}
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }

  // Its exit code; empty: it has not ended by `deadline`.
  std::optional<int> wait_until(Clock::time_point deadline) {
    for (;;) {
      int status = 0;
      errno = 0;
      if (::waitpid(pid_, &status, WNOHANG) == pid_) {
        pid_ = 0;
        return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
      }
      if (errno == ECHILD) {
        // Somebody else of this process has waited for it: the number may be another process's by
        // now.
        pid_ = 0;
        return {};
      }
      if (Clock::now() >= deadline) return {};
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

 private:
  pid_t pid_;
};

// What can be written now; the rest stays in `input`. With nothing left, or nobody to read it, the
// end is closed.
void feed(base::UniqueFd& fd, std::string_view& input) {
  if (!input.empty()) {
    const ssize_t sent = ::send(fd.get(), input.data(), input.size(), base::kNoSignal);
    if (sent < 0 && (errno == EAGAIN || errno == EINTR)) return;
    input.remove_prefix(sent < 0 ? input.size() : static_cast<std::size_t>(sent));
  }
  if (input.empty()) fd.reset();
}

void drain(base::UniqueFd& fd, std::string& into) {
  std::array<char, 16 << 10> buffer;
  const ssize_t size = ::read(fd.get(), buffer.data(), buffer.size());
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (size <= 0) {
    fd.reset();
  } else {
    into.append(buffer.data(), static_cast<std::size_t>(size));
  }
}

}  // namespace

base::Result<Output> run_program(const std::vector<std::string>& argv, std::string_view input,
                                 std::chrono::milliseconds limit) {
  const auto deadline = Clock::now() + limit;
  auto in = make_pair();
  auto out = make_pair();
  auto err = make_pair();
  if (!in || !out || !err) return base::os_error("cannot run " + argv.front(), errno);
  SpawnActions actions;
  actions.give(in->theirs, 0);
  actions.give(out->theirs, 1);
  actions.give(err->theirs, 2);
  const SpawnAttributes attributes;
  std::vector<char*> arguments;
  for (const auto& each : argv) arguments.push_back(const_cast<char*>(each.c_str()));
  arguments.push_back(nullptr);
  std::string path = "PATH=/usr/bin:/bin:/usr/sbin:/sbin";
  std::string locale = "LC_ALL=C";
  std::array<char*, 3> environment{path.data(), locale.data(), nullptr};
  pid_t pid = 0;
  const int failed = ::posix_spawn(&pid, argv.front().c_str(), actions.get(), attributes.get(),
                                   arguments.data(), environment.data());
  if (failed != 0) return base::os_error("cannot run " + argv.front(), failed);
  Child child(pid);
  in->theirs.reset();
  out->theirs.reset();
  err->theirs.reset();

  Output output;
  while (out->ours || err->ours) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
    if (left.count() <= 0) break;
    // poll(2) skips negative descriptors: those that are closed.
    std::array<pollfd, 3> polled{
        {{in->ours.get(), POLLOUT, 0}, {out->ours.get(), POLLIN, 0}, {err->ours.get(), POLLIN, 0}}};
    if (::poll(polled.data(), polled.size(), static_cast<int>(left.count())) <= 0) continue;
    if (polled[0].revents != 0) feed(in->ours, input);
    if (polled[1].revents != 0) drain(out->ours, output.out);
    if (polled[2].revents != 0) drain(err->ours, output.err);
    if (output.out.size() + output.err.size() > kMostOutput) {
      return base::failure("{} wrote more than {} MiB; it was stopped", argv.front(),
                           kMostOutput >> 20);
    }
  }
  in->ours.reset();
  const auto status = child.wait_until(deadline);
  if (!status) {
    return base::failure("{} did not end within {} ms; it was stopped", argv.front(),
                         limit.count());
  }
  output.status = *status;
  return output;
}

}  // namespace pfctl
