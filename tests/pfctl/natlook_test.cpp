// Redirected connections of real sockets, and what conntrack says of them. Needs root.
#include "pfctl/natlook.h"

#include <cerrno>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "pfctl/loader.h"
#include "tests/pfctl/landed.h"
#include "tests/pfctl/namespace.h"
#include "tests/test.h"

namespace {

using pfctl_test::Child;
using pfctl_test::Namespace;

constexpr std::uint32_t kGroup = 61234;

base::Endpoint endpoint(std::string_view text) {
  return base::parse_endpoint(text).value();
}

base::UniqueFd new_socket(const base::Endpoint& like) {
  base::UniqueFd socket{::socket(like.protocol().family(), SOCK_STREAM | SOCK_CLOEXEC, 0)};
  REQUIRE(socket);
  const int on = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const timeval limit{.tv_sec = 2, .tv_usec = 0};
  ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  return socket;
}

base::UniqueFd listen_on(const base::Endpoint& local) {
  auto socket = new_socket(local);
  REQUIRE(::bind(socket.get(), local.data(), local.size()) == 0);
  REQUIRE(::listen(socket.get(), 100) == 0);
  return socket;
}

base::UniqueFd connect_to(const base::Endpoint& source, const base::Endpoint& destination) {
  auto socket = new_socket(source);
  REQUIRE(::bind(socket.get(), source.data(), source.size()) == 0);
  REQUIRE(::connect(socket.get(), destination.data(), destination.size()) == 0);
  return socket;
}

base::Endpoint ask(int (*call)(int, sockaddr*, socklen_t*), int socket) {
  base::Endpoint result;
  auto size = static_cast<socklen_t>(result.capacity());
  REQUIRE(call(socket, result.data(), &size) == 0);
  result.resize(size);
  return result;
}

struct Accepted {
  base::UniqueFd socket;
  base::Endpoint peer, local;
};

Accepted accept_from(const base::UniqueFd& listener) {
  base::UniqueFd socket{::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC)};
  REQUIRE(socket);
  const int fd = socket.get();
  return {std::move(socket), ask(::getpeername, fd), ask(::getsockname, fd)};
}

bool has_nobody(const base::UniqueFd& listener) {
  const int flags = ::fcntl(listener.get(), F_GETFL);
  ::fcntl(listener.get(), F_SETFL, flags | O_NONBLOCK);
  const base::UniqueFd visitor{::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC)};
  const int error = errno;
  ::fcntl(listener.get(), F_SETFL, flags);
  return !visitor && error == EAGAIN;
}

pfctl::OriginalTuple original_of(pfctl::Natlook& natlook, const Accepted& accepted) {
  const auto result = natlook.lookup(accepted.peer, accepted.local);
  REQUIRE(result);
  REQUIRE(result->has_value());
  return **result;
}

pfctl::Ruleset ruleset(std::uint16_t listener) {
  pfctl::Ruleset rules;
  rules.exempt_gid = kGroup;
  rules.listener_v4 = rules.listener_v6 = listener;
  return pfctl::validated(rules).value();
}

// Sockets made while it lives belong to the exempt group.
class InGroup {
 public:
  explicit InGroup(gid_t gid) { REQUIRE(::setegid(gid) == 0); }
  ~InGroup() { ::setegid(::getgid()); }
  InGroup(const InGroup&) = delete;
  InGroup& operator=(const InGroup&) = delete;
};

}  // namespace

TEST_CASE("natlook: a redirected connection's original tuple, IPv4 and IPv6") {
  const struct {
    const char *listener, *source, *destination;
  } cases[] = {
      {"127.0.0.1:8899", "192.0.2.1:41000", "198.51.100.1:443"},
      {"[::1]:8899", "[2001:db8::1]:41000", "[2001:db8:1::9]:443"},
  };
  Namespace fresh;
  fresh.add_uplink();
  const auto rules = pfctl_test::load(ruleset(8899));
  REQUIRE(rules);
  auto natlook = pfctl::Natlook::open();
  REQUIRE(natlook);
  for (const auto& each : cases) {
    const auto listener = listen_on(endpoint(each.listener));
    const auto client = connect_to(endpoint(each.source), endpoint(each.destination));
    const Accepted accepted = accept_from(listener);
    CHECK(base::to_string(accepted.local) == each.listener);
    const auto original = original_of(*natlook, accepted);
    CHECK(base::to_string(original.source) == each.source);
    CHECK(base::to_string(original.destination) == each.destination);
    CHECK(original.mark == 0);
    CHECK(base::to_string(ask(::getpeername, client.get())) == each.destination);
  }
}

