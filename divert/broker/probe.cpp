#include "divert/broker/probe.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <span>

#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"

namespace divert {
namespace {

using pfctl::ProbeResult;

/// For documentation (RFC 5737, RFC 3849): no host answers for them.
constexpr std::array kNowhereV4{"198.51.100.77", "203.0.113.77", "192.0.2.77"};
constexpr std::array kNowhereV6{"2001:db8:6f73::77", "2001:db8::77"};

bool has_no_route(int error) {
  return error == ENETUNREACH || error == EHOSTUNREACH || error == ENETDOWN ||
         error == EADDRNOTAVAIL || error == EAFNOSUPPORT;
}

/// In the child: nothing but system calls. `parent` is readable when the parent has gone.
ProbeResult wait_for(int fd, int parent, int limit_ms) {
  pollfd ends[] = {{fd, POLLOUT, 0}, {parent, POLLIN, 0}};
  if (::poll(ends, 2, limit_ms) < 1 || ends[0].revents == 0) return ProbeResult::missed;
  int error = 0;
  socklen_t size = sizeof error;
  if (::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) return ProbeResult::missed;
  if (error == 0) return ProbeResult::reached;
  return has_no_route(error) ? ProbeResult::no_route : ProbeResult::missed;
}

ProbeResult connect_once(const base::Endpoint& to, std::optional<gid_t> group, int parent,
                         int limit_ms) {
  // pf looks at the group that the socket was made with.
  if (group && ::setegid(*group) != 0) return ProbeResult::missed;
  const int fd = ::socket(to.protocol().family(), SOCK_STREAM, 0);
  if (fd < 0) return ProbeResult::no_route;
  if (!base::set_non_blocking(fd)) return ProbeResult::missed;
  const linger reset{1, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  if (::connect(fd, to.data(), static_cast<socklen_t>(to.size())) == 0) return ProbeResult::reached;
  if (errno != EINPROGRESS)
    return has_no_route(errno) ? ProbeResult::no_route : ProbeResult::missed;
  return wait_for(fd, parent, limit_ms);
}

/// Tells how it went, and keeps the connection until the parent has let go of its end.
[[noreturn]] void be_child(const base::Endpoint& to, std::optional<gid_t> group, int parent,
                           int limit_ms) {
  const char said = static_cast<char>(connect_once(to, group, parent, limit_ms));
  if (::send(parent, &said, 1, base::kNoSignal) == 1) {
    char end;
    while (::read(parent, &end, 1) < 0 && errno == EINTR) {
    }
  }
  ::_exit(0);
}

ProbeResult hear(int child, int limit_ms) {
  pollfd said{child, POLLIN, 0};
  int ready = 0;
  do {
    ready = ::poll(&said, 1, limit_ms);
  } while (ready < 0 && errno == EINTR);
  char tried = 0;
  if (ready != 1 || ::read(child, &tried, 1) != 1) return ProbeResult::missed;
  return static_cast<ProbeResult>(tried);
}

}  // namespace

std::optional<base::Endpoint> probe_destination(const pfctl::Ruleset& rules, bool ipv6) {
  const std::span<const char* const> candidates =
      ipv6 ? std::span<const char* const>{kNowhereV6} : kNowhereV4;
  const auto& ports = ipv6 && rules.ports_v6 ? *rules.ports_v6 : rules.ports;
  for (const char* each : candidates) {
    const auto address = boost::asio::ip::make_address(each);
    const bool excluded = std::ranges::any_of(
        rules.excluded, [&](const base::Network& network) { return network.contains(address); });
    if (!excluded)
      return base::Endpoint{address, ports.empty() ? std::uint16_t{443} : ports.front().first};
  }
  return {};
}

base::Result<ProbeResult> try_connection(const base::Endpoint& to, std::optional<gid_t> group,
                                         const Arrival& has_arrived,
                                         std::chrono::milliseconds limit) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0)
    return base::os_error("cannot try the rules", errno);
  base::UniqueFd ours{ends[0]};
  base::UniqueFd theirs{ends[1]};
  if (!base::set_close_on_exec(ours.get()) || !base::set_close_on_exec(theirs.get()))
    return base::os_error("cannot try the rules", errno);
  const int limit_ms = static_cast<int>(limit.count());
  const pid_t child = ::fork();
  if (child < 0) return base::os_error("cannot try the rules", errno);
  if (child == 0) {
    ::close(ours.get());
    be_child(to, group, theirs.get(), limit_ms);
  }
  theirs.reset();
  ProbeResult tried = hear(ours.get(), 2 * limit_ms);
  if (tried == ProbeResult::reached && !has_arrived(limit)) tried = ProbeResult::missed;
  ours.reset();
  while (::waitpid(child, nullptr, 0) < 0) {
    if (errno != EINTR) return base::os_error("cannot try the rules", errno);
  }
  return tried;
}

}  // namespace divert
