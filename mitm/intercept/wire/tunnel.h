// A connection whose bytes travel inside TLS to a proxy, as a plain socket for everything else.
#pragma once

#include <memory>
#include <span>

#include <boost/asio/awaitable.hpp>

#include "mitm/intercept/context/memory.h"
#include "mitm/intercept/wire/side.h"
#include "mitm/intercept/wire/tcp_stream.h"
#include "mitm/intercept/wire/upstream_tls.h"

namespace mitm::intercept {

/// Both ends; the other end of `near` is what is handed out.
struct Tunnel {
  struct Near {
    explicit Near(TcpStream::Socket socket) : tcp(std::move(socket)) {}

    TcpStream tcp;
    PeekBuffer stream{tcp};
  };

  Tunnel(TcpStream::Socket proxy, UpstreamTls& tls, const UpstreamTls::Ask& ask,
         std::shared_ptr<MemoryBudget> budget)
      : attempt(tls, ask), memory(std::move(budget)), tcp(std::move(proxy)) {}

  UpstreamTls::Attempt attempt;
  MemoryAccount memory;  ///< its own: a tunnel may hang in its io_context longer than the engine
  TcpStream tcp;         ///< to the proxy
  Side far{tcp};
  std::unique_ptr<Near> near;
};

/// Two connected sockets over the loopback: unlike a socketpair, resets reach the other side as
/// resets.
[[nodiscard]] base::Result<std::pair<TcpStream::Socket, TcpStream::Socket>> loopback_pair(
    const boost::asio::any_io_executor& executor);

/// Passes bytes until both directions have ended; see Pump, also for `scratch`.
boost::asio::awaitable<void> run(std::unique_ptr<Tunnel> tunnel, std::span<char> scratch);

}  // namespace mitm::intercept
