#include "divert/probe.h"

#include <cerrno>

#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"

namespace divert {
namespace {

using pfctl::Tried;

bool has_no_route(int error) {
  return error == ENETUNREACH || error == EHOSTUNREACH || error == ENETDOWN || error == EADDRNOTAVAIL ||
         error == EAFNOSUPPORT;
}

/// In the child: nothing but system calls.
Tried connect_once(const base::Endpoint& to, std::optional<gid_t> group, int limit_ms) {
  // pf looks at the group that the socket was made with.
  if (group && ::setegid(*group) != 0) return Tried::astray;
  const int fd = ::socket(to.protocol().family(), SOCK_STREAM, 0);
  if (fd < 0) return Tried::no_route;
  if (!base::set_non_blocking(fd)) return Tried::astray;
  const linger reset{1, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  if (::connect(fd, to.data(), static_cast<socklen_t>(to.size())) == 0) return Tried::arrived;
  if (errno != EINPROGRESS) return has_no_route(errno) ? Tried::no_route : Tried::astray;
  pollfd connected{fd, POLLOUT, 0};
  if (::poll(&connected, 1, limit_ms) != 1) return Tried::astray;
  int error = 0;
  socklen_t size = sizeof error;
  if (::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) return Tried::astray;
  if (error == 0) return Tried::arrived;
  return has_no_route(error) ? Tried::no_route : Tried::astray;
}

}  // namespace

base::Endpoint probe_destination(const pfctl::Ruleset& rules, bool ipv6) {
  const char* address = ipv6 ? "2001:db8:6f73::77" : "198.51.100.77";
  return {boost::asio::ip::make_address(address),
          rules.ports.empty() ? std::uint16_t{443} : rules.ports.front().first};
}

base::Result<Tried> try_connection(const base::Endpoint& to, std::optional<gid_t> group,
                                   std::chrono::milliseconds limit) {
  const pid_t child = ::fork();
  if (child < 0) return base::os_error("cannot try the rules", errno);
  if (child == 0) ::_exit(static_cast<int>(connect_once(to, group, static_cast<int>(limit.count()))));
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return base::os_error("cannot try the rules", errno);
  }
  return WIFEXITED(status) ? static_cast<Tried>(WEXITSTATUS(status)) : Tried::astray;
}

}  // namespace divert
