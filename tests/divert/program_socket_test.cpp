// Sockets that are somebody else's for packet filters. Needs root.
#include "divert/program_socket.h"

#include <array>
#include <thread>

#include <fcntl.h>
#include <sys/fsuid.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "divert/message_socket.h"
#include "tests/test.h"

namespace {

using namespace divert;

std::vector<gid_t> own_groups() {
  std::vector<gid_t> groups(65536);
  groups.resize(static_cast<std::size_t>(::getgroups(static_cast<int>(groups.size()), groups.data())));
  return groups;
}

}  // namespace

TEST_CASE("program_socket: whose a socket is to be") {
  procmap::Owner owner;
  CHECK_FALSE(maker_of(owner));
  owner.socket.emplace();
  owner.socket->uid = 1000;
  owner.socket->mark = 7;
  CHECK(maker_of(owner) == SocketMaker{1000, kUnknownGroup, {}, 7});
  auto process = std::make_shared<procmap::ProcessFacts>();
  process->uid = 1;
  process->gid = 100;
  process->groups = {100, 27};
  owner.process = process;
  CHECK(maker_of(owner) == SocketMaker{1000, 100, {100, 27}, 7});
  owner.socket->gid = 50;
  CHECK(maker_of(owner) == SocketMaker{1000, 50, {100, 27}, 7});
  owner.socket->uid_known = false;
  CHECK(maker_of(owner)->uid == 1);
  owner.process.reset();
  CHECK_FALSE(maker_of(owner));
}

TEST_CASE("program_socket: it has that user, group and mark; the thread stays who it is") {
  const auto groups = own_groups();
  for (const bool ipv6 : {false, true}) {
    auto socket = open_program_socket({1234, 5678, {42}, 0x5}, ipv6, 0x10000000);
    REQUIRE(socket);
    struct stat facts {};
    REQUIRE(::fstat(socket->get(), &facts) == 0);
    CHECK(facts.st_uid == 1234);
    CHECK(facts.st_gid == 5678);
    std::uint32_t mark = 0;
    socklen_t size = sizeof mark;
    REQUIRE(::getsockopt(socket->get(), SOL_SOCKET, SO_MARK, &mark, &size) == 0);
    CHECK(mark == 0x10000005);
    int domain = 0;
    size = sizeof domain;
    REQUIRE(::getsockopt(socket->get(), SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0);
    CHECK(domain == (ipv6 ? AF_INET6 : AF_INET));
    CHECK((::fcntl(socket->get(), F_GETFL) & O_NONBLOCK) != 0);
    CHECK((::fcntl(socket->get(), F_GETFD) & FD_CLOEXEC) != 0);
    CHECK(static_cast<uid_t>(::setfsuid(~0U)) == ::geteuid());
    CHECK(static_cast<gid_t>(::setfsgid(~0U)) == ::getegid());
    CHECK(own_groups() == groups);
    // What root may do with files it may do again.
    CHECK(::access("/proc/1/environ", R_OK) == 0);
  }
}

TEST_CASE("program_socket: no user of this machine") {
  CHECK_FALSE(open_program_socket({~0U, 0, {}, 0}, false, 0));
  CHECK_FALSE(open_program_socket({0, ~0U, {}, 0}, false, 0));
  CHECK(static_cast<uid_t>(::setfsuid(~0U)) == ::geteuid());
}

TEST_CASE("program_socket: it goes along with a message, and is closed where nobody takes it") {
  auto pair = MessageSocket::make_pair();
  REQUIRE(pair);
  std::array<int, 2> pipe{};
  REQUIRE(::pipe2(pipe.data(), O_CLOEXEC) == 0);
  base::UniqueFd out{pipe[0]}, in{pipe[1]};
  std::vector<char> buffer(1024);
  using Wait = MessageSocket::Wait;
  REQUIRE(pair->ours.send("first", Wait::no, in.get()) == 0);
  REQUIRE(pair->ours.send("second", Wait::no) == 0);
  REQUIRE(pair->ours.send("third", Wait::no, in.get()) == 0);
  in.reset();
  base::UniqueFd with;
  CHECK(pair->theirs.receive(buffer, Wait::no, &with) == 5);
  REQUIRE(with);
  CHECK((::fcntl(with.get(), F_GETFD) & FD_CLOEXEC) != 0);
  CHECK(::write(with.get(), "x", 1) == 1);
  CHECK(pair->theirs.receive(buffer, Wait::no, &with) == 6);
  CHECK_FALSE(with);
  CHECK(pair->theirs.receive(buffer, Wait::no) == 5);
  // One byte, then the end: no writing end is left anywhere.
  CHECK(::read(out.get(), buffer.data(), buffer.size()) == 1);
  CHECK(::read(out.get(), buffer.data(), buffer.size()) == 0);
}
