#include "procmap/attribution.h"

#include <array>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/procmap/attribution_fixture.h"
#include "tests/procmap/children.h"
#include "tests/test.h"

namespace procmap {
namespace {

std::string base_name(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}

/// Polls for at most ten seconds.
template <class Condition>
bool comes_true(Condition condition) {
  for (int i = 0; i < 2000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds{5});
  }
  return false;
}

}  // namespace

TEST_CASE("attribution: own connections, IPv4, IPv6 and IPv4 by an IPv6 socket") {
  auto attributor = Attributor::open();
  REQUIRE(attributor);
  struct Case {
    const char* address;
    bool mapped;
  };
  for (const auto& [address, mapped] :
       {Case{"127.0.0.1", false}, Case{"::1", false}, Case{"127.0.0.1", true}}) {
    CAPTURE(address);
    CAPTURE(mapped);
    const Listener listener{address};
    const auto fd = connect_to(listener.endpoint(), true, mapped);
    REQUIRE(fd);
    const auto owner = attributor->owner_of({local_end(fd.get()), listener.endpoint()});
    REQUIRE(owner.socket);
    CHECK(owner.socket->inode != 0);
    CHECK(owner.socket->uid == ::geteuid());
    CHECK(owner.socket->interface == 0);
    REQUIRE(owner.process);
    CHECK(owner.process->id.pid == ::getpid());
    CHECK(owner.process->ppid == ::getppid());
    CHECK(owner.process->uid == ::geteuid());
    CHECK(owner.process->gid == ::getegid());
    CHECK(owner.process->exe == own_exe());
    CHECK(owner.process->name == base_name(own_exe()));
    REQUIRE_FALSE(owner.process->ancestors.empty());
    CHECK(owner.process->ancestors.front().id.pid == ::getppid());
    CHECK(owner.process->start_time < std::chrono::system_clock::now() + std::chrono::seconds{2});
  }
}

TEST_CASE("attribution: when a process was started, to a tick of the kernel's clock") {
  using namespace std::chrono_literals;
  const Listener listener{"127.0.0.1"};
  const auto before = std::chrono::system_clock::now();
  const Child child{[&](const Child::Wire& wire) {
    const auto fd = connect_to(listener.endpoint());
    wire.send(local_end(fd.get()).port());
    (void)wire.receive();
  }};
  const auto after = std::chrono::system_clock::now();
  auto attributor = Attributor::open();
  const auto owner = attributor->owner_of({loopback(child.wire().receive()), listener.endpoint()});
  REQUIRE(owner.process);
  CHECK(owner.process->id.pid == child.pid());
  CHECK(owner.process->start_time >= before - 20ms);
  CHECK(owner.process->start_time <= after + 20ms);
}

TEST_CASE("attribution: a connection that nobody answers, from SYN-SENT on") {
  // A full backlog drops the SYN: the connection stays in SYN-SENT, as to a host that is not there.
  const Listener listener{"127.0.0.1", 0};
  std::vector<base::UniqueFd> fill;
  for (int i = 0; i < 2; ++i) fill.push_back(connect_to(listener.endpoint(), false));
  auto attributor = Attributor::open();
  const auto waiting = connect_to(listener.endpoint(), false);
  const auto rows = socket_table(*attributor);
  const auto row = std::ranges::find(*rows, local_end(waiting.get()), &SocketRow::local);
  REQUIRE(row != rows->end());
  REQUIRE(row->state == "SYN-SENT");
  CHECK(owner_pid(*attributor, local_end(waiting.get()), listener.endpoint()) == ::getpid());
}

TEST_CASE("attribution: the socket asked for and no other") {
  const Listener listener{"::"}, other{"127.0.0.1"};
  auto attributor = Attributor::open();
  const auto fd = connect_to(loopback(listener.endpoint().port()));
  const auto source = local_end(fd.get());
  CHECK(owner_pid(*attributor, source, loopback(listener.endpoint().port())) == ::getpid());
  // A listener would take these, but there is no such connection.
  CHECK_FALSE(attributor->owner_of({loopback(1), loopback(listener.endpoint().port())}).socket);
  CHECK_FALSE(attributor->owner_of({source, other.endpoint()}).socket);
  CHECK_FALSE(attributor->owner_of({loopback(listener.endpoint().port()), loopback(1)}).socket);
}

