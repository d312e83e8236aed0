#include "divert/worker/listeners.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/test.h"

namespace {

/// Tries to join the group of listeners on 127.0.0.1:`port`; 0 or errno.
int try_to_join(std::uint16_t port) {
  const base::UniqueFd fd{::socket(AF_INET, SOCK_STREAM, 0)};
  const int one = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ? 0
                                                                                            : errno;
}

}  // namespace

TEST_CASE("listeners: one port for all contexts, and the kernel spreads connections over them") {
  const auto all = divert::bind_listeners(3, true, false);
  REQUIRE(all.has_value());
  REQUIRE(all->pairs.size() == 3);
  CHECK(all->port_v6 == 0);
  std::vector<base::UniqueFd> clients;
  for (int i = 0; i < 200; ++i) {
    clients.emplace_back(::socket(AF_INET, SOCK_STREAM, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(all->port_v4);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(::connect(clients.back().get(), reinterpret_cast<const sockaddr*>(&address),
                      sizeof address) == 0);
  }
  int total = 0;
  for (const auto& pair : all->pairs) {
    int accepted = 0;
    while (base::UniqueFd{::accept(pair.v4.get(), nullptr, nullptr)}) ++accepted;
    CHECK(accepted > 0);
    total += accepted;
  }
  CHECK(total == 200);
}

TEST_CASE("listeners: another uid cannot join them") {
  const auto all = divert::bind_listeners(1, true, false);
  REQUIRE(all.has_value());
  REQUIRE(::seteuid(65534) == 0);
  const int refused = try_to_join(all->port_v4);
  REQUIRE(::seteuid(0) == 0);
  CHECK(refused == EADDRINUSE);
}

TEST_CASE("listeners: a taken port is never joined, not even root's") {
  const auto first = divert::bind_listeners(1, true, false);
  REQUIRE(first.has_value());
  const auto second = divert::bind_listeners(1, true, false);
  REQUIRE(second.has_value());
  CHECK(second->port_v4 != first->port_v4);
  const auto named = divert::bind_listeners(1, true, false, first->port_v4);
  REQUIRE_FALSE(named.has_value());
  CHECK(named.error().text ==
        fmt::format("port {} on 127.0.0.1 is taken; name another one with --listen-port",
                    first->port_v4));
}

TEST_CASE("listeners: know themselves by address and port, wherever they are") {
  const auto end = [](const char* address, std::uint16_t port) {
    return base::Endpoint{boost::asio::ip::make_address(address), port};
  };
  // As the aliases of lo0 on pf.
  const auto all = divert::bind_listeners(
      1, true, false, 0,
      {boost::asio::ip::make_address("127.0.0.66"), boost::asio::ip::make_address("::1")});
  REQUIRE_MESSAGE(all.has_value(), all);
  CHECK(all->holds(end("127.0.0.66", all->port_v4)));
  CHECK(all->holds(end("::ffff:127.0.0.66", all->port_v4)));
  CHECK(!all->holds(end("127.0.0.66", static_cast<std::uint16_t>(all->port_v4 + 1))));
  CHECK(!all->holds(end("127.0.0.1", all->port_v4)));
  CHECK(!all->holds(end("::1", all->port_v4)));
  CHECK(!all->holds(end("::1", 0)));
}
