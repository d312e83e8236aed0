// No system tells when the last byte is acknowledged: the socket is asked now and then.
#include "divert/worker/send_queue.h"

#include <utility>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <sys/socket.h>

namespace divert {
namespace {

namespace asio = boost::asio;
using Clock = std::chrono::steady_clock;

constexpr auto kLook = std::chrono::milliseconds{20};

/// Clears it.
int error_of(int fd) {
  int error = 0;
  socklen_t size = sizeof error;
  return ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? error : 0;
}

}  // namespace

asio::awaitable<int> until_acknowledged(asio::ip::tcp::socket& socket) {
  asio::steady_timer timer{socket.get_executor()};
  auto left = socket.is_open() ? unacknowledged(socket.native_handle()) : 0;
  for (auto limit = Clock::now() + kDeliveryTimeout; left > 0 && Clock::now() < limit;) {
    timer.expires_after(kLook);
    const auto [cancelled] = co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
    if (cancelled || !socket.is_open()) break;
    if (const int error = error_of(socket.native_handle())) co_return error;
    const auto before = std::exchange(left, unacknowledged(socket.native_handle()));
    if (left < before) limit = Clock::now() + kDeliveryTimeout;
  }
  co_return 0;
}

}  // namespace divert
