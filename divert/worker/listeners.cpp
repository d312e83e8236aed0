// Loopback listeners by plain socket calls: Asio takes the descriptors over in the worker.
#include "divert/worker/listeners.h"

#include <cerrno>

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

namespace divert {
namespace {

/// Connections that wait for accept(); the kernel's net.core.somaxconn limits it.
constexpr int kBacklog = 4096;

std::uint16_t port_of(int fd) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &size) != 0) return 0;
  return ntohs(storage.ss_family == AF_INET ? reinterpret_cast<sockaddr_in&>(storage).sin_port
                                            : reinterpret_cast<sockaddr_in6&>(storage).sin6_port);
}

bool set_flag(int fd, int level, int option) {
  const int one = 1;
  return ::setsockopt(fd, level, option, &one, sizeof one) == 0;
}

base::Error bind_error(const base::Endpoint& where, int code) {
  const std::string host = where.address().is_v6()
                               ? fmt::format("[{}]", where.address().to_string())
                               : where.address().to_string();
  const std::uint16_t port = where.port();
  if (code != EADDRINUSE)
    return base::os_error(fmt::format("cannot bind a listener on {}", base::to_string(where)),
                          code);
  if (port == 0) {
    return {fmt::format("no free port on {} for the listener; the range of local ports is a "
                        "sysctl (net.ipv4.ip_local_port_range, net.inet.ip.portrange)",
                        host),
            code};
  }
  return {fmt::format("port {} on {} is taken; name another one with --listen-port", port, host),
          code};
}

enum class Place { first, beside };  ///< in its group of listeners

/// A listener on `port`, or on a free one when it is 0. The first one is bound before SO_REUSEPORT
/// is set: so it cannot join the listeners of another program of root's.
base::Result<base::UniqueFd> listen_on(const base::Endpoint& where, Place place) {
  const int family = where.protocol().family();
  base::UniqueFd fd{::socket(family, SOCK_STREAM, 0)};
  if (!fd) return base::os_error("cannot make a listener", errno);
  bool good =
      ::fcntl(fd.get(), F_SETFD, FD_CLOEXEC) == 0 && ::fcntl(fd.get(), F_SETFL, O_NONBLOCK) == 0;
  if (family == AF_INET6) good = good && set_flag(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY);
  if (place == Place::beside) good = good && set_flag(fd.get(), SOL_SOCKET, SO_REUSEPORT);
  // Connections of an earlier run that are in TIME_WAIT do not keep the port.
  good = good && set_flag(fd.get(), SOL_SOCKET, SO_REUSEADDR);
  if (!good) return base::os_error("cannot set up a listener", errno);
  if (::bind(fd.get(), where.data(), static_cast<socklen_t>(where.size())) != 0)
    return bind_error(where, errno);
  const bool shared = !kListenersShareConnections || set_flag(fd.get(), SOL_SOCKET, SO_REUSEPORT);
  if (!shared || ::listen(fd.get(), kBacklog) != 0) return bind_error(where, errno);
  return fd;
}

base::Result<base::UniqueFd> first_listener(const base::Address& address, std::uint16_t port) {
  if (port != 0) return listen_on({address, port}, Place::first);
  auto usual = listen_on({address, kUsualPort}, Place::first);
  return usual || usual.error().os_code != EADDRINUSE ? std::move(usual)
                                                      : listen_on({address, 0}, Place::first);
}

/// One more for the port of `first`, which is at `where`.
base::Result<base::UniqueFd> further_listener(const base::UniqueFd& first,
                                              const base::Endpoint& where) {
  if (kListenersShareConnections) return listen_on(where, Place::beside);
  base::UniqueFd same{::fcntl(first.get(), F_DUPFD_CLOEXEC, 0)};
  if (!same) return base::os_error("cannot share a listener", errno);
  return same;
}

/// All listeners of one family; the port they share, 0 when the machine lacks IPv6.
base::Result<std::uint16_t> bind_family(const base::Address& address, std::uint16_t port,
                                        Listeners& all, base::UniqueFd ListenerPair::*member) {
  auto first = first_listener(address, port);
  if (!first) {
    const int code = first.error().os_code;
    if (address.is_v6() && (code == EAFNOSUPPORT || code == EADDRNOTAVAIL)) return std::uint16_t{0};
    return first.error();
  }
  const std::uint16_t bound = port_of(first->get());
  all.pairs.front().*member = std::move(*first);
  for (std::size_t i = 1; i < all.pairs.size(); ++i) {
    auto next = further_listener(all.pairs.front().*member, {address, bound});
    if (!next) return next.error();
    all.pairs[i].*member = std::move(*next);
  }
  return bound;
}

}  // namespace

bool Listeners::holds(const base::Endpoint& end) const {
  const auto address = base::unmapped(end.address());
  const std::uint16_t port = address.is_v4() ? port_v4 : port_v6;
  return port != 0 && end.port() == port && address == (address.is_v4() ? at.v4 : at.v6);
}

base::Result<Listeners> bind_listeners(unsigned count, bool ipv4, bool ipv6, std::uint16_t port,
                                       const ListenAddresses& at) {
  Listeners all;
  all.at = at;
  all.pairs.resize(count);
  if (ipv4) {
    const auto bound = bind_family(at.v4, port, all, &ListenerPair::v4);
    if (!bound) return bound.error();
    all.port_v4 = *bound;
  }
  if (ipv6) {
    const auto bound = bind_family(at.v6, port, all, &ListenerPair::v6);
    if (!bound) return bound.error();
    all.port_v6 = *bound;
  }
  return all;
}

}  // namespace divert
