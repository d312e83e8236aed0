// Bytes from one socket to the other and back, untouched, through splice(2) where the kernel has it.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>

#include "divert/connection.h"

namespace divert {

/// Runs until both directions have ended. Half-close is passed on (FIN to FIN), a reset of one side resets
/// the other, an error never looks like a clean end. Nothing is held while a direction is idle (pipes come
/// from a pool of the thread).
boost::asio::awaitable<Outcome> relay(boost::asio::ip::tcp::socket client,
                                      boost::asio::ip::tcp::socket server);

/// Closes with RST (SO_LINGER 0).
void reset(boost::asio::ip::tcp::socket& socket);

}  // namespace divert