TEST_CASE("attribution: one source port to two destinations, from two processes") {
  const Listener one{"127.0.0.1"}, two{"127.0.0.1"};
  const auto connect_from = [](std::uint16_t port, const base::Endpoint& to) {
    base::UniqueFd fd{::socket(AF_INET, SOCK_STREAM, 0)};
    const int on = 1;
    ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    const auto from = loopback(port);
    const bool good = ::bind(fd.get(), from.data(), static_cast<socklen_t>(from.size())) == 0 &&
                      ::connect(fd.get(), to.data(), static_cast<socklen_t>(to.size())) == 0;
    return good ? std::move(fd) : base::UniqueFd{};
  };
  const auto ours = connect_from(0, one.endpoint());
  const auto port = local_end(ours.get()).port();
  const Child child{[&](const Child::Wire& wire) {
    const auto fd = connect_from(port, two.endpoint());
    wire.send(fd ? 1 : 2);
    (void)wire.receive();
  }};
  REQUIRE(child.wire().receive() == 1);
  auto attributor = Attributor::open();
  CHECK(owner_pid(*attributor, loopback(port), one.endpoint()) == ::getpid());
  CHECK(owner_pid(*attributor, loopback(port), two.endpoint()) == child.pid());
}

TEST_CASE("attribution: a child's connection, and unknown when it has ended") {
  const Listener listener{"127.0.0.1"};
  auto attributor = Attributor::open();
  Child child = connected_child(listener.endpoint());
  const auto source = loopback(child.wire().receive());
  const auto owner = attributor->owner_of({source, listener.endpoint()});
  REQUIRE(owner.process);
  CHECK(owner.process->id.pid == child.pid());
  CHECK(owner.process->ppid == ::getpid());
  CHECK(owner.process->ancestors.front().id.pid == ::getpid());
  CHECK(owner.process->ancestors.front().exe == own_exe());
  child.end();
  CHECK_FALSE(attributor->owner_of({source, listener.endpoint()}).process);
  CHECK_FALSE(attributor->facts_of(owner.process->id.pid));
}

TEST_CASE("attribution: a process that has become another program") {
  const Listener listener{"127.0.0.1"};
  auto attributor = Attributor::open();
  const Child child{[&](const Child::Wire& wire) {
    const auto fd = connect_to(listener.endpoint());
    wire.send(local_end(fd.get()).port());
    (void)wire.receive();
    ::execl("/bin/sleep", "sleep", "60", nullptr);
  }};
  const auto source = loopback(child.wire().receive());
  const auto before = attributor->owner_of({source, listener.endpoint()}).process;
  REQUIRE(before);
  CHECK(before->exe == own_exe());
  child.wire().send(1);
  REQUIRE(comes_true([&] {
    const auto now = attributor->owner_of({source, listener.endpoint()}).process;
    return now && now->name != before->name && now->argv.size() == 2;
  }));
  const auto after = attributor->owner_of({source, listener.endpoint()}).process;
  CHECK(after->id == before->id);
  CHECK(base_name(after->exe) == base_name(std::filesystem::canonical("/bin/sleep")));
  CHECK(after->argv == std::vector<std::string>{"sleep", "60"});
  CHECK(after->ppid == ::getpid());
  // The value that was handed out before stays as it was.
  CHECK(before->exe == own_exe());
}

TEST_CASE("attribution: a process that has become another user") {
  if (::geteuid() != 0) return;
  const Listener listener{"127.0.0.1"};
  auto attributor = Attributor::open();
  const Child child{[&](const Child::Wire& wire) {
    const auto as_root = connect_to(listener.endpoint());
    wire.send(local_end(as_root.get()).port());
    (void)wire.receive();
    if (::setgid(65534) != 0 || ::setuid(65534) != 0) return;
    const auto as_nobody = connect_to(listener.endpoint());
    wire.send(local_end(as_nobody.get()).port());
    (void)wire.receive();
  }};
  CHECK(
      attributor->owner_of({loopback(child.wire().receive()), listener.endpoint()}).process->uid ==
      0);
  child.wire().send(1);
  const auto owner = attributor->owner_of({loopback(child.wire().receive()), listener.endpoint()});
  CHECK(owner.socket->uid == 65534);
  REQUIRE(owner.process);
  CHECK(owner.process->uid == 65534);
  CHECK(owner.process->gid == 65534);
  CHECK(owner.process->user == "nobody");
}

