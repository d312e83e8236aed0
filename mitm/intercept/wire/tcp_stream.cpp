// System calls on the descriptor; Asio only waits.
#include "mitm/intercept/wire/tcp_stream.h"

#include <cerrno>
#include <cstring>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/experimental/parallel_group.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <poll.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "divert/worker/relay.h"
#include "divert/worker/send_queue.h"
#include "divert/worker/splice_buffer.h"

namespace mitm::intercept {
namespace {

namespace asio = boost::asio;
using asio::awaitable;
using Status = IoResult::Status;

/// Whether a system call with this errno is to be made again once the socket is ready.
bool would_block(int code) {
  return code == EAGAIN || code == EWOULDBLOCK;
}

}  // namespace

TcpStream::TcpStream(Socket socket) : socket_(std::move(socket)) {
  prepare();
}

void TcpStream::prepare() {
  boost::system::error_code ignored;
  socket_.non_blocking(true, ignored);
  divert::reset_on_close(fd());
}

void TcpStream::replace(Socket socket) {
  socket_ = std::move(socket);
  prepare();
}

awaitable<divert::Outcome> TcpStream::relay_to(Transport& server) {
  return divert::relay(release(), server.release());
}

/// Notes the errno of a system call that has failed.
IoResult TcpStream::fail(int code) {
  failure_.lost = true;
  failure_.os_error = code;
  failure_.text = std::strerror(code);
  if (!failure_.text.empty() && failure_.text[0] >= 'A' && failure_.text[0] <= 'Z')
    failure_.text[0] |= 0x20;
  return {Status::failed};
}

/// What recv(2) means that has returned `got` where there was `room`. After less than asked for
/// there is nothing more: waiting for readiness sees what came since. Of a socket whose error was
/// taken from the kernel before, the end looks clean.
IoResult TcpStream::received(ssize_t got, std::size_t room) {
  if (got < 0 && !would_block(errno)) return fail(errno);
  if (got <= 0 && failure_.lost) return {Status::failed};
  if (got < 0) return {Status::want_read, 0, true};
  if (got == 0 && room > 0) return {Status::end};
  const auto bytes = static_cast<std::size_t>(got);
  return {Status::ok, bytes, bytes < room};
}

IoResult TcpStream::try_read(std::span<char> into) {
  return received(::recv(fd(), into.data(), into.size(), 0), into.size());
}

IoResult TcpStream::peek(std::span<char> into) {
  return received(::recv(fd(), into.data(), into.size(), MSG_PEEK), into.size());
}

IoResult TcpStream::try_write(std::string_view bytes) {
  std::size_t total = 0;
  while (total < bytes.size()) {
    const auto put = ::send(fd(), bytes.data() + total, bytes.size() - total, base::kNoSignal);
    if (put < 0 && would_block(errno)) return {Status::want_write, total};
    if (put < 0) return {fail(errno).status, total};
    total += static_cast<std::size_t>(put);
  }
  return {Status::ok, total};
}

awaitable<bool> TcpStream::wait(IoResult last, Clock::time_point limit) {
  const auto type = last.status == Status::want_write ? Socket::wait_write : Socket::wait_read;
  if (limit == kNoLimit) return wait_for(type);
  return wait_until(type, limit);
}

/// Idle connections wait here: its frame is smaller than that of a wait with a timer.
awaitable<bool> TcpStream::wait_for(Socket::wait_type type) {
  const auto [error] = co_await socket_.async_wait(type, asio::as_tuple(asio::use_awaitable));
  co_return !error;
}

awaitable<bool> TcpStream::wait_until(Socket::wait_type type, Clock::time_point limit) {
  namespace ex = asio::experimental;
  asio::steady_timer timer{socket_.get_executor(), limit};
  const auto [order, ready, late] =
      co_await ex::make_parallel_group(socket_.async_wait(type, asio::deferred),
                                       timer.async_wait(asio::deferred))
          .async_wait(ex::wait_for_one(), asio::use_awaitable);
  co_return order[0] == 0 && !ready;
}

awaitable<void> TcpStream::wait_until_failed() {
  const int error = co_await divert::until_failed(socket_);
  if (error != 0 && error != ECANCELED && socket_.is_open()) (void)fail(error);
}

awaitable<void> TcpStream::wait_until_acknowledged() {
  if (failure_.lost) co_return;
  const int error = co_await divert::until_acknowledged(socket_);
  if (error != 0) (void)fail(error);
}

void TcpStream::cancel() {
  boost::system::error_code ignored;
  if (socket_.is_open()) socket_.cancel(ignored);
}

void TcpStream::shutdown_write(bool /*notify*/) {
  if (!socket_.is_open()) return;
  boost::system::error_code error;
  socket_.shutdown(Socket::shutdown_send, error);
  if (!error) end_on_close();
}

void TcpStream::end_on_close() {
  if (socket_.is_open()) divert::end_on_close(fd());
}

void TcpStream::reset() {
  if (!socket_.is_open()) return;
  boost::system::error_code ignored;
  divert::reset_on_close(fd());
  socket_.close(ignored);
}

bool TcpStream::has_end() const {
#ifdef POLLRDHUP
  constexpr short kEnd = POLLRDHUP;
#else
  constexpr short kEnd = POLLHUP;  // XNU: of a direction
#endif
  pollfd ask{fd(), kEnd, 0};
  return ::poll(&ask, 1, 0) > 0 && (ask.revents & (kEnd | POLLHUP | POLLERR)) != 0;
}

bool TcpStream::has_unsent() const {
  return socket_.is_open() && divert::unsent(fd()) > 0;
}

void TcpStream::set_low_watermark(std::size_t bytes) {
  boost::system::error_code ignored;
  socket_.set_option(asio::socket_base::receive_low_watermark(static_cast<int>(bytes)), ignored);
}

}  // namespace mitm::intercept
