// splice(2) through pipes: payload never enters our memory. Every error is taken from the kernel exactly once
// (reading SO_ERROR or failing a call clears it, and the socket then looks cleanly closed), so whoever sees
// one ends both directions at once.
#include <array>
#include <cerrno>
#include <csignal>
#include <system_error>
#include <vector>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/experimental/parallel_group.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "divert/relay.h"

namespace divert {
namespace {

namespace asio = boost::asio;
using tcp = asio::ip::tcp;
using boost::system::error_code;
constexpr auto kToken = asio::as_tuple(asio::use_awaitable);

constexpr std::size_t kPipeSize = 256 << 10;
constexpr std::size_t kPooledPipes = 32;       ///< a thread keeps at most so many empty ones
constexpr std::size_t kBufferSize = 16 << 10;  ///< copied at once when there is no pipe
constexpr int kRounds = 16;                    ///< chunks of one direction before others get their turn

struct Pipe {
  base::UniqueFd out;
  base::UniqueFd in;
};

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
  Pipe take() {
    if (idle_.empty()) return made();
    Pipe pipe = std::move(idle_.back());
    idle_.pop_back();
    return pipe;
  }
  void give_back(Pipe pipe) {
    if (pipe.in && idle_.size() < kPooledPipes) idle_.push_back(std::move(pipe));
  }

 private:
  static Pipe made() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_NONBLOCK | O_CLOEXEC) != 0) return {};
    // Refused beyond the user's share of pipe memory: a smaller one does as well.
    ::fcntl(ends[1], F_SETPIPE_SZ, kPipeSize);
    return {base::UniqueFd{ends[0]}, base::UniqueFd{ends[1]}};
  }

  std::vector<Pipe> idle_;
};

/// What a call on a socket did: bytes (0: end of the stream) or errno.
struct Moved {
  std::size_t bytes = 0;
  int error = 0;

  [[nodiscard]] bool must_wait() const { return error == EAGAIN || error == EWOULDBLOCK; }
};

template <class Call>
Moved moved(Call call) {
  for (;;) {
    const ssize_t n = call();
    if (n >= 0) return {static_cast<std::size_t>(n), 0};
    if (errno != EINTR) return {0, errno};
  }
}

/// The bytes of one direction that are on their way: in a pipe or, for want of one, in a small buffer.
class Transit {
 public:
  Transit() = default;
  Transit(const Transit&) = delete;
  Transit& operator=(const Transit&) = delete;
  ~Transit() { release(); }