TEST_CASE(
    "natlook: one source port to many destinations: the "
    "peer's port is another, the original is right") {
  const struct {
    const char *listener, *source, *destination;
  } cases[] = {
      {"127.0.0.1:8899", "192.0.2.1:41000", "198.51.100.{}:443"},
      {"[::1]:8899", "[2001:db8::1]:41000", "[2001:db8:1::{}]:443"},
  };
  Namespace fresh;
  fresh.add_uplink();
  const auto rules = pfctl_test::load(ruleset(8899));
  REQUIRE(rules);
  auto natlook = pfctl::Natlook::open();
  REQUIRE(natlook);
  for (const auto& each : cases) {
    const auto listener = listen_on(endpoint(each.listener));
    std::vector<base::UniqueFd> kept;
    int rewritten = 0;
    for (int i = 1; i <= 20; ++i) {
      const std::string destination = fmt::format(fmt::runtime(each.destination), i);
      kept.push_back(connect_to(endpoint(each.source), endpoint(destination)));
      Accepted accepted = accept_from(listener);
      rewritten += accepted.peer.port() != 41000;
      const auto original = original_of(*natlook, accepted);
      CHECK(base::to_string(original.source) == each.source);
      CHECK(base::to_string(original.destination) == destination);
      kept.push_back(std::move(accepted.socket));
    }
    CHECK(rewritten == 19);
  }
}

TEST_CASE("natlook: the connection mark comes with the tuple") {
  Namespace fresh;
  fresh.add_uplink();
  const auto rules = pfctl_test::load(ruleset(8899));
  REQUIRE(rules);
  pfctl_test::run(
      "nft 'add table inet marker; add chain inet marker out { type filter hook output priority "
      "0; }; add rule inet marker out ct mark set 0x00c0ffee'");
  auto natlook = pfctl::Natlook::open();
  REQUIRE(natlook);
  const auto listener = listen_on(endpoint("127.0.0.1:8899"));
  const auto client = connect_to(endpoint("192.0.2.1:41000"), endpoint("198.51.100.1:443"));
  CHECK(original_of(*natlook, accept_from(listener)).mark == 0x00c0ffee);
}

TEST_CASE("natlook: v4-mapped endpoints of a dual-stack listener") {
  Namespace fresh;
  fresh.add_uplink();
  const auto rules = pfctl_test::load(ruleset(8899));
  REQUIRE(rules);
  auto natlook = pfctl::Natlook::open();
  REQUIRE(natlook);
  const auto listener = listen_on(endpoint("[::]:8899"));
  const auto client = connect_to(endpoint("192.0.2.1:41000"), endpoint("198.51.100.1:443"));
  const Accepted accepted = accept_from(listener);
  REQUIRE(accepted.peer.address().is_v6());
  const auto original = original_of(*natlook, accepted);
  CHECK(original.destination == endpoint("198.51.100.1:443"));
  CHECK(original.source == endpoint("192.0.2.1:41000"));
}

TEST_CASE("natlook: a direct visitor has itself as original") {
  Namespace fresh;
  for (const bool loopback : {false, true}) {
    auto wanted = ruleset(8899);
    wanted.loopback = loopback;
    const auto rules = pfctl_test::load(wanted);
    REQUIRE(rules);
    auto natlook = pfctl::Natlook::open();
    REQUIRE(natlook);
    for (const char* text : {"127.0.0.1:8899", "[::1]:8899"}) {
      const base::Endpoint local = endpoint(text);
      const auto listener = listen_on(local);
      const auto client = connect_to({local.address(), 0}, local);
      const Accepted accepted = accept_from(listener);
      const auto original = original_of(*natlook, accepted);
      CHECK(original.destination == local);
      CHECK(original.source == accepted.peer);
    }
  }
}

TEST_CASE("natlook: connections that the kernel does not know are empty, not errors") {
  const Namespace fresh;
  auto natlook = pfctl::Natlook::open();
  REQUIRE(natlook);
  for (int i = 0; i < 1000; ++i) {
    CHECK_FALSE(natlook->lookup(endpoint("192.0.2.9:1"), endpoint("127.0.0.1:8899")).value());
    CHECK_FALSE(natlook->lookup(endpoint("[2001:db8::9]:1"), endpoint("[::1]:8899")).value());
  }
  CHECK(natlook->lookup(endpoint("192.0.2.9:1"), endpoint("[::1]:8899")).error().text ==
        "192.0.2.9:1 and [::1]:8899 cannot be the ends of one connection");
}

TEST_CASE("natlook: without privilege opening says so") {
  const Namespace fresh;
  const Child nobody([] {
    if (::setgid(65534) != 0 || ::setuid(65534) != 0) return std::string("cannot drop privileges");
    return pfctl::Natlook::open().error().text;
  });
  CHECK(nobody.said() ==
        "cannot ask conntrack for original destinations: no permission; run as root");
}

