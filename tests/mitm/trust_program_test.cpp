// The tools of trust stores: how they run, and where they are found.
#include "mitm/trust/program.h"
#include "tests/mitm/tls_fixture.h"

using namespace mitm::tls;
using namespace mitm::trust;

namespace {

const base::User kNobody{65534, 65534, "nobody", "/nonexistent", ""};

}  // namespace

TEST_CASE("program: stdin is the input, the environment is short, the ids are the user's") {
  ::setenv("LEAK", "1", 1);
  const auto environment = run_tool({"/usr/bin/env"}, kNobody);
  ::unsetenv("LEAK");
  REQUIRE_MESSAGE(environment.has_value(), environment);
  CHECK(environment->out ==
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nLANG=C\nLC_ALL=C\n"
        "HOME=/nonexistent\nUSER=nobody\n");
  const auto fed = run_tool({"/bin/sh", "-c", "id -u; cat"}, kNobody, "fed");
  REQUIRE_MESSAGE(fed.has_value(), fed);
  CHECK(fed->out == "65534\nfed");
}

TEST_CASE("program: a failure is explained by the last line of the output") {
  const auto failed =
      run_tool({"/bin/sh", "-c", "echo one; echo two >&2; exit 3"}, base::current_user());
  REQUIRE_MESSAGE(failed.has_value(), failed);
  CHECK(failed->status == 3);
  CHECK(program_error("sh", *failed).text == "sh failed (exit 3): two");
  CHECK(program_error("sh", {1, "\n", {}}).text == "sh failed (exit 1)");
}

TEST_CASE("program: more output than a pipe holds") {
  const auto loud = run_tool({"/bin/sh", "-c", "head -c 3000000 /dev/zero"}, base::current_user());
  REQUIRE_MESSAGE(loud.has_value(), loud);
  CHECK(loud->status == 0);
  CHECK(loud->out.size() == 3'000'000);
}

TEST_CASE("program: found in the system's directories only, never by PATH") {
  const tls_test::Directory directory;
  tls_test::write(directory / "osproxy-tool", "#!/bin/sh\n");
  ::chmod((directory / "osproxy-tool").c_str(), 0755);
  const std::string path = ::getenv("PATH");
  ::setenv("PATH", directory.path().c_str(), 1);
  CHECK(find_program("osproxy-tool").empty());
  CHECK_FALSE(find_program("sh").empty());
  ::setenv("PATH", path.c_str(), 1);
}
