#include "procmap/attribution.h"

#include <array>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/procmap/children.h"
#include "tests/test.h"

namespace procmap {
namespace {

std::string own_exe() {
  std::array<char, 4096> path;
  const ssize_t n = ::readlink("/proc/self/exe", path.data(), path.size());
  return {path.data(), static_cast<std::size_t>(n)};
}

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

/// The pid that `attributor` names, given all the time that a busy machine may need; 0: unknown.
pid_t owner_pid(Attributor& attributor, const base::Endpoint& source,
                const base::Endpoint& destination) {
  const auto owner = attributor.owner_of({source, destination}, std::chrono::seconds{30});
  return owner.process ? owner.process->id.pid : 0;
}

base::Endpoint loopback(std::uint64_t port) {
  return {boost::asio::ip::address_v4::loopback(), static_cast<std::uint16_t>(port)};
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

namespace {

/// Connects as nobody, and leaves the socket in flight in a UNIX socket: no process has it.
void leave_in_flight(const Listener& listener, const Child::Wire& wire) {
  if (::setresuid(65534, 65534, 65534) != 0) return;
  std::array<int, 2> ends{};
  auto socket = connect_to(listener.endpoint());
  const auto port = local_end(socket.get()).port();
  if (::socketpair(AF_UNIX, SOCK_DGRAM, 0, ends.data()) != 0) return;
  char byte = 0;
  iovec part{&byte, 1};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  const int number = socket.get();
  std::memcpy(CMSG_DATA(header), &number, sizeof number);
  if (::sendmsg(ends[0], &message, 0) != 1) return;
  socket.reset();
  wire.send(port);
  (void)wire.receive();
}

}  // namespace

TEST_CASE("attribution: a registered file of an io_uring, without a number of its own") {
  const Listener listener{"127.0.0.1"};
  const Child child{[&](const Child::Wire& wire) {
    auto socket = connect_to(listener.endpoint());
    const auto port = local_end(socket.get()).port();
    std::array<char, 120> parameters{};  // struct io_uring_params
    const auto ring = static_cast<int>(::syscall(SYS_io_uring_setup, 8, parameters.data()));
    const std::array<int, 3> files{-1, -1, socket.get()};
    constexpr unsigned kRegisterFiles = 2;  // IORING_REGISTER_FILES
    const long registered =
        ::syscall(SYS_io_uring_register, ring, kRegisterFiles, files.data(), files.size());
    socket.reset();
    wire.send(ring >= 0 && registered == 0 ? port : 0);
    (void)wire.receive();
  }};
  const auto port = child.wire().receive();
  if (port == 0) {
    MESSAGE("this kernel has no io_uring, or does not allow it");
    return;
  }
  auto attributor = Attributor::open();
  REQUIRE(attributor);
  // By a search, and by what is remembered of it.
  for (int i = 0; i < 2; ++i)
    CHECK(owner_pid(*attributor, loopback(port), listener.endpoint()) == child.pid());
  const Child other = connected_child(listener.endpoint());
  const std::array<SocketQuery, 3> several{
      SocketQuery{loopback(port), listener.endpoint()},
      {loopback(other.wire().receive()), listener.endpoint()},
      {loopback(port), listener.endpoint()},
  };
  auto fresh = Attributor::open();
  const auto owners = fresh->owners_of(several, std::chrono::milliseconds{200});
  REQUIRE(owners.at(0).process);
  CHECK(owners.at(0).process->id.pid == child.pid());
  REQUIRE(owners.at(1).process);
  CHECK(owners.at(1).process->id.pid == other.pid());
  const auto rows = socket_table(*fresh);
  REQUIRE(rows);
  const auto row = std::ranges::find(*rows, loopback(port), &SocketRow::local);
  REQUIRE(row != rows->end());
  CHECK(row->owner.process);
}

TEST_CASE("attribution: the many rings of one user hold no search up") {
  const Listener listener{"127.0.0.1"};
  const Child child{[&](const Child::Wire& wire) {
    constexpr rlim_t kFiles = 20'000;
    const rlimit most{kFiles, kFiles};
    const base::UniqueFd file{::open("/dev/null", O_RDONLY | O_CLOEXEC)};
    const std::vector<int> files(kFiles, file.get());
    bool good = ::setrlimit(RLIMIT_NOFILE, &most) == 0;
    for (int i = 0; i < 100 && good; ++i) {
      std::array<char, 120> parameters{};  // struct io_uring_params
      const auto ring = static_cast<int>(::syscall(SYS_io_uring_setup, 1, parameters.data()));
      constexpr unsigned kRegisterFiles = 2;  // IORING_REGISTER_FILES
      good = ring >= 0 && ::syscall(SYS_io_uring_register, ring, kRegisterFiles, files.data(),
                                    files.size()) == 0;
    }
    wire.send(good ? 1 : 0);
    (void)wire.receive();
  }};
  if (child.wire().receive() == 0) {
    MESSAGE("this kernel has no io_uring, or does not allow it");
    return;
  }
  const Child in_flight{[&](const Child::Wire& wire) { leave_in_flight(listener, wire); }};
  auto attributor = Attributor::open();
  REQUIRE(attributor);
  const SocketQuery sought{loopback(in_flight.wire().receive()), listener.endpoint()};
  const auto began = std::chrono::steady_clock::now();
  const auto owner = attributor->owner_of(sought, std::chrono::milliseconds{20});
  const auto took = std::chrono::steady_clock::now() - began;
  CHECK_FALSE(owner.process);
  CHECK_FALSE(owner.in_time);
  CHECK(took < std::chrono::milliseconds{500});
}

TEST_CASE(
    "attribution: a descriptor in flight in a UNIX socket "
    "has no process, but a user and a cgroup") {
  const Listener listener{"127.0.0.1"};
  const Child child{[&](const Child::Wire& wire) { leave_in_flight(listener, wire); }};
  auto attributor = Attributor::open();
  REQUIRE(attributor);
  const auto owner = attributor->owner_of({loopback(child.wire().receive()), listener.endpoint()});
  CHECK_FALSE(owner.process);
  CHECK(owner.in_time);
  REQUIRE(owner.socket);
  CHECK(owner.socket->inode != 0);
  CHECK(owner.socket->uid_known);
  CHECK(owner.socket->user == "nobody");
  // Without cgroup v2 there is none.
  const auto facts = attributor->facts_of(::getpid());
  REQUIRE(facts);
  CHECK((owner.socket->cgroup == facts->cgroup || owner.socket->cgroup_id == 0));
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

TEST_CASE("attribution: facts of a process") {
  auto attributor = Attributor::open();
  const auto own = attributor->facts_of(::getpid());
  REQUIRE(own);
  CHECK(own->exe == own_exe());
  CHECK(attributor->facts_of(::getpid()) == own);
  std::string words;
  for (const auto& word : own->argv) words += word + '\0';
  std::ifstream file("/proc/self/cmdline");
  CHECK(words == std::string(std::istreambuf_iterator<char>(file), {}));
  CHECK_FALSE(attributor->facts_of(0));
  CHECK_FALSE(attributor->facts_of(-1));
  CHECK_FALSE(attributor->facts_of(1 << 30));
}

TEST_CASE("attribution: a parent that has ended stays in the chain when it was seen") {
  auto attributor = Attributor::open();
  // The grandchild waits on the parent's wire, which the test holds.
  Child parent{[](const Child::Wire& wire) {
    const pid_t grandchild = ::fork();
    if (grandchild > 0) wire.send(static_cast<std::uint64_t>(grandchild));
    (void)wire.receive();
  }};
  const auto grandchild = static_cast<pid_t>(parent.wire().receive());
  const pid_t parent_pid = parent.pid();
  const auto before = attributor->facts_of(grandchild);
  REQUIRE(before);
  REQUIRE(before->ancestors.size() >= 2);
  CHECK(before->ancestors[0].id.pid == parent_pid);
  CHECK(before->ancestors[1].id.pid == ::getpid());
  parent.end();
  const auto after = attributor->facts_of(grandchild);
  REQUIRE(after);
  CHECK(after->ppid != parent_pid);
  CHECK(after->ancestors.front().id == before->ancestors.front().id);
}

namespace {

/// Each the child of the one before it; the last one says its number. They end with the first.
void begin_line(int processes, const Child::Wire& wire) {
  for (int i = 0; i < processes; ++i) {
    const pid_t child = ::fork();
    if (child != 0) break;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (i == processes - 1) wire.send(static_cast<std::uint64_t>(::getpid()));
  }
  ::pause();
}

/// On a stack of 128 KiB.
void on_a_small_stack(std::function<void()> body) {
  pthread_attr_t attributes;
  REQUIRE(::pthread_attr_init(&attributes) == 0);
  REQUIRE(::pthread_attr_setstacksize(&attributes, 128 << 10) == 0);
  pthread_t thread{};
  const auto run = [](void* call) -> void* {
    (*static_cast<std::function<void()>*>(call))();
    return nullptr;
  };
  REQUIRE(::pthread_create(&thread, &attributes, run, &body) == 0);
  REQUIRE(::pthread_join(thread, nullptr) == 0);
}

}  // namespace

TEST_CASE("attribution: however deep the tree of processes is, the nearest ancestors are known") {
  constexpr int kDepth = 400;
  const Child first{[](const Child::Wire& wire) { begin_line(kDepth, wire); }};
  const auto last = static_cast<pid_t>(first.wire().receive());
  auto attributor = Attributor::open();
  std::shared_ptr<const ProcessFacts> facts;
  on_a_small_stack([&] { facts = attributor->facts_of(last); });
  REQUIRE(facts);
  REQUIRE(facts->ancestors.size() == 64);
  CHECK(facts->ancestors.front().id.pid == facts->ppid);
  CHECK(attributor->facts_of(last) == facts);
  // One that was passed on the way up has as many of its own.
  const auto above = attributor->facts_of(facts->ancestors[40].id.pid);
  REQUIRE(above);
  CHECK(above->ancestors.front().id == facts->ancestors[41].id);
  CHECK(above->ancestors.size() == 64);
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
