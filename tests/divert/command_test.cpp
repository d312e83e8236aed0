#include "divert/process/command.h"

#include <algorithm>
#include <filesystem>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/test.h"

using namespace divert;

namespace {

Command command_of(std::vector<std::string> argv) {
  Command command;
  command.argv = std::move(argv);
  command.user = *base::user_named("nobody");
  command.cgroup = *make_cgroup(::getpid(), 0);
  return command;
}

}  // namespace

TEST_CASE("capture: on macOS exec says what launchd's services do for an app") {
  const struct {
    std::vector<std::string> argv;
    const char* system;
    const char* said;
  } cases[] = {
      {{"/Applications/Safari.app/Contents/MacOS/Safari"}, "darwin", "WebKit's networking"},
      {{"open", "-a", "Safari"}, "darwin", "what it has launchd start"},
      {{"/usr/bin/open", "https://example.org"}, "darwin", "what it has launchd start"},
      {{"curl", "https://example.org/x.app/y"}, "darwin", ""},
      {{"/opt/reopen"}, "darwin", ""},
      {{"open"}, "freebsd", ""},
      {{"open"}, "nft", ""},
      {{}, "darwin", ""},
  };
  for (const auto& each : cases) {
    const auto caution = divert::caution_on_services(each.argv, each.system);
    CHECK(caution.empty() == (each.said == std::string_view()));
    CHECK(caution.find(each.said) != std::string::npos);
  }
}

TEST_CASE("capture: CMD runs in its cgroup, as its user, only once it is let go") {
  const Command command = command_of({"sleep", "30"});
  REQUIRE_FALSE(command.cgroup.name.empty());
  auto held = HeldCommand::start(command);
  REQUIRE(held.has_value());
  REQUIRE(held->release().has_value());
  const auto inside = processes_in(command.cgroup);
  CHECK(std::ranges::find(inside, held->pid()) != inside.end());
  const auto status = base::read_file("/proc/" + std::to_string(held->pid()) + "/status");
  REQUIRE(status.has_value());
  CHECK(status->find("Uid:\t65534\t65534\t65534\t65534") != std::string::npos);
  CHECK(::getpgid(held->pid()) == held->pid());
  ::kill(held->pid(), SIGKILL);
  ::waitpid(held->pid(), nullptr, 0);
  CHECK(remove_cgroup(command.cgroup.name));
}

TEST_CASE("capture: CMD never runs when whoever holds it ends without letting it go") {
  const std::string marker = fmt::format("/tmp/osproxy-capture-test-{}", ::getpid());
  Command command = command_of({"touch", marker});
  {
    auto held = HeldCommand::start(command);
    REQUIRE(held.has_value());
    // Nothing but the standard streams, its gate and its report.
    const auto open = [&] {
      const std::filesystem::directory_iterator all{fmt::format("/proc/{}/fd", held->pid())};
      return std::distance(begin(all), end(all));
    };
    // On its way to its gate it opens and closes others.
    int quiet = 0;
    for (int i = 0; i < 1000 && quiet < 20; ++i, ::usleep(5000))
      quiet = open() <= 5 ? quiet + 1 : 0;
    CHECK(quiet == 20);
    const pid_t pid = held->pid();
    { const HeldCommand gone = std::move(*held); }
    int status = 0;
    REQUIRE(::waitpid(pid, &status, 0) == pid);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 127);
  }
  CHECK_FALSE(std::filesystem::exists(marker));
  CHECK(remove_cgroup(command.cgroup.name));
}

TEST_CASE("capture: the environment is the user's, sudo's traces are gone") {
  ::setenv("SUDO_UID", "0", 1);
  Command command = command_of(
      {"sh", "-c", "test -z \"$SUDO_UID\" && test \"$USER\" = nobody && test \"$X\" = y"});
  command.environment = {{"X", "y"}};
  auto held = HeldCommand::start(command);
  REQUIRE(held.has_value());
  REQUIRE(held->release().has_value());
  int status = -1;
  REQUIRE(::waitpid(held->pid(), &status, 0) == held->pid());
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  ::unsetenv("SUDO_UID");
  CHECK(remove_cgroup(command.cgroup.name));
}

TEST_CASE("capture: a command that cannot run says why") {
  ::setenv("PATH", "/usr/bin:/bin", 1);
  const struct {
    const char *name, *text;
  } cases[] = {{"osproxy-no-such-command",
                "cannot run 'osproxy-no-such-command': No such file or directory"},
               {"/etc/passwd", "cannot run '/etc/passwd': Permission denied"}};
  for (const auto& c : cases) {
    const Command command = command_of({c.name});
    auto held = HeldCommand::start(command);
    REQUIRE(held.has_value());
    const auto released = held->release();
    REQUIRE_FALSE(released.has_value());
    CHECK(released.error().text == c.text);
    ::waitpid(held->pid(), nullptr, 0);
    CHECK(remove_cgroup(command.cgroup.name));
  }
}

TEST_CASE("capture: a cgroup in which something still runs is emptied, then removed") {
  const Command command = command_of({"sleep", "30"});
  auto held = HeldCommand::start(command);
  REQUIRE(held.has_value());
  REQUIRE(held->release().has_value());
  CHECK(remove_cgroup(command.cgroup.name));
  CHECK(::kill(held->pid(), 0) == 0);
  ::kill(held->pid(), SIGKILL);
  ::waitpid(held->pid(), nullptr, 0);
  CHECK_FALSE(remove_cgroup(command.cgroup.name));
}

TEST_CASE(
    "capture: CMD has the group that is to tell it from others, and the user's own beside it") {
  Command command = command_of({"sh", "-c", "test \"$(id -g)\" = 77778 && id -G | grep -qw 65534"});
  command.cgroup.gid = 77'778;
  auto held = HeldCommand::start(command);
  REQUIRE(held.has_value());
  REQUIRE(held->release().has_value());
  int status = -1;
  REQUIRE(::waitpid(held->pid(), &status, 0) == held->pid());
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  CHECK(remove_cgroup(command.cgroup.name));
}

TEST_CASE("capture: a signal that comes while CMD waits for its gate ends it once it is let go") {
  const Command command = command_of({"sleep", "30"});
  auto held = HeldCommand::start(command);
  REQUIRE(held.has_value());
  ::kill(held->pid(), SIGTERM);
  (void)held->release();
  int status = -1;
  REQUIRE(::waitpid(held->pid(), &status, 0) == held->pid());
  CHECK(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGTERM);
  CHECK(remove_cgroup(command.cgroup.name));
}