TEST_CASE("attribution: a socket that is closed, but still sends, has no owner") {
  const Listener listener{"127.0.0.1"};
  auto attributor = Attributor::open();
  auto fd = connect_to(listener.endpoint());
  const auto source = local_end(fd.get());
  CHECK(owner_pid(*attributor, source, listener.endpoint()) == ::getpid());
  fd.reset();
  CHECK(owner_pid(*attributor, source, listener.endpoint()) == 0);
}

TEST_CASE("attribution: a thread's connection is its process's") {
  const Listener listener{"127.0.0.1"};
  const Child child{[&](const Child::Wire& wire) {
    std::thread{[&] {
      ::pthread_setname_np(::pthread_self(), "a thread");
      const auto fd = connect_to(listener.endpoint());
      wire.send(local_end(fd.get()).port());
      (void)wire.receive();
    }}.join();
  }};
  auto attributor = Attributor::open();
  const auto owner = attributor->owner_of({loopback(child.wire().receive()), listener.endpoint()});
  REQUIRE(owner.process);
  CHECK(owner.process->id.pid == child.pid());
  CHECK(owner.process->name == base_name(own_exe()));
}

TEST_CASE("attribution: a thread whose descriptors are its own") {
  const Listener listener{"127.0.0.1"};
  const Child child{[&](const Child::Wire& wire) {
    std::thread{[&] {
      REQUIRE(::unshare(CLONE_FILES) == 0);
      const auto fd = connect_to(listener.endpoint());
      wire.send(local_end(fd.get()).port());
      (void)wire.receive();
    }}.join();
  }};
  const auto source = loopback(child.wire().receive());
  auto attributor = Attributor::open();
  CHECK(owner_pid(*attributor, source, listener.endpoint()) == child.pid());
  const auto rows = socket_table(*attributor);
  const auto row = std::ranges::find(*rows, source, &SocketRow::local);
  REQUIRE(row != rows->end());
  REQUIRE(row->owner.process);
  CHECK(row->owner.process->id.pid == child.pid());
}

