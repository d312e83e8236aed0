// Of this very process, and of one that is not there.
#include "procmap/exec_arguments.h"

#include <algorithm>
#include <cstdlib>

#include <unistd.h>

#include "tests/test.h"

TEST_CASE("exec_arguments: the executable, the words and the environment of a process") {
  const auto own = procmap::exec_arguments(::getpid());
  CHECK(own.exe.ends_with("procmap_test"));
  REQUIRE(!own.argv.empty());
  CHECK(own.argv.front().ends_with("procmap_test"));
  const char* const path = std::getenv("PATH");
  REQUIRE(path != nullptr);
  CHECK(std::ranges::find(own.environment, std::string("PATH=") + path) != own.environment.end());
}

TEST_CASE("exec_arguments: nothing of a process that there is not") {
  const auto none = procmap::exec_arguments(0x7fff'fffe);
  CHECK(none.exe.empty());
  CHECK(none.argv.empty());
  CHECK(none.environment.empty());
}
