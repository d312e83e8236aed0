// A connection whose bytes travel inside TLS to a proxy, as a plain socket for everybody else.
#pragma once

#include <memory>

#include <boost/asio/awaitable.hpp>

#include "mitm/intercept/wire/side.h"
#include "mitm/intercept/wire/upstream_tls.h"

namespace mitm::intercept {

/// Both ends of the way; the other end of `near` is what is handed out.
struct Tunnel {
  Tunnel(TcpStream::Socket proxy, UpstreamTls& tls, const UpstreamTls::Ask& ask)
      : attempt(tls, ask), far(std::move(proxy)) {}

  UpstreamTls::Attempt attempt;
  Side far;
  std::unique_ptr<Side> near;
};

/// Two connected sockets over the loopback: unlike a socketpair, resets reach the other side as
/// resets.
[[nodiscard]] base::Result<std::pair<TcpStream::Socket, TcpStream::Socket>> loopback_pair(
    const boost::asio::any_io_executor& executor);

/// Passes bytes until both directions have ended. Half-closes are passed on, a reset or a TLS error
/// resets.
boost::asio::awaitable<void> run(std::unique_ptr<Tunnel> tunnel);

}  // namespace mitm::intercept
