// Sockets that no process has a descriptor of: registered files of an io_uring, and descriptors in
// flight in a UNIX socket.
#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "procmap/attribution.h"
#include "tests/procmap/attribution_fixture.h"
#include "tests/procmap/children.h"
#include "tests/test.h"

namespace procmap {
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

}  // namespace procmap
