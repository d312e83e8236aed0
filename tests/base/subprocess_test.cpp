// Programs as they run for us: their streams, ids, environment, and what becomes of one that hangs.
#include "base/subprocess.h"

#include <cerrno>
#include <chrono>
#include <string>
#include <thread>

#include <unistd.h>

#include "tests/test.h"

using namespace std::chrono_literals;

namespace {

const base::User kNobody{65534, 65534, "nobody", "/nonexistent", ""};

base::Result<base::Finished> run(std::vector<std::string> arguments, std::string input = {},
                                 std::chrono::milliseconds limit = 20s) {
  base::Program program;
  program.arguments = std::move(arguments);
  program.input = std::move(input);
  program.time_limit = limit;
  return base::run(program);
}

}  // namespace

TEST_CASE("subprocess: input, output, error output and status") {
  const auto ran = run({"/bin/sh", "-c", "cat; echo oops >&2; exit 3"}, "hello\n");
  REQUIRE(ran.has_value());
  CHECK(ran->out == "hello\n");
  CHECK(ran->err == "oops\n");
  CHECK(ran->status == 3);
}

TEST_CASE("subprocess: more than any buffer holds, both ways at once") {
  const std::string much(3 << 20, 'x');
  const auto ran = run({"/bin/cat"}, much);
  REQUIRE(ran.has_value());
  CHECK(ran->out == much);
  CHECK(ran->status == 0);
}

TEST_CASE("subprocess: arguments are passed as they are") {
  const auto ran = run({"/usr/bin/printf", "%s|", "a b", "$HOME;x", "", "*"}, "");
  REQUIRE(ran.has_value());
  CHECK(ran->out == "a b|$HOME;x||*|");
}

TEST_CASE("subprocess: a program that does not read its input") {
  const auto ran = run({"/bin/true"}, std::string(3 << 20, 'x'));
  REQUIRE(ran.has_value());
  CHECK(ran->status == 0);
}

TEST_CASE("subprocess: gets two variables, whatever the environment") {
  const auto variables = run({"/usr/bin/env"}, "");
  REQUIRE(variables.has_value());
  CHECK(variables->out == "PATH=/usr/bin:/bin:/usr/sbin:/sbin\nLC_ALL=C\n");
}

TEST_CASE("subprocess: time limit, also for one that closes its output or leaves a child") {
  constexpr const char* kScripts[] = {"exec sleep 60", "exec sleep 60 <&- >&- 2>&-",
                                      "sleep 3 & exec sleep 60"};
  for (const char* script : kScripts) {
    CAPTURE(script);
    const auto start = std::chrono::steady_clock::now();
    const auto ran = run({"/bin/sh", "-c", script}, "", 200ms);
    REQUIRE(!ran.has_value());
    CHECK(ran.error().text == "/bin/sh did not end within 200 ms; it was stopped");
    CHECK(std::chrono::steady_clock::now() - start < 2s);
  }
}

TEST_CASE("subprocess: what cannot be run, what is killed, what never stops writing") {
  const auto missing = run({"/nonexistent/pfctl", "-e"}, "");
  REQUIRE(!missing.has_value());
  CHECK(missing.error().os_code == ENOENT);
  CHECK(missing.error().text.find("/nonexistent/pfctl") != std::string::npos);

  const auto killed = run({"/bin/sh", "-c", "kill -9 $$"}, "");
  REQUIRE(killed.has_value());
  CHECK(killed->status == 137);

  const auto endless = run({"/usr/bin/yes"}, "");
  REQUIRE(!endless.has_value());
  CHECK(endless.error().text.find("more than 4 MiB") != std::string::npos);
}

TEST_CASE("subprocess: merged outputs, in the order in which they were written") {
  const auto ran = base::run(
      {.arguments = {"/bin/sh", "-c", "echo 1; echo 2 >&2; echo 3"}, .merge_errors = true});
  REQUIRE_MESSAGE(ran.has_value(), ran);
  CHECK(ran->out == "1\n2\n3\n");
  CHECK(ran->err.empty());
}

TEST_CASE("subprocess: runs as another user, with that user's groups alone") {
  const auto ran =
      base::run({.arguments = {"/bin/grep", "-E", "^(Uid|Gid|Groups):", "/proc/self/status"},
                 .user = kNobody});
  REQUIRE_MESSAGE(ran.has_value(), ran);
  CHECK(ran->out ==
        "Uid:\t65534\t65534\t65534\t65534\nGid:\t65534\t65534\t65534\t65534\nGroups:\t65534 \n");
  const auto absent = base::run({.arguments = {"/nonexistent/x"}, .user = kNobody});
  REQUIRE_FALSE(absent.has_value());
  CHECK(absent.error().text ==
        "cannot run /nonexistent/x as user 65534: No such file or directory");
}

TEST_CASE("subprocess: run_as gives what a function returns that has another user's ids") {
  const auto who =
      base::run_as(kNobody, [] { return fmt::format("{} {}", ::getuid(), ::getegid()); });
  REQUIRE_MESSAGE(who.has_value(), who);
  CHECK(*who == "65534 65534");
  CHECK(::geteuid() == 0);
  CHECK(base::run_as(base::current_user(), [] { return std::to_string(::getpid()); }).value() ==
        std::to_string(::getpid()));
  CHECK(base::run_as(kNobody, []() -> std::string { ::_exit(3); }).error().text ==
        "cannot look into /nonexistent as user 65534");
}

TEST_CASE("subprocess: none of our descriptors, blocked signals, or the terminal's session") {
  // Not close-on-exec.
  const int leaked = ::dup(STDIN_FILENO);
  REQUIRE(leaked > STDERR_FILENO);
  const auto listed = run({"/bin/ls", "/proc/self/fd"});
  ::close(leaked);
  REQUIRE_MESSAGE(listed.has_value(), listed);
  CHECK(listed->out == "0\n1\n2\n3\n");  // 3: the folder that ls reads
  const auto signals = run({"/bin/grep", "-E", "^Sig(Blk|Ign):", "/proc/self/status"});
  REQUIRE_MESSAGE(signals.has_value(), signals);
  CHECK(signals->out == "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
  const auto session = run({"/bin/sh", "-c", "test $(cut -d' ' -f6 /proc/$$/stat) = $$"});
  REQUIRE_MESSAGE(session.has_value(), session);
  CHECK(session->status == 0);
}

TEST_CASE("subprocess: partial output, where that is enough") {
  const auto ran = base::run({.arguments = {"/bin/sh", "-c", "echo half; exec sleep 60"},
                              .time_limit = 300ms,
                              .keep_partial_output = true});
  REQUIRE_MESSAGE(ran.has_value(), ran);
  CHECK(ran->out == "half\n");
  CHECK(ran->status == 128 + 9);
}

TEST_CASE("subprocess: what a program has started is killed with it") {
  const auto ran = run({"/bin/sh", "-c", "sleep 61.25 & exec sleep 60"}, {}, 200ms);
  REQUIRE_FALSE(ran.has_value());
  // A process that has been killed takes its time on a busy machine.
  std::string left = "?";
  for (int i = 0; i < 100 && !left.empty(); ++i) {
    if (i > 0) std::this_thread::sleep_for(50ms);
    const auto found = run({"/bin/sh", "-c", "grep -ls '61[.]25' /proc/[0-9]*/cmdline"});
    REQUIRE_MESSAGE(found.has_value(), found);
    left = found->out;
  }
  CHECK(left == "");
}
