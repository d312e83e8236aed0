#include "procmap/process_cache.h"

#include <map>

#include "tests/test.h"

namespace procmap {
namespace {

struct Process {
  ProcessRecord record;
  std::string path;
  std::vector<std::string> argv;
};

/// A machine of a few processes that counts what it is asked.
struct Machine {
  std::map<pid_t, Process> processes;
  int argument_reads = 0;
  std::function<void()> while_read;  ///< happens while arguments are being read

  void start(pid_t pid, std::uint64_t start, pid_t parent, const std::string& path) {
    Process& process = processes[pid];
    process.record = {};
    process.record.id = {pid, start};
    process.record.ppid = parent;
    process.record.comm = "comm";
    process.record.start_time = std::chrono::system_clock::time_point{std::chrono::seconds{start}};
    process.path = path;
    process.argv = {path, "x"};
  }

  ProcessCache cache() {
    return ProcessCache{{[this](pid_t pid) -> std::optional<ProcessRecord> {
                           const auto found = processes.find(pid);
                           if (found == processes.end()) return std::nullopt;
                           return found->second.record;
                         },
                         [this](pid_t pid) { return processes[pid].path; },
                         [this](pid_t pid) {
                           ++argument_reads;
                           auto argv = processes[pid].argv;
                           if (while_read) std::exchange(while_read, nullptr)();
                           return argv;
                         }}};
  }
};

TEST_CASE("ProcessCache: facts with their parents, read once") {
  Machine machine;
  machine.start(1, 10, 0, "/sbin/launchd");
  machine.start(5, 15, 1, "/bin/zsh");
  machine.start(9, 20, 5, "/usr/bin/curl");
  auto cache = machine.cache();
  const auto facts = cache.facts_of(9);
  REQUIRE(facts);
  CHECK(facts->name == "curl");
  CHECK(facts->exe == "/usr/bin/curl");
  CHECK(facts->argv == std::vector<std::string>{"/usr/bin/curl", "x"});
  CHECK(facts->user == "root");
  CHECK(facts->start_time.time_since_epoch() == std::chrono::seconds{20});
  REQUIRE(facts->ancestors.size() == 2);
  CHECK(facts->ancestors[0].exe == "/bin/zsh");
  CHECK(facts->ancestors[1].id == ProcessId{1, 10});
  CHECK(machine.argument_reads == 3);
  CHECK(cache.facts_of(9) == facts);
  CHECK(machine.argument_reads == 3);
  CHECK(!cache.facts_of(77));
}

TEST_CASE("ProcessCache: another program, another user, another process under the number") {
  Machine machine;
  machine.start(9, 20, 0, "/bin/sh");
  auto cache = machine.cache();
  const auto first = cache.facts_of(9);
  machine.processes[9].path = "/usr/bin/curl";
  const auto second = cache.facts_of(9);
  CHECK(second->name == "curl");
  CHECK(second->image != first->image);
  CHECK(second->id == first->id);
  machine.processes[9].record.uid = 4'000'000;
  CHECK(cache.facts_of(9)->user == "4000000");
  machine.start(9, 21, 0, "/usr/bin/curl");
  CHECK(cache.facts_of(9)->id == ProcessId{9, 21});
  machine.processes.erase(9);
  CHECK(!cache.facts_of(9));
}

TEST_CASE("ProcessCache: a kernel's thread has no path") {
  Machine machine;
  machine.start(9, 20, 0, "");
  auto cache = machine.cache();
  CHECK(cache.facts_of(9)->name == "comm");
}

TEST_CASE("ProcessCache: parents that have ended are remembered") {
  Machine machine;
  machine.start(1, 10, 0, "/sbin/init");
  machine.start(5, 15, 1, "/bin/sh");
  machine.start(9, 20, 5, "/bin/daemon");
  auto cache = machine.cache();
  REQUIRE(cache.facts_of(9)->ancestors.size() == 2);
  machine.processes.erase(5);
  machine.processes[9].record.ppid = 1;
  const auto facts = cache.facts_of(9);
  CHECK(facts->ppid == 1);
  REQUIRE(facts->ancestors.size() == 2);
  CHECK(facts->ancestors[0].exe == "/bin/sh");
}

TEST_CASE("ProcessCache: execve while it is read") {
  Machine machine;
  machine.start(9, 20, 0, "/bin/sh");
  machine.while_read = [&] { machine.start(9, 20, 0, "/usr/bin/curl"); };
  auto cache = machine.cache();
  const auto facts = cache.facts_of(9);
  CHECK(facts->name == "curl");
  CHECK(facts->argv[0] == "/usr/bin/curl");
}

TEST_CASE("ProcessCache: parents in a circle") {
  Machine machine;
  machine.start(5, 15, 9, "/bin/a");
  machine.start(9, 20, 5, "/bin/b");
  machine.start(7, 20, 7, "/bin/c");
  auto cache = machine.cache();
  CHECK(cache.facts_of(9));
  CHECK(cache.facts_of(7)->ancestors.empty());
}

TEST_CASE("ProcessCache: does not grow without end") {
  Machine machine;
  for (pid_t pid = 1; pid <= 9000; ++pid) machine.start(pid, 10, 0, "/bin/x");
  auto cache = machine.cache();
  for (pid_t pid = 1; pid <= 9000; ++pid) REQUIRE(cache.facts_of(pid));
  CHECK(machine.argument_reads == 9000);
  REQUIRE(cache.facts_of(9000));
  CHECK(machine.argument_reads == 9000);
  REQUIRE(cache.facts_of(1));  // pushed out by the others
  CHECK(machine.argument_reads == 9001);
}

}  // namespace
}  // namespace procmap
