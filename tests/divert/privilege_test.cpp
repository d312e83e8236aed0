#include "divert/process/privilege.h"

#include <algorithm>
#include <fstream>

#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "divert/broker/journal.h"
#include "tests/test.h"

using namespace divert;

TEST_CASE(
    "exempt group: free by default, refused when it is a group, a subgid range or a process's") {
  const auto chosen = choose_exempt_group(std::nullopt);
  REQUIRE(chosen.has_value());
  CHECK(group_number_in_use(*chosen).empty());
  const auto adm = choose_exempt_group(::getgrnam("adm")->gr_gid);
  REQUIRE_FALSE(adm.has_value());
  CHECK(adm.error().text == fmt::format("group number {} belongs to the group adm: its "
                                        "connections would escape; choose another with --group, "
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

TEST_CASE("exempt group: one that exists in this user namespace") {
  constexpr gid_t kUsual = kUsualExemptGroup;
  const struct {
    const char *name, *map;
    std::vector<GroupRange> ranges;
    std::vector<gid_t> candidates;
  } cases[] = {
      {"all",
       "         0          0 4294967295\n",
       {{0, 4'294'967'294}},
       {kUsual, kUsual + 1, kUsual + 2}},
      {"LXD",
       "0 1000000 1000000000\n",
       {{0, 999'999'999}},
       {999'999'999, 999'999'998, 999'999'997}},
      {"rootless podman",
       "0 1000 1\n1 100000 65536\n",
       {{0, 0}, {1, 65'536}},
       {65'536, 65'535, 65'534}},
      {"one alone", "0 1000 1\n", {{0, 0}}, {}},
      {"it is the last", "1869837176 5 1\n", {{kUsual, kUsual}}, {kUsual}},
      {"beyond the end",
       "4294967000 0 400\n",
       {{4'294'967'000, 4'294'967'294}},
       {4'294'967'294, 4'294'967'293, 4'294'967'292}},
      {"empty", "", {}, {}},
      {"nonsense", "0 x 5\n", {}, {}},
  };
  for (const auto& c : cases) {
    CAPTURE(std::string(c.name));
    CHECK(parse_gid_map(c.map) == c.ranges);
    CHECK(group_candidates(c.ranges, kUsual, 3) == c.candidates);
  }
}

TEST_CASE("exempt group: a number that somebody's containers have is passed over") {
  CHECK(parse_subgid("ann:100000:65536\nx\n:\nben:7:1\nbad:7:x\nnone:9:0\n") ==
        std::vector<GroupRange>{{100'000, 165'535}, {7, 7}});
  const pid_t child = ::fork();
  if (child == 0) {
    const bool alone = ::unshare(CLONE_NEWNS) == 0 &&
                       ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                       ::mount("none", "/etc", "tmpfs", 0, nullptr) == 0;
    std::ofstream{"/etc/subgid"} << "ann:" << kUsualExemptGroup - 10 << ":20\n";
    const bool passed_over = group_number_in_use(kUsualExemptGroup) == "a range in /etc/subgid" &&
                             choose_exempt_group(std::nullopt).value() == kUsualExemptGroup + 10;
    ::_exit(alone && passed_over ? 0 : 1);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  CHECK(status == 0);
}

TEST_CASE("invoking user: who typed sudo, with clear errors") {
  ::setenv("SUDO_UID", "65534", 1);
  const auto nobody = invoking_user();
  REQUIRE(nobody.has_value());
  CHECK(nobody->name == "nobody");
  ::setenv("SUDO_UID", "12x", 1);
  CHECK(invoking_user().error().text ==
        "SUDO_UID is '12x', not a user number; unset it or run through sudo");
  ::setenv("SUDO_UID", "3999999999", 1);
  CHECK(invoking_user().error().text ==
        "user number 3999999999 has no entry in the password database");
  ::unsetenv("SUDO_UID");
  CHECK(invoking_user()->uid == ::getuid());
}

TEST_CASE("become_worker: one group, no way back") {
  const pid_t child = ::fork();
  if (child == 0) {
    const bool became = become_worker(*base::user_named("nobody"), 77'777).has_value();
    const bool sealed = ::setuid(0) != 0 && ::setgid(0) != 0 && ::getgroups(0, nullptr) == 0 &&
                        ::getgid() == 77'777;
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
  // Its guard is about to do it.
  dead.guard = mine.broker;
  REQUIRE(write_journal(dead).has_value());
  CHECK(std::ranges::count(stale_journals(), dead.broker, &Journal::broker) == 0);
  dead.guard = {4'190'001, 1};
  REQUIRE(write_journal(dead).has_value());
  CHECK(std::ranges::count(remove_leftovers(), "removed the journal of process 4190000") == 1);
  CHECK(std::ranges::count(remove_leftovers(), "removed the journal of process 4190000") == 0);
  REQUIRE(write_journal(dead).has_value());
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
  for (int i = 0;
       i < 100 && base::read_file(fmt::format("/proc/{}/comm", child)).value() != "a) R 1 (b\n";
       ++i) {
    ::usleep(10'000);
  }
  id = process_id_of(child);
  const auto own = process_id_of(::getpid());
  CHECK(id.start_ticks >= own.start_ticks);
  CHECK(id.start_ticks < own.start_ticks + 10'000);
  ::kill(child, SIGKILL);
  siginfo_t ended{};
  ::waitid(P_PID, static_cast<id_t>(child), &ended, WEXITED | WNOWAIT);
  CHECK(process_id_of(child).start_ticks == 0);
  ::waitpid(child, nullptr, 0);
  CHECK(process_id_of(child).start_ticks == 0);
}

TEST_CASE("capture group: another number than the exempt one, and nobody's") {
  const gid_t exempt = *choose_exempt_group(std::nullopt);
  const auto chosen = choose_scope_group(exempt);
  REQUIRE(chosen.has_value());
  CHECK(*chosen != exempt);
  CHECK(group_number_in_use(*chosen).empty());
  CHECK(*choose_scope_group(*chosen) != *chosen);
}

TEST_CASE("processes_with_group: those that have it, as any of their groups") {
  const gid_t gid = *choose_scope_group(0);
  CHECK(processes_with_group(gid).empty());
  const auto gate = base::make_pipe(base::Blocking::yes);
  REQUIRE(gate);
  const pid_t child = ::fork();
  if (child == 0) {
    if (!base::set_ids(65534, gid)) ::_exit(1);
    (void)!::write(gate->in.get(), "x", 1);
    ::pause();
  }
  char letter = 0;
  REQUIRE(::read(gate->out.get(), &letter, 1) == 1);
  CHECK(processes_with_group(gid) == std::vector<pid_t>{child});
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
}

TEST_CASE("tracer: it is named") {
  CHECK(tracer().empty());
  int ready[2];
  REQUIRE(::pipe(ready) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
    const std::string who = tracer();
    (void)!::write(ready[1], who.data(), who.size());
    ::_exit(0);
  }
  ::close(ready[1]);
  std::string who(256, '\0');
  who.resize(
      static_cast<std::size_t>(std::max<ssize_t>(::read(ready[0], who.data(), who.size()), 0)));
  ::waitpid(child, nullptr, 0);
  CHECK(who.starts_with(fmt::format("process {} (", ::getpid())));
}
