// Systems without splice(2) between sockets, by plain POSIX calls: compiled and tested on Linux as
// well. kqueue, as Asio uses it, tells nothing of a reset unless the socket is read: it is asked
// now and then.
#include <chrono>
#include <utility>

#include <boost/asio/deferred.hpp>
#include <boost/asio/experimental/parallel_group.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <sys/socket.h>

#include "divert/worker/splice_buffer.h"

namespace divert {
namespace {

namespace asio = boost::asio;
using tcp = asio::ip::tcp;

constexpr std::size_t kBufferSize = 64 << 10;
constexpr auto kLookAgain = std::chrono::milliseconds{200};

/// The unused buffer of this thread; without one, a new one is made.
std::vector<char>& spare() {
  thread_local std::vector<char> buffer;
  return buffer;
}

template <class Call>
Moved moved(Call call) {
  for (;;) {
    const ssize_t n = call();
    if (n >= 0) return {static_cast<std::size_t>(n), 0};
    if (errno != EINTR) return {0, errno};
  }
}

/// errno, or 0. Clears it: the caller ends both directions.
int error_of(tcp::socket& socket) {
  int error = 0;
  socklen_t size = sizeof error;
  if (!socket.is_open()) return 0;
  ::getsockopt(socket.native_handle(), SOL_SOCKET, SO_ERROR, &error, &size);
  return error;
}

}  // namespace

Moved Transit::fill(int source) {
  return copy(source);
}

Moved Transit::copy(int source) {
  if (buffer_.empty()) buffer_ = std::move(spare());
  buffer_.resize(kBufferSize);
  const Moved in =
      moved([&] { return ::recv(source, buffer_.data(), buffer_.size(), MSG_DONTWAIT); });
  held_ = in.bytes;
  begin_ = 0;
  return in;
}

Moved Transit::drain(int sink) {
  const Moved out = moved(
      [&] { return ::send(sink, buffer_.data() + begin_, held_, MSG_DONTWAIT | base::kNoSignal); });
  held_ -= out.bytes;
  begin_ += out.bytes;
  return out;
}

void Transit::release() {
  if (!buffer_.empty()) spare() = std::move(buffer_);
  buffer_ = {};
  held_ = 0;
}

void prepare_thread() {}

asio::awaitable<Failures> until_room(tcp::socket& sink, tcp::socket& source) {
  using asio::experimental::make_parallel_group;
  asio::steady_timer timer{sink.get_executor()};
  for (;;) {
    timer.expires_after(kLookAgain);
    const auto [order, write_error, timer_error] =
        co_await make_parallel_group(sink.async_wait(tcp::socket::wait_write, asio::deferred),
                                     timer.async_wait(asio::deferred))
            .async_wait(asio::experimental::wait_for_one(), asio::use_awaitable);
    if (const int error = error_of(source)) co_return Failures{.source = error};
    if (order[0] == 0) co_return Failures{.sink = write_error.value()};
    if (timer_error || !sink.is_open()) co_return Failures{.sink = ECANCELED};
  }
}

asio::awaitable<int> until_failed(tcp::socket& socket) {
  using asio::experimental::make_parallel_group;
  asio::steady_timer timer{socket.get_executor()};
  for (;;) {
    timer.expires_after(kLookAgain);
    // The wait for an error ends when the socket is closed here, or with urgent data.
    const auto [order, wait_error, timer_error] =
        co_await make_parallel_group(socket.async_wait(tcp::socket::wait_error, asio::deferred),
                                     timer.async_wait(asio::deferred))
            .async_wait(asio::experimental::wait_for_one(), asio::use_awaitable);
    if (const int error = error_of(socket)) co_return error;
    if (order[0] == 0) co_return wait_error.value();
    if (timer_error) co_return timer_error.value();
  }
}

}  // namespace divert
