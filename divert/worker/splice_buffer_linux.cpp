// splice(2) through pipes: payload never enters our memory.
#include <array>
#include <csignal>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/experimental/parallel_group.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "divert/worker/splice_buffer.h"

namespace divert {
namespace {

namespace asio = boost::asio;
using tcp = asio::ip::tcp;
constexpr auto kToken = asio::as_tuple(asio::use_awaitable);

constexpr std::size_t kPipeSize = 256 << 10;
constexpr std::size_t kPooledPipes = 32;       ///< a thread keeps at most so many empty ones
constexpr std::size_t kBufferSize = 16 << 10;  ///< copied at once when there is no pipe

/// The empty pipes of a thread.
class PipePool {
 public:
  PipePool() {
    sigset_t set;
    ::sigemptyset(&set);
    ::sigaddset(&set, SIGPIPE);
    ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  }

  static PipePool& of_thread() {
    thread_local PipePool pool;
    return pool;
  }
  /// Without ends when there are no descriptors left.
  base::Pipe take() {
    if (idle_.empty()) return made();
    base::Pipe pipe = std::move(idle_.back());
    idle_.pop_back();
    return pipe;
  }
  void give_back(base::Pipe pipe) {
    if (pipe.in && idle_.size() < kPooledPipes) idle_.push_back(std::move(pipe));
  }

 private:
  static base::Pipe made() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_NONBLOCK | O_CLOEXEC) != 0) return {};
    // Refused beyond the user's share of pipe memory: a smaller one does as well.
    ::fcntl(ends[1], F_SETPIPE_SZ, kPipeSize);
    return {base::UniqueFd{ends[0]}, base::UniqueFd{ends[1]}};
  }

  std::vector<base::Pipe> idle_;
};

template <class Call>
Moved moved(Call call) {
  for (;;) {
    const ssize_t n = call();
    if (n >= 0) return {static_cast<std::size_t>(n), 0};
    if (errno != EINTR) return {0, errno};
  }
}

/// Without taking the error from the socket.
bool has_error(int fd) {
  pollfd ask{fd, 0, 0};
  return ::poll(&ask, 1, 0) > 0 && (ask.revents & POLLERR) != 0;
}

/// The error that has_error() saw. Clears it.
int pending_error(int fd) {
  int error = 0;
  socklen_t size = sizeof error;
  ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
  return error != 0 ? error : ECONNRESET;
}

}  // namespace

Moved Transit::fill(int source) {
  if (!pipe_.in && !copies_) pipe_ = PipePool::of_thread().take();
  if (!pipe_.in) return copy(source);
  const Moved in = moved([&] {
    return ::splice(source, nullptr, pipe_.in.get(), nullptr, kPipeSize,
                    SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
  });
  if (in.error == EINVAL) {
    copies_ = true;
    return copy(source);
  }
  held_ = in.bytes;
  return in;
}

Moved Transit::copy(int source) {
  buffer_.resize(kBufferSize);
  const Moved in =
      moved([&] { return ::recv(source, buffer_.data(), buffer_.size(), MSG_DONTWAIT); });
  in_buffer_ = in.bytes > 0;
  held_ = in.bytes;
  begin_ = 0;
  return in;
}

Moved Transit::drain(int sink) {
  const Moved out = in_buffer_ ? moved([&] {
    return ::send(sink, buffer_.data() + begin_, held_, MSG_DONTWAIT | MSG_NOSIGNAL);
  })
                               : moved([&] {
                                   return ::splice(pipe_.out.get(), nullptr, sink, nullptr, held_,
                                                   SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
                                 });
  if (out.error == EINVAL && !in_buffer_) return unspliced(sink);
  held_ -= out.bytes;
  begin_ += out.bytes;
  in_buffer_ = in_buffer_ && held_ > 0;
  return out;
}

/// A pipe with bytes in it is not used again.
void Transit::release() {
  if (held_ == 0) PipePool::of_thread().give_back(std::move(pipe_));
  pipe_ = {};
  buffer_ = {};
  held_ = 0;
}

/// The sink cannot splice: what the pipe holds is read out of it.
Moved Transit::unspliced(int sink) {
  copies_ = true;
  buffer_.resize(held_);
  const Moved out = moved([&] { return ::read(pipe_.out.get(), buffer_.data(), held_); });
  if (out.error != 0) return out;
  held_ = out.bytes;
  begin_ = 0;
  in_buffer_ = true;
  PipePool::of_thread().give_back(std::move(pipe_));
  pipe_ = {};
  return drain(sink);
}

void prepare_thread() {
  PipePool::of_thread();
}

asio::awaitable<Failures> until_room(tcp::socket& sink, tcp::socket& source) {
  using asio::experimental::make_parallel_group;
  const auto [order, write_error, source_error] =
      co_await make_parallel_group(sink.async_wait(tcp::socket::wait_write, asio::deferred),
                                   source.async_wait(tcp::socket::wait_error, asio::deferred))
          .async_wait(asio::experimental::wait_for_one(), asio::use_awaitable);
  if (source.is_open() && has_error(source.native_handle()))
    co_return Failures{.source = pending_error(source.native_handle())};
  if (order[0] == 0) co_return Failures{.sink = write_error.value()};
  if (source_error) co_return Failures{.source = source_error.value()};
  // Urgent data or a hang-up without an error, and that stays so: wait for the sink alone.
  const auto [error] = co_await sink.async_wait(tcp::socket::wait_write, kToken);
  co_return Failures{.sink = error.value()};
}

asio::awaitable<int> until_failed(tcp::socket& socket) {
  const auto [error] = co_await socket.async_wait(tcp::socket::wait_error, kToken);
  if (error) co_return error.value();
  co_return socket.is_open() && has_error(socket.native_handle())
      ? pending_error(socket.native_handle())
      : 0;
}

}  // namespace divert