TEST_CASE("attribution: a socket that is bound to a device") {
  const Listener listener{"127.0.0.1"};
  const base::UniqueFd fd{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  REQUIRE(::setsockopt(fd.get(), SOL_SOCKET, SO_BINDTODEVICE, "lo", 2) == 0);
  const auto& to = listener.endpoint();
  REQUIRE(::connect(fd.get(), to.data(), static_cast<socklen_t>(to.size())) == 0);
  auto attributor = Attributor::open();
  const auto interface = ::if_nametoindex("lo");
  for (const std::uint32_t device : {interface, 0U}) {
    const auto owner = attributor->owner_of({local_end(fd.get()), to, Transport::tcp, device});
    CHECK(static_cast<bool>(owner.process) == (device != 0));
    if (owner.socket) CHECK(owner.socket->interface == interface);
  }
  // The device is known without a search for the process.
  const auto cached =
      Attributor::open()->cached_owner({local_end(fd.get()), to, Transport::tcp, interface});
  CHECK(cached.needs_search);
  CHECK_FALSE(cached.owner.process);
  REQUIRE(cached.owner.socket);
  CHECK(cached.owner.socket->interface == interface);
  // Sockets that are not bound are found with a device as well.
  const auto free = connect_to(to);
  CHECK(attributor->owner_of({local_end(free.get()), to, Transport::tcp, interface}).process);
}

TEST_CASE("attribution: several at once, those that nobody owns among them") {
  const Listener listener{"127.0.0.1"};
  std::vector<std::unique_ptr<Child>> children;
  std::vector<SocketQuery> sought;
  for (int i = 0; i < 5; ++i) {
    children.push_back(std::make_unique<Child>([&](const Child::Wire& wire) {
      const auto fd = connect_to(listener.endpoint());
      wire.send(local_end(fd.get()).port());
      (void)wire.receive();
    }));
    sought.push_back({loopback(children.back()->wire().receive()), listener.endpoint()});
    sought.push_back({loopback(1), listener.endpoint()});
  }
  auto attributor = Attributor::open();
  const auto owners = attributor->owners_of(sought, std::chrono::milliseconds{2000});
  REQUIRE(owners.size() == sought.size());
  for (std::size_t i = 0; i < owners.size(); ++i) {
    REQUIRE(static_cast<bool>(owners[i].process) == (i % 2 == 0));
    if (owners[i].process) CHECK(owners[i].process->id.pid == children[i / 2]->pid());
  }
  CHECK(attributor->owners_of({}, std::chrono::milliseconds{0}).empty());
}

TEST_CASE("attribution: a process whose first thread has ended") {
  const Listener listener{"127.0.0.1"};
  const Child child{[&](const Child::Wire& wire) {
    std::thread{[&] {
      const auto fd = connect_to(listener.endpoint());
      wire.send(local_end(fd.get()).port());
      (void)wire.receive();
    }}.detach();
    ::syscall(SYS_exit, 0);
  }};
  const auto source = loopback(child.wire().receive());
  REQUIRE(comes_true([&] {
    std::ifstream file(fmt::format("/proc/{}/stat", child.pid()));
    return std::string(std::istreambuf_iterator<char>(file), {}).find(") Z ") != std::string::npos;
  }));
  auto attributor = Attributor::open();
  for (int i = 0; i < 2; ++i) {
    const auto owner = attributor->owner_of({source, listener.endpoint()});
    REQUIRE(owner.process);
    CHECK(owner.process->id.pid == child.pid());
    CHECK(owner.process->exe == own_exe());
    CHECK_FALSE(owner.process->argv.empty());
  }
  const auto rows = socket_table(*attributor);
  const auto row = std::ranges::find(*rows, source, &SocketRow::local);
  REQUIRE(row != rows->end());
  REQUIRE(row->owner.process);
  CHECK(row->owner.process->id.pid == child.pid());
}

TEST_CASE("attribution: 500 processes, each found, in any order") {
  const Listener listener{"127.0.0.1"};
  auto early = Attributor::open();
  std::vector<Child> children;
  std::map<pid_t, base::Endpoint> sources;
  for (int i = 0; i < 500; ++i) children.push_back(connected_child(listener.endpoint()));
  for (const Child& child : children) {
    sources[child.pid()] = loopback(child.wire().receive());
    REQUIRE(sources[child.pid()].port() != 0);
  }
  auto late = Attributor::open();
  int wrong = 0;
  for (const auto& [pid, source] : sources) {
    if (owner_pid(*early, source, listener.endpoint()) != pid) ++wrong;
  }
  for (auto entry = sources.rbegin(); entry != sources.rend(); ++entry) {
    if (owner_pid(*late, entry->second, listener.endpoint()) != entry->first) ++wrong;
  }
  CHECK(wrong == 0);
}

TEST_CASE("attribution: an owner with 5000 descriptors, at both ends of its table") {
  rlimit limit{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &limit) == 0);
  if (limit.rlim_max < 6000) return;
  const Listener listener{"127.0.0.1"};
  const Child child{[&](const Child::Wire& wire) {
    const rlimit more{6000, 6000};
    ::setrlimit(RLIMIT_NOFILE, &more);
    const auto low = connect_to(listener.endpoint());
    const int null = ::open("/dev/null", O_RDONLY);
    for (int i = 0; i < 5000; ++i) {
      if (::dup(null) < 0) return;
    }
    const auto high = connect_to(listener.endpoint());
    wire.send(local_end(low.get()).port());
    wire.send(local_end(high.get()).port());
    // A hole in the middle: the next socket takes it.
    ::close(2500);
    const auto middle = connect_to(listener.endpoint());
    wire.send(local_end(middle.get()).port());
    (void)wire.receive();
  }};
  auto attributor = Attributor::open();
  for (int i = 0; i < 3; ++i) {
    CAPTURE(i);
    CHECK(owner_pid(*attributor, loopback(child.wire().receive()), listener.endpoint()) ==
          child.pid());
  }
}

