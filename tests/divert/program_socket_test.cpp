// Sockets that are somebody else's for packet filters. Needs root.
#include "divert/broker/program_socket.h"

#include <array>
#include <set>
#include <thread>

#include <fcntl.h>
#include <sys/fsuid.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "divert/link/message_socket.h"
#include "tests/pfctl/namespace.h"
#include "tests/test.h"

namespace {

using namespace divert;

std::vector<gid_t> own_groups() {
  std::vector<gid_t> groups(65536);
  groups.resize(
      static_cast<std::size_t>(::getgroups(static_cast<int>(groups.size()), groups.data())));
  return groups;
}

base::Endpoint local_end(const base::UniqueFd& socket) {
  base::Endpoint end{boost::asio::ip::tcp::v6(), 0};  // the larger one
  auto size = static_cast<socklen_t>(end.capacity());
  REQUIRE(::getsockname(socket.get(), end.data(), &size) == 0);
  end.resize(size);
  return end;
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
    const base::Endpoint source =
        base::parse_endpoint(ipv6 ? "[::1]:40000" : "127.0.0.1:40000").value();
    auto socket = open_program_socket({1234, 5678, {42}, 0x5}, source, 0x10000000);
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
  const base::Endpoint source = base::parse_endpoint("127.0.0.1:40000").value();
  CHECK_FALSE(open_program_socket({~0U, 0, {}, 0}, source, 0));
  CHECK_FALSE(open_program_socket({0, ~0U, {}, 0}, source, 0));
  CHECK(static_cast<uid_t>(::setfsuid(~0U)) == ::geteuid());
}

TEST_CASE(
    "program_socket: it has the program's address; a "
    "port of its own, privileged as the program's") {
  const pfctl_test::Namespace fresh;
  for (const auto& [source, bound] : {std::pair{"127.0.0.9:40000", "127.0.0.9:0"},
                                      {"[::1]:40000", "[::1]:0"},
                                      {"192.0.2.1:40000", "0.0.0.0:0"},  // not of this machine
                                      {"[fe80::1]:40000", "[::]:0"}}) {
    CAPTURE(source);
    const auto socket =
        open_program_socket({1234, 5678, {}, 0}, base::parse_endpoint(source).value(), 0);
    REQUIRE(socket);
    CHECK(base::to_string(local_end(*socket)) == bound);
  }
  std::vector<base::UniqueFd> all;
  std::set<std::uint16_t> ports;
  for (int i = 0; i < 512; ++i) {
    auto socket =
        open_program_socket({1234, 5678, {}, 0}, base::parse_endpoint("127.0.0.9:1023").value(), 0);
    REQUIRE(socket);
    CHECK(local_end(*socket).address().to_string() == "127.0.0.9");
    ports.insert(local_end(*socket).port());
    all.push_back(std::move(*socket));
  }
  CHECK(ports.size() == 512);
  CHECK(*ports.begin() == 512);
  CHECK(*ports.rbegin() == 1023);
  const auto none_left =
      open_program_socket({1234, 5678, {}, 0}, base::parse_endpoint("127.0.0.9:1023").value(), 0);
  REQUIRE(none_left);
  CHECK(base::to_string(local_end(*none_left)) == "127.0.0.9:0");
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
