#include "procmap/bsd_attribution.h"

#include <map>

#include "tests/procmap/table_builder.h"
#include "tests/test.h"

namespace procmap {
namespace {

using namespace std::chrono_literals;

/// A machine whose tables the test writes.
struct Machine {
  BsdTable tcp, udp;
  std::map<std::uint64_t, BsdHolder> holders, findable;  ///< by the socket's name
  std::map<pid_t, std::string> processes;
  bool broken = false;
  bool searches_allowed = true;
  int reads = 0, searches = 0;
  std::chrono::steady_clock::time_point time{10s};

  BsdSystem system() {
    BsdSystem made;
    made.sockets = [this](Transport transport) -> base::Result<BsdTable> {
      ++reads;
      if (broken) return base::failure("no table");
      return transport == Transport::tcp ? tcp : udp;
    };
    made.holder = [this](const BsdSocket& socket) { return holders[socket.name]; };
    if (searches_allowed)
      made.search = [this](const BsdSocket& socket, Transport, BsdSystem::Deadline) {
        ++searches;
        return findable[socket.name];
      };
    made.processes = {[this](pid_t pid) -> std::optional<ProcessRecord> {
                        if (!processes.contains(pid)) return std::nullopt;
                        return ProcessRecord{{pid, 1}, 0, 0, 0, processes[pid], {}, 0};
                      },
                      [](pid_t) { return std::string{}; },
                      [](pid_t) { return std::vector<std::string>{}; }};
    return made;
  }
  BsdAttribution attribution() {
    return BsdAttribution{system(), [this] { return time; }};
  }
};

BsdSocket socket(const char* local, const char* remote, std::uint64_t name, int state = 4) {
  BsdSocket made;
  made.local = at(local);
  made.remote = at(remote);
  made.name = name;
  made.uid = 501;
  made.state = state;
  return made;
}

const auto kSource = at("192.0.2.1:40000");
const auto kDestination = at("198.51.100.7:443");

Machine machine_with_curl() {
  Machine machine;
  machine.tcp.sockets = {socket("192.0.2.1:40000", "198.51.100.7:443", 1),
                         socket("192.0.2.1:40001", "198.51.100.7:443", 2)};
  machine.holders[1] = {100, 5};
  machine.processes = {{100, "curl"}, {200, "worker"}};
  return machine;
}

TEST_CASE("BsdAttribution: the holder that the kernel names, at once") {
  auto machine = machine_with_curl();
  auto attribution = machine.attribution();
  REQUIRE(attribution.probe());
  const auto owner = attribution.owner_of(kSource, kDestination, 200ms, Transport::tcp);
  REQUIRE(owner.process);
  CHECK(owner.process->name == "curl");
  CHECK(owner.descriptor == 5);
  REQUIRE(owner.socket);
  CHECK(owner.socket->uid == 501);
  const auto soon = attribution.cached_owner(kSource, kDestination, Transport::tcp);
  REQUIRE(soon);
  CHECK(soon->process == owner.process);
  CHECK(machine.searches == 0);
  CHECK(machine.reads == 1);
}

TEST_CASE("BsdAttribution: at once is only what needs no arguments and no user's name") {
  auto machine = machine_with_curl();
  auto attribution = machine.attribution();
  CHECK(!attribution.cached_owner(kSource, kDestination, Transport::tcp));
  // Another one has read them.
  auto other = machine.attribution();
  const auto owner = other.owner_of(kSource, kDestination, 200ms, Transport::tcp);
  REQUIRE(owner.process);
  attribution.learn(owner);
  const auto soon = attribution.cached_owner(kSource, kDestination, Transport::tcp);
  REQUIRE(soon);
  CHECK(soon->process == owner.process);
  CHECK(soon->descriptor == 5);
}

TEST_CASE("BsdAttribution: a socket that was handed on takes a search") {
  auto machine = machine_with_curl();
  machine.findable[2] = {200, 9};
  auto attribution = machine.attribution();
  const auto source = at("192.0.2.1:40001");
  CHECK(!attribution.cached_owner(source, kDestination, Transport::tcp));
  CHECK(machine.searches == 0);
  const auto owner = attribution.owner_of(source, kDestination, 200ms, Transport::tcp);
  REQUIRE(owner.process);
  CHECK(owner.process->name == "worker");
  CHECK(owner.descriptor == 9);
}

TEST_CASE("BsdAttribution: the process named has ended") {
  auto machine = machine_with_curl();
  machine.holders[1] = {300, 5};
  machine.findable[1] = {200, 6};
  auto attribution = machine.attribution();
  CHECK(!attribution.cached_owner(kSource, kDestination, Transport::tcp));
  CHECK(attribution.owner_of(kSource, kDestination, 200ms, Transport::tcp).process->name ==
        "worker");
}

TEST_CASE("BsdAttribution: unknown is an answer") {
  auto machine = machine_with_curl();
  machine.searches_allowed = false;
  auto attribution = machine.attribution();
  // No such socket.
  const auto none = attribution.cached_owner(at("192.0.2.1:1"), kDestination, Transport::tcp);
  REQUIRE(none);
  CHECK(!none->socket);
  // One that nobody holds, where no search would find more.
  const auto orphan = attribution.cached_owner(at("192.0.2.1:40001"), kDestination, Transport::tcp);
  REQUIRE(orphan);
  CHECK(orphan->socket);
  CHECK(!orphan->process);
  CHECK(orphan->descriptor == -1);
  // The table cannot be read.
  machine.broken = true;
  machine.time += 5ms;
  CHECK(!attribution.owner_of(kSource, kDestination, 200ms, Transport::tcp).socket);
  CHECK(!attribution.probe());
  CHECK(!attribution.table());
}

TEST_CASE(
    "BsdAttribution: TCP and UDP are different tables, a socket younger than the table is found") {
  auto machine = machine_with_curl();
  auto attribution = machine.attribution();
  CHECK(attribution.owner_of(kSource, kDestination, 200ms, Transport::tcp).socket);
  CHECK(!attribution.owner_of(kSource, kDestination, 200ms, Transport::udp).socket);
  machine.udp.sockets = {socket("0.0.0.0:40000", "0.0.0.0:0", 7, -1)};
  machine.holders[7] = {200, 3};
  const auto owner = attribution.owner_of(kSource, kDestination, 200ms, Transport::udp);
  REQUIRE(owner.process);
  CHECK(owner.process->name == "worker");
}

TEST_CASE("BsdAttribution: a table that changed while it was written is read again, not for ever") {
  auto machine = machine_with_curl();
  machine.tcp.changed = true;
  auto attribution = machine.attribution();
  CHECK(attribution.owner_of(kSource, kDestination, 200ms, Transport::tcp).process);
  CHECK(machine.reads == 3);
}

TEST_CASE("BsdAttribution: the table of all sockets") {
  auto machine = machine_with_curl();
  machine.tcp.sockets.push_back(socket("[::]:80", "[::]:0", 3, 1));
  auto attribution = machine.attribution();
  const auto rows = attribution.table();
  REQUIRE(rows);
  REQUIRE(rows->size() == 3);
  CHECK((*rows)[0].owner.process->name == "curl");
  CHECK((*rows)[0].state == "ESTAB");
  CHECK(!(*rows)[1].owner.process);
  CHECK((*rows)[2].state == "LISTEN");
  CHECK(machine.searches == 0);
}

}  // namespace
}  // namespace procmap
