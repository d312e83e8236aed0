#include "divert/privilege.h"

#include <algorithm>
#include <fstream>

#include <grp.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "divert/journal.h"
#include "tests/test.h"

using namespace divert;

TEST_CASE("exempt group: free by default, refused when it is a group, a subgid range or a process's") {
  const auto chosen = choose_exempt_group(std::nullopt);
  REQUIRE(chosen.has_value());
  CHECK(group_number_in_use(*chosen).empty());
  const auto adm = choose_exempt_group(::getgrnam("adm")->gr_gid);
  REQUIRE_FALSE(adm.has_value());
  CHECK(adm.error().text == fmt::format("group number {} belongs to the group adm: its connections would "
                                        "escape; choose another with --group, "
                                        "or none",
                                        ::getgrnam("adm")->gr_gid));
  CHECK(*choose_exempt_group(*chosen) == *chosen);
}

TEST_CASE("exempt group: a number that a live process has is passed over") {
  const gid_t first = *choose_exempt_group(std::nullopt);
  int ready[2];
  REQUIRE(::pipe(ready) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    if (::setgroups(1, &first) != 0) ::_exit(1);
    (void)!::write(ready[1], "x", 1);
    ::pause();
  }
  char letter = 0;
  REQUIRE(::read(ready[0], &letter, 1) == 1);
  CHECK(group_number_in_use(first) == fmt::format("process {}", child));
  const auto second = choose_exempt_group(std::nullopt);
  CHECK(second.has_value());
  CHECK(*second != first);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
}

TEST_CASE("invoking user: who typed sudo, with clear errors") {
  ::setenv("SUDO_UID", "65534", 1);
  const auto nobody = invoking_user();
  REQUIRE(nobody.has_value());
  CHECK(nobody->name == "nobody");
  ::setenv("SUDO_UID", "12x", 1);
  CHECK(invoking_user().error().text == "SUDO_UID is '12x', not a user number; unset it or run through sudo");
  ::setenv("SUDO_UID", "3999999999", 1);
  CHECK(invoking_user().error().text == "user number 3999999999 has no entry in the password database");
  ::unsetenv("SUDO_UID");
  CHECK(invoking_user()->uid == ::getuid());
}

TEST_CASE("group list: the effective group first and once, no more than fit") {
  using Groups = std::vector<gid_t>;
  CHECK(group_list(7, {}, 16) == Groups{7});
  CHECK(group_list(7, {1, 2}, 16) == Groups{7, 1, 2});
  CHECK(group_list(7, {1, 7, 2, 7}, 16) == Groups{7, 1, 2});
  CHECK(group_list(7, {1, 2, 3}, 3) == Groups{7, 1, 2});
  CHECK(group_list(7, {1, 2, 3}, 0) == Groups{7});
}

TEST_CASE("become_worker: one group, no way back") {
  const pid_t child = ::fork();
  if (child == 0) {
    const bool became = become_worker(*user_named("nobody"), 77'777).has_value();
    const bool sealed =
        ::setuid(0) != 0 && ::setgid(0) != 0 && ::getgroups(0, nullptr) == 0 && ::getgid() == 77'777;
    ::_exit(became && sealed ? 0 : 1);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  CHECK(status == 0);
}

TEST_CASE("journal: a dead broker's is found and undone, a live one's is left alone") {
  const Journal mine{process_id_of(::getpid()), 0, ""};
  REQUIRE(write_journal(mine).has_value());
  Journal dead = mine;
  dead.broker = {4'190'000, 1};
  REQUIRE(write_journal(dead).has_value());
  const auto stale = stale_journals();
  CHECK(std::ranges::count(stale, dead.broker, &Journal::broker) == 1);
  CHECK(std::ranges::count(stale, mine.broker, &Journal::broker) == 0);
  CHECK(undo(dead).size() == 1);
  CHECK(undo(mine).size() == 1);
  CHECK(undo(mine).empty());
}

TEST_CASE("process_id_of: a name with spaces and parentheses does not confuse it") {
  const pid_t child = ::fork();
  if (child == 0) {
    std::ofstream{"/proc/self/comm"} << "a) R 1 (b";
    ::pause();
  }
  procmap::ProcessId id;
  for (int i = 0; i < 100 && base::read_file(fmt::format("/proc/{}/comm", child)).value() != "a) R 1 (b\n";
       ++i) {
    ::usleep(10'000);
  }
  id = process_id_of(child);
  const auto own = process_id_of(::getpid());
  CHECK(id.start_ticks >= own.start_ticks);
  CHECK(id.start_ticks < own.start_ticks + 10'000);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  CHECK(process_id_of(child).start_ticks == 0);
}

TEST_CASE("capture group: another number than the exempt one, and nobody's") {
  const gid_t exempt = *choose_exempt_group(std::nullopt);
  const auto chosen = choose_capture_group(exempt);
  REQUIRE(chosen.has_value());
  CHECK(*chosen != exempt);
  CHECK(group_number_in_use(*chosen).empty());
  CHECK(*choose_capture_group(*chosen) != *chosen);
}

TEST_CASE("processes_with_group: those that have it, as any of their groups") {
  const gid_t gid = *choose_capture_group(0);
  CHECK(processes_with_group(gid).empty());
  const auto gate = base::make_pipe(base::Blocking::yes);
  REQUIRE(gate);
  const pid_t child = ::fork();
  if (child == 0) {
    if (!set_ids(65534, gid)) ::_exit(1);
    (void)!::write(gate->in.get(), "x", 1);
    ::pause();
  }
  char letter = 0;
  REQUIRE(::read(gate->out.get(), &letter, 1) == 1);
  CHECK(processes_with_group(gid) == std::vector<pid_t>{child});
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
}
