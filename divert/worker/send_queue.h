// What the other end of a connection has yet to take from us.
#pragma once

#include <chrono>
#include <cstddef>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>

namespace divert {

/// How long a side that takes nothing holds up the end of the other one, or its own.
inline constexpr std::chrono::seconds kDeliveryTimeout{5};

/// Bytes that were written to the TCP socket `fd` and have not been acknowledged: not sent yet, on
/// their way, or dropped by a receiver that had no room for them. 0 also when it cannot be told.
std::size_t unacknowledged(int fd);

/// Those of them that have not been sent; all of them where the system tells no difference.
std::size_t unsent(int fd);

/// Until the other end's kernel has what was written to `socket`, or has taken none of it for
/// kDeliveryTimeout, or the socket has failed (errno; 0: it has not): a reset, or closing with
/// something unread, takes back what the other end has not.
boost::asio::awaitable<int> until_acknowledged(boost::asio::ip::tcp::socket& socket);

}  // namespace divert
