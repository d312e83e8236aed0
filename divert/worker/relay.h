// Bytes from one socket to the other and back, untouched, through splice(2) where the kernel has
// it.
#pragma once

#include <string_view>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>

#include "divert/worker/connection.h"

namespace divert {

/// Runs until both directions have ended. Half-close is passed on (FIN to FIN). A reset of one
/// side, or any other error, resets the other, once that has what was said before, or takes nothing
/// for kDeliveryTimeout: an error never looks like a clean end. Nothing is held while a direction
/// is idle: no pipe (they come from a pool of the thread), no buffer.
///
/// Both sockets are connected and belong to the single-threaded context on which the coroutine
/// runs; their options are changed (non-blocking, no delay, urgent data in line). SIGPIPE is
/// blocked in the calling thread from the first relay on, because splice(2) has no MSG_NOSIGNAL.
/// When the coroutine is cancelled both sides are reset.
///
/// However else it ends (reset_relays(), a coroutine that is dropped, a process that is killed),
/// both sides see a reset: half of what was on its way never looks like all of it.
///
/// Outcome::error: "client reset", "server reset", or the side and the system's text ("server:
/// Connection timed out"). Bytes are counted when the other side's kernel has taken them.
boost::asio::awaitable<Outcome> relay(boost::asio::ip::tcp::socket client,
                                      boost::asio::ip::tcp::socket server);

/// Ends every relay of the calling thread; the error of each is `why`.
void reset_relays(std::string_view why);

/// Closes with RST (SO_LINGER 0).
void reset(boost::asio::ip::tcp::socket& socket);

/// From here on `socket` ends with a reset when it is closed, by us or by the kernel, when this
/// process is killed.
void reset_on_close(int socket);

/// Takes that back: what was sent last is still delivered, and its end is a FIN.
void end_on_close(int socket);

}  // namespace divert
