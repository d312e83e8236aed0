#include "divert/process/process_handle.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/test.h"

namespace {

using namespace std::chrono_literals;

pid_t sleeping_child() {
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::pause();
    ::_exit(0);
  }
  return pid;
}

}  // namespace

TEST_CASE("watched: a process that lives is waited for, and killed") {
  const pid_t pid = sleeping_child();
  divert::WatchedProcess process{pid};
  CHECK_FALSE(process.wait(20ms));
  process.kill();
  CHECK(process.wait(5s));
  CHECK(process.wait(0ms));
  int status = 0;
  REQUIRE(::waitpid(pid, &status, 0) == pid);
  CHECK(WTERMSIG(status) == SIGKILL);
  CHECK(process.wait(0ms));
  process.kill();  // its number may belong to somebody else by now
}

TEST_CASE("watched: a process that is not there has ended") {
  const pid_t pid = sleeping_child();
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
  divert::WatchedProcess process{pid};
  CHECK(process.wait(0ms));
}