  /// Takes what `source` has; nothing may be held.
  Moved fill(int source) {
    if (!pipe_.in && !copies_) pipe_ = PipePool::of_thread().take();
    if (!pipe_.in) return copy(source);
    const Moved in = moved([&] {
      return ::splice(source, nullptr, pipe_.in.get(), nullptr, kPipeSize, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    });
    if (in.error == EINVAL) {
      copies_ = true;
      return copy(source);
    }
    held_ = in.bytes;
    return in;
  }

  /// The same through memory. splice(2) stops for ever in front of urgent data; recv(2) does not.
  Moved copy(int source) {
    buffer_.resize(kBufferSize);
    const Moved in = moved([&] { return ::recv(source, buffer_.data(), buffer_.size(), MSG_DONTWAIT); });
    in_buffer_ = in.bytes > 0;
    held_ = in.bytes;
    begin_ = 0;
    return in;
  }

  /// Gives `sink` what it takes of held().
  Moved drain(int sink) {
    const Moved out =
        in_buffer_
            ? moved([&] { return ::send(sink, buffer_.data() + begin_, held_, MSG_DONTWAIT | MSG_NOSIGNAL); })
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

  [[nodiscard]] std::size_t held() const { return held_; }

  /// To be called before any wait for more. A pipe with bytes in it goes to nobody.
  void release() {
    if (held_ == 0) PipePool::of_thread().give_back(std::move(pipe_));
    pipe_ = {};
    buffer_ = {};
    held_ = 0;
  }

 private:
  /// The sink cannot splice: what the pipe holds is read out of it.
  Moved unspliced(int sink) {
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

  Pipe pipe_;
  std::vector<char> buffer_;
  std::size_t held_ = 0;
  std::size_t begin_ = 0;  ///< of the held bytes in buffer_
  bool in_buffer_ = false;
  bool copies_ = false;  ///< a socket that splice(2) refused
};

struct Side {
  tcp::socket socket;
  std::string_view name;
  bool ended = false;  ///< its FIN has been passed on

  [[nodiscard]] int fd() { return socket.native_handle(); }
};

/// A relayed connection. After a failure both sockets are closed, and every wait on them ends.
struct Run {
  Side client;
  Side server;
  Outcome outcome;
  bool failed = false;

  void fail(const Side& side, int error) {
    if (failed) return;
    failed = true;
    const bool by_peer = error == ECONNRESET || error == EPIPE || error == ENOTCONN;
    outcome.error = by_peer ? fmt::format("{} reset", side.name)
                            : fmt::format("{}: {}", side.name, std::generic_category().message(error));
    reset(client.socket);
    reset(server.socket);
  }
  /// Of a wait: cancelled from outside, or the socket is gone.
  void fail(const Side& side, const error_code& error) { fail(side, error.value()); }
};

struct Way {
  Side& source;
  Side& sink;
  std::uint64_t& count;
};

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

/// Until `source` has bytes, an end or an error. False when the connection is over.
asio::awaitable<bool> until_readable(Run& run, Side& source) {
  const auto [error] = co_await source.socket.async_wait(tcp::socket::wait_read, kToken);
  if (error && !run.failed) run.fail(source, error);
  co_return !run.failed;
}

/// Until `sink` has room. A source that is reset meanwhile is noticed: nobody is reading from it now.
asio::awaitable<bool> until_writable(Run& run, Side& source, Side& sink) {
  using asio::experimental::make_parallel_group;
  const auto [order, write_error, source_error] =
      co_await make_parallel_group(sink.socket.async_wait(tcp::socket::wait_write, asio::deferred),
                                   source.socket.async_wait(tcp::socket::wait_error, asio::deferred))
          .async_wait(asio::experimental::wait_for_one(), asio::use_awaitable);
  if (run.failed) co_return false;
  if (has_error(source.fd())) {
    run.fail(source, pending_error(source.fd()));
  } else if (order[0] == 1 && !source_error) {
    // Urgent data or a hang-up without an error, and that stays so: wait for the sink alone.
    const auto [error] = co_await sink.socket.async_wait(tcp::socket::wait_write, kToken);
    if (error && !run.failed) run.fail(sink, error);
  } else if (order[0] == 0 && write_error) {
    run.fail(sink, write_error);
  } else if (order[0] == 1) {
    run.fail(source, source_error);
  }
  co_return !run.failed;
}

/// All that is held, to the sink. False when the connection is over.
asio::awaitable<bool> deliver(Run& run, Transit& transit, Way way) {
  while (transit.held() > 0) {
    const Moved out = transit.drain(way.sink.fd());
    way.count += out.bytes;
    if (out.must_wait()) {
      if (!co_await until_writable(run, way.source, way.sink)) co_return false;
    } else if (out.error != 0) {
      run.fail(way.sink, out.error);
      co_return false;
    }
  }
  co_return true;
}

enum class Burst : std::uint8_t { dry, ended, failed };

/// Carries what is there now, up to kRounds chunks. The source has just become readable.
asio::awaitable<Burst> carry_burst(Run& run, Transit& transit, Way way) {
  for (int round = 0; round < kRounds; ++round) {
    Moved in = transit.fill(way.source.fd());
    if (in.must_wait() && round == 0) in = transit.copy(way.source.fd());
    if (in.must_wait()) co_return Burst::dry;
    if (in.error != 0) {
      run.fail(way.source, in.error);
      co_return Burst::failed;
    }
    if (in.bytes == 0) co_return Burst::ended;
    if (!co_await deliver(run, transit, way)) co_return Burst::failed;
    if (in.bytes < kBufferSize) break;  // most likely all there was
  }
  co_return Burst::dry;
}

/// A source that has ended can still be reset, and nobody reads from it any more.
asio::awaitable<void> watch_for_reset(Run& run, Side& source) {
  const auto [error] = co_await source.socket.async_wait(tcp::socket::wait_error, kToken);
  if (run.failed || !source.socket.is_open()) co_return;
  if (error) {
    run.fail(source, error);
  } else if (has_error(source.fd())) {
    run.fail(source, pending_error(source.fd()));
  }
}

/// Passes the FIN on. The second of the two closes both sockets.
asio::awaitable<void> end(Run& run, Way way) {
  error_code error;
  way.sink.socket.shutdown(tcp::socket::shutdown_send, error);
  if (error) {
    run.fail(way.sink, error);
    co_return;
  }
  way.source.ended = true;
  if (way.sink.ended) {
    way.source.socket.close(error);
    way.sink.socket.close(error);
    co_return;
  }
  co_await watch_for_reset(run, way.source);
}

asio::awaitable<void> carry_way(Run& run, Way way) {
  Transit transit;
  while (co_await until_readable(run, way.source)) {
    const Burst burst = co_await carry_burst(run, transit, way);
    if (burst == Burst::failed) co_return;
    transit.release();
    if (burst == Burst::ended) {
      co_await end(run, way);
      co_return;
    }
  }
}

void prepare(tcp::socket& socket) {
  error_code ignored;
  socket.non_blocking(true, ignored);
  socket.native_non_blocking(true, ignored);
  socket.set_option(tcp::no_delay{true}, ignored);
  const int on = 1;
  ::setsockopt(socket.native_handle(), SOL_SOCKET, SO_OOBINLINE, &on, sizeof on);
}

}  // namespace

void reset(tcp::socket& socket) {
  error_code ignored;
  socket.set_option(asio::socket_base::linger{true, 0}, ignored);
  socket.close(ignored);
}

asio::awaitable<Outcome> relay(tcp::socket client, tcp::socket server) {
  using asio::experimental::awaitable_operators::operator&&;
  PipePool::of_thread();
  prepare(client);
  prepare(server);
  Run run{{std::move(client), "client"}, {std::move(server), "server"}, {}};
  co_await (carry_way(run, {run.client, run.server, run.outcome.request_bytes}) &&
            carry_way(run, {run.server, run.client, run.outcome.response_bytes}));
  co_return std::move(run.outcome);
}

}  // namespace divert
