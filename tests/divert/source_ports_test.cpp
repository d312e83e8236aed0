// On the loopback of this machine, with a range that nothing else here uses.
#include "divert/worker/source_ports.h"

#include <cerrno>
#include <vector>

#include <netinet/in.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "tests/test.h"

namespace {

constexpr base::PortRange kRange{27411, 27413};

base::Endpoint at(const char* address, std::uint16_t port) {
  return {boost::asio::ip::make_address(address), port};
}

base::UniqueFd open(const base::Endpoint& to) {
  return base::UniqueFd{::socket(to.protocol().family(), SOCK_STREAM, 0)};
}

base::Endpoint name_of(int socket) {
  base::Endpoint name;
  auto size = static_cast<socklen_t>(name.capacity());
  REQUIRE(::getsockname(socket, name.data(), &size) == 0);
  name.resize(size);
  return name;
}

}  // namespace

TEST_CASE("source_ports: connections to this machine come from the range, in turn") {
  divert::SourcePorts ports(kRange);
  const auto to = at("127.0.0.1", 80);
  std::vector<base::UniqueFd> taken;
  for (const int port : {27411, 27412, 27413}) {
    taken.push_back(open(to));
    REQUIRE(ports.bind(taken.back().get(), to) == 0);
    CHECK(base::to_string(name_of(taken.back().get())) == "127.0.0.1:" + std::to_string(port));
  }
  base::UniqueFd more = open(to);
  CHECK(ports.bind(more.get(), to) == EADDRINUSE);
  // Another address of this machine has ports of its own.
  const auto other = at("127.0.0.2", 80);
  CHECK(ports.bind(more.get(), other) == 0);
  CHECK(name_of(more.get()).address() == other.address());
  taken[1].reset();
  more = open(to);
  REQUIRE(ports.bind(more.get(), to) == 0);
  CHECK(name_of(more.get()).port() == 27412);
}

TEST_CASE("source_ports: a connection over IPv6 to this machine as well") {
  const auto to = at("::1", 80);
  const base::UniqueFd socket = open(to);
  divert::SourcePorts ports(kRange);
  if (ports.bind(socket.get(), to) == 0 && name_of(socket.get()).port() != 0)
    CHECK(kRange.contains(name_of(socket.get()).port()));
}

TEST_CASE("source_ports: connections elsewhere get a port of the kernel's") {
  divert::SourcePorts ports(kRange);
  for (const auto& to : {at("192.0.2.1", 80), at("2001:db8::1", 443)}) {
    const base::UniqueFd socket = open(to);
    CHECK(ports.bind(socket.get(), to) == 0);
    CHECK(name_of(socket.get()).port() == 0);
  }
}

TEST_CASE("source_ports: a process whose rules want nothing binds nothing") {
  const auto to = at("127.0.0.1", 80);
  const base::UniqueFd socket = open(to);
  divert::use_source_ports(std::nullopt);
  CHECK(divert::bind_source_port(socket.get(), to) == 0);
  CHECK(name_of(socket.get()).port() == 0);
}