TEST_CASE(
    "natlook: the exempt group and excluded destinations are not redirected, everybody else is") {
  Namespace fresh;
  fresh.add_uplink();
  pfctl_test::run("ip addr add 203.0.113.7/32 dev beyond");
  auto wanted = ruleset(8899);
  wanted.loopback = true;
  wanted.excluded = {base::parse_network("127.0.0.2").value()};
  const auto rules = pfctl_test::load(wanted);
  REQUIRE(rules);
  const auto listener = listen_on(endpoint("127.0.0.1:8899"));
  const auto server = listen_on(endpoint("0.0.0.0:8080"));
  const base::Endpoint anywhere = endpoint("0.0.0.0:0");
  {
    const InGroup exempt(kGroup);
    const auto client = connect_to(anywhere, endpoint("203.0.113.7:8080"));
    CHECK(accept_from(server).local == endpoint("203.0.113.7:8080"));
  }
  const auto excluded = connect_to(anywhere, endpoint("127.0.0.2:8080"));
  CHECK(accept_from(server).local == endpoint("127.0.0.2:8080"));
  CHECK(has_nobody(listener));
  const auto diverted = connect_to(anywhere, endpoint("203.0.113.7:8080"));
  CHECK(accept_from(listener).local == endpoint("127.0.0.1:8899"));
  CHECK(has_nobody(server));
}

TEST_CASE("natlook: without the loopback opt-in the machine's own addresses are left alone") {
  Namespace fresh;
  fresh.add_uplink();
  const auto rules = pfctl_test::load(ruleset(8899));
  REQUIRE(rules);
  const auto listener = listen_on(endpoint("127.0.0.1:8899"));
  const auto listener6 = listen_on(endpoint("[::1]:8899"));
  for (const char* text :
       {"127.0.0.1:8080", "192.0.2.1:8080", "[::1]:8080", "[2001:db8::1]:8080"}) {
    const base::Endpoint destination = endpoint(text);
    const auto server = listen_on(destination);
    const auto client = connect_to({destination.address(), 0}, destination);
    CHECK(accept_from(server).local == destination);
  }
  CHECK(has_nobody(listener));
  CHECK(has_nobody(listener6));
}

TEST_CASE("natlook: a family that is off goes its own way") {
  Namespace fresh;
  fresh.add_uplink();
  auto wanted = ruleset(8899);
  wanted.loopback = true;
  wanted.ipv4 = false;
  const auto rules = pfctl_test::load(wanted);
  REQUIRE(rules);
  const auto listener = listen_on(endpoint("127.0.0.1:8899"));
  const auto listener6 = listen_on(endpoint("[::1]:8899"));
  const auto server = listen_on(endpoint("127.0.0.1:8080"));
  const auto four = connect_to(endpoint("127.0.0.1:0"), endpoint("127.0.0.1:8080"));
  CHECK(accept_from(server).local == endpoint("127.0.0.1:8080"));
  CHECK(has_nobody(listener));
  const auto six = connect_to(endpoint("[::1]:0"), endpoint("[::1]:8080"));
  CHECK(accept_from(listener6).local == endpoint("[::1]:8899"));
}

TEST_CASE(
    "natlook: after stop_diverting new connections are left alone, diverted ones live on, until "
    "divert_again") {
  Namespace fresh;
  fresh.add_uplink();
  auto natlook = pfctl::Natlook::open();
  REQUIRE(natlook);
  auto wanted = ruleset(8899);
  wanted.loopback = true;
  auto rules = pfctl_test::load(wanted);
  REQUIRE(rules);
  const auto listener = listen_on(endpoint("127.0.0.1:8899"));
  const auto server = listen_on(endpoint("127.0.0.1:8080"));
  const auto client = connect_to(endpoint("192.0.2.1:41000"), endpoint("198.51.100.1:443"));
  const Accepted accepted = accept_from(listener);
  REQUIRE(rules->stop_diverting());
  CHECK(pfctl::rules_owner().value() == ::getpid());
  REQUIRE(base::write_all(accepted.socket.get(), "still here"));
  char bytes[10]{};
  REQUIRE(::read(client.get(), bytes, sizeof bytes) == 10);
  CHECK(std::string_view(bytes, 10) == "still here");
  CHECK(original_of(*natlook, accepted).destination == endpoint("198.51.100.1:443"));
  const auto later = connect_to(endpoint("127.0.0.1:0"), endpoint("127.0.0.1:8080"));
  CHECK(accept_from(server).local == endpoint("127.0.0.1:8080"));
  CHECK(has_nobody(listener));
  REQUIRE(rules->divert_again());
  const auto again = connect_to(endpoint("192.0.2.1:0"), endpoint("198.51.100.1:443"));
  CHECK(original_of(*natlook, accept_from(listener)).destination == endpoint("198.51.100.1:443"));
  REQUIRE(base::write_all(accepted.socket.get(), "and now"));
  REQUIRE(::read(client.get(), bytes, sizeof bytes) == 7);
}