TEST_CASE("attribution: process numbers that start again from the bottom") {
  if (::geteuid() != 0) return;
  const Listener listener{"127.0.0.1"};
  // In a pid namespace of its own, where the last number can be set.
  const Child keeper{[&](const Child::Wire& wire) {
    if (::unshare(CLONE_NEWPID | CLONE_NEWNS) != 0) return;
    const Child first{[&](const Child::Wire& inner) {
      std::ifstream limit_file("/proc/sys/kernel/pid_max");
      pid_t limit = 0;
      limit_file >> limit;
      const bool ready =
          ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
          ::mount("proc", "/proc", "proc", 0, nullptr) == 0 &&
          (std::ofstream("/proc/sys/kernel/ns_last_pid") << limit - 4).flush().good();
      auto attributor = Attributor::open();
      std::uint64_t right = 0, wrapped = 0;
      std::vector<Child> children;
      for (int i = 0; ready && i < 8; ++i) {
        children.push_back(connected_child(listener.endpoint()));
        const auto source = loopback(children.back().wire().receive());
        if (i > 0 && children[i].pid() < children[i - 1].pid()) ++wrapped;
        if (owner_pid(*attributor, source, listener.endpoint()) == children[i].pid()) ++right;
      }
      inner.send(wrapped * 100 + right);
    }};
    wire.send(first.wire().receive());
  }};
  CHECK(keeper.wire().receive() == 108);
}

TEST_CASE("attribution: the time limit is kept") {
  const Listener listener{"127.0.0.1"};
  std::vector<Child> children;
  for (int i = 0; i < 50; ++i) children.push_back(connected_child(listener.endpoint()));
  for (const Child& child : children) (void)child.wire().receive();
  auto attributor = Attributor::open();
  const auto fd = connect_to(listener.endpoint());
  // No time at all: whoever was not seen before is unknown.
  const auto owner = attributor->owner_of({local_end(fd.get()), listener.endpoint()},
                                          std::chrono::milliseconds{0});
  CHECK(owner.socket);
  CHECK_FALSE(owner.process);
  CHECK_FALSE(owner.in_time);
  const SocketQuery one{local_end(fd.get()), listener.endpoint()};
  for (const Owner& each :
       attributor->owners_of(std::vector{one, one}, std::chrono::milliseconds{0}))
    CHECK_FALSE(each.in_time);
  CHECK(attributor->owner_of(one).in_time);
  CHECK(owner_pid(*attributor, local_end(fd.get()), listener.endpoint()) == ::getpid());
}

TEST_CASE("attribution: the table has listeners and connections with their owners") {
  const Listener v4{"127.0.0.1"}, v6{"::1"}, both{"::"};
  const Child child = connected_child(v6.endpoint());
  const auto port = static_cast<std::uint16_t>(child.wire().receive());
  auto attributor = Attributor::open();
  const auto rows = socket_table(*attributor);
  REQUIRE(rows);
  const auto row_of = [&](const base::Endpoint& local) {
    const auto found = std::ranges::find(*rows, local, &SocketRow::local);
    REQUIRE(found != rows->end());
    return *found;
  };
  for (const auto* listener : {&v4, &v6, &both}) {
    const auto row = row_of(listener->endpoint());
    CHECK(row.state == "LISTEN");
    CHECK(row.remote.port() == 0);
    REQUIRE(row.owner.process);
    CHECK(row.owner.process->id.pid == ::getpid());
  }
  const auto row = row_of({boost::asio::ip::address_v6::loopback(), port});
  CHECK(row.state == "ESTAB");
  CHECK(row.remote == v6.endpoint());
  REQUIRE(row.owner.process);
  CHECK(row.owner.process->id.pid == child.pid());
}

}  // namespace procmap
