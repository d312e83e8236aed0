// Programs as they run for us: whose ids, what environment, and what becomes of one that hangs.
#include <unistd.h>

#include "mitm/trust/program.h"
#include "tests/mitm/tls_fixture.h"

using namespace mitm::tls;
using namespace mitm::trust;

namespace {

const StoreUser kNobody{65534, 65534, "nobody", "/nonexistent"};

std::string output_of(std::vector<std::string> arguments, const StoreUser& user = nobody_else(),
                      std::string input = {}) {
  const auto finished = run({std::move(arguments), std::move(input)}, user);
  REQUIRE_MESSAGE(finished.has_value(), finished);
  CHECK(finished->status == 0);
  return finished->output;
}

}  // namespace

TEST_CASE("program: arguments are no shell's, stdin is the input, the environment is short") {
  CHECK(output_of({"/bin/echo", "a b", "$(id)", ";"}) == "a b $(id) ;\n");
  CHECK(output_of({"/bin/cat"}, nobody_else(), "fed") == "fed");
  CHECK(output_of({"/bin/cat"}).empty());
  ::setenv("LEAK", "1", 1);
  const std::string environment = output_of({"/usr/bin/env"}, kNobody);
  ::unsetenv("LEAK");
  CHECK(environment ==
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nLANG=C\nLC_ALL=C\n"
        "HOME=/nonexistent\nUSER=nobody\n");
}

TEST_CASE("program: a user's program has that user's ids and no other groups") {
  const std::string status =
      output_of({"/bin/grep", "-E", "^(Uid|Gid|Groups):", "/proc/self/status"}, kNobody);
  CHECK(status ==
        "Uid:\t65534\t65534\t65534\t65534\nGid:\t65534\t65534\t65534\t65534\nGroups:\t65534 \n");
  const auto who = run_as(kNobody, [] { return fmt::format("{} {}", ::getuid(), ::getegid()); });
  REQUIRE_MESSAGE(who.has_value(), who);
  CHECK(*who == "65534 65534");
  CHECK(::geteuid() == 0);
}

TEST_CASE("program: exit status, signal, absence and hanging are told apart") {
  const auto failed = run({{"/bin/sh", "-c", "echo one; echo two >&2; exit 3"}, {}}, nobody_else());
  REQUIRE_MESSAGE(failed.has_value(), failed);
  CHECK(failed->status == 3);
  CHECK(program_error("sh", *failed).text == "sh failed (exit 3): two");
  CHECK(program_error("sh", {1, "\n"}).text == "sh failed (exit 1)");
  const auto killed = run({{"/bin/sh", "-c", "kill -9 $$"}, {}}, nobody_else());
  REQUIRE_MESSAGE(killed.has_value(), killed);
  CHECK(killed->status == 128 + 9);
  const auto absent = run({{"/nonexistent/x"}, {}}, nobody_else());
  REQUIRE_FALSE(absent.has_value());
  CHECK(absent.error().text == "cannot run /nonexistent/x as user 0");
  const auto begin = std::chrono::steady_clock::now();
  const auto hanging =
      run({{"/bin/sh", "-c", "sleep 60 & sleep 60"}, {}, std::chrono::seconds{1}}, nobody_else());
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds{20});
  REQUIRE_FALSE(hanging.has_value());
  CHECK(hanging.error().text == "/bin/sh did not end within 1 seconds");
}

TEST_CASE("program: more output than is kept does not block the program") {
  const auto loud = run({{"/bin/sh", "-c", "head -c 3000000 /dev/zero"}, {}}, nobody_else());
  REQUIRE_MESSAGE(loud.has_value(), loud);
  CHECK(loud->status == 0);
  CHECK(loud->output.size() >= 1 << 20);
  CHECK(loud->output.size() < (1 << 20) + 4096);
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
