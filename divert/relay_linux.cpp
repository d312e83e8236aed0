// splice(2) through pipes: payload never enters our memory. A direction takes a pipe from its thread's pool
// when bytes come and gives it back when they have gone.
#include <cerrno>
#include <vector>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "divert/relay.h"

namespace divert {
namespace {

namespace asio = boost::asio;
using tcp = asio::ip::tcp;
using asio::experimental::awaitable_operators::operator&&;
constexpr auto kToken = asio::as_tuple(asio::use_awaitable);

constexpr std::size_t kChunk = 256 << 10;
constexpr std::size_t kPooledPipes = 64;
constexpr std::size_t kBuffer = 16 << 10;

struct Pipe {
  base::UniqueFd in;
  base::UniqueFd out;
};

/// Empty pipes of this thread.
std::vector<Pipe>& pool() {
  thread_local std::vector<Pipe> pipes;
  return pipes;
}

/// Without one (descriptors have run out) the caller copies instead.
Pipe take_pipe() {
  if (!pool().empty()) {
    Pipe pipe = std::move(pool().back());
    pool().pop_back();
    return pipe;
  }
  int ends[2];
  if (::pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0) return {};
  ::fcntl(ends[1], F_SETPIPE_SZ, kChunk);
  return {base::UniqueFd{ends[1]}, base::UniqueFd{ends[0]}};
}

void give_back(Pipe pipe) {
  if (pipe.in && pool().size() < kPooledPipes) pool().push_back(std::move(pipe));
}

/// Bytes on their way, in a pipe or, for want of one, in memory.
class Transit {
 public:
  /// Bytes taken from `source`; 0 at its end, -1 with errno.
  ssize_t fill(int source) {
    if (!copying_ && !pipe_.in) {
      pipe_ = take_pipe();
      copying_ = !pipe_.in;
    }
    if (!copying_) {
      const ssize_t n =
          ::splice(source, nullptr, pipe_.in.get(), nullptr, kChunk, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
      if (n >= 0 || errno != EINVAL) return account(n);
      copying_ = true;
    }
    buffer_.resize(kBuffer);
    return account(::recv(source, buffer_.data(), buffer_.size(), MSG_DONTWAIT));
  }
  /// Bytes given to `sink`, -1 with errno.
  ssize_t drain(int sink) {
    const ssize_t n = copying_ ? ::send(sink, buffer_.data() + sent_, held_, MSG_DONTWAIT | MSG_NOSIGNAL)
                               : ::splice(pipe_.out.get(), nullptr, sink, nullptr, held_,
                                          SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (n > 0) {
      held_ -= static_cast<std::size_t>(n);
      sent_ += static_cast<std::size_t>(n);
    }
    return n;
  }
  [[nodiscard]] std::size_t held() const { return held_; }
  /// To be called when nothing is held: an idle direction owns no pipe and no buffer.
  void rest() {
    give_back(std::move(pipe_));
    pipe_ = {};
    std::vector<char>{}.swap(buffer_);
    copying_ = false;
  }

 private:
  ssize_t account(ssize_t n) {
    sent_ = 0;
    held_ = n > 0 ? static_cast<std::size_t>(n) : 0;
    return n;
  }

  Pipe pipe_;
  std::vector<char> buffer_;
  std::size_t held_ = 0;
  std::size_t sent_ = 0;
  bool copying_ = false;
};

void reset_both(tcp::socket& a, tcp::socket& b) {
  reset(a);
  reset(b);
}

/// A relayed connection. The first failure names itself; resetting both sockets then ends the other direction
/// too.
struct Relay {
  tcp::socket client;
  tcp::socket server;
  Outcome outcome;

  void fail(std::string_view side) {
    if (outcome.error.empty()) outcome.error = std::string(side) + " reset the connection";
    reset_both(client, server);
  }
};

/// One direction's ends and names.
struct Way {
  tcp::socket& source;
  tcp::socket& sink;
  std::uint64_t& count;
  std::string_view source_name;
  std::string_view sink_name;
};

/// Until the sink takes more, or the source is reset meanwhile. False when a socket was closed under us.
asio::awaitable<bool> wait_for_room(const Way& way) {
  using asio::experimental::awaitable_operators::operator||;
  co_await (way.sink.async_wait(tcp::socket::wait_write, kToken) ||
            way.source.async_wait(tcp::socket::wait_error, kToken));
  co_return way.sink.is_open() && way.source.is_open();
}

/// Sends what `transit` holds. False after a failure, which has been handled.
asio::awaitable<bool> deliver(Transit& transit, Way way, Relay& relay) {
  while (transit.held() > 0) {
    if (transit.drain(way.sink.native_handle()) > 0 || errno == EINTR) continue;
    if (errno != EAGAIN) {
      relay.fail(way.sink_name);
      co_return false;
    }
    if (!co_await wait_for_room(way)) co_return false;
    int code = 0;
    socklen_t size = sizeof code;
    if (::getsockopt(way.source.native_handle(), SOL_SOCKET, SO_ERROR, &code, &size) == 0 && code != 0) {
      relay.fail(way.source_name);
      co_return false;
    }
  }
  co_return true;
}

/// One direction, to its end.
asio::awaitable<void> pump(Way way, Relay& relay) {
  Transit transit;
  for (;;) {
    const ssize_t n = transit.fill(way.source.native_handle());
    if (n > 0) {
      way.count += static_cast<std::uint64_t>(n);
      if (!co_await deliver(transit, way, relay)) co_return;
    } else if (n == 0) {
      break;
    } else if (errno == EAGAIN) {
      transit.rest();
      const auto [error] = co_await way.source.async_wait(tcp::socket::wait_read, kToken);
      if (error) co_return;  // closed by the other direction's failure
    } else if (errno != EINTR) {
      relay.fail(way.source_name);
      co_return;
    }
  }
  transit.rest();
  boost::system::error_code ignored;
  way.sink.shutdown(tcp::socket::shutdown_send, ignored);
}

}  // namespace

void reset(tcp::socket& socket) {
  boost::system::error_code ignored;
  socket.set_option(asio::socket_base::linger{true, 0}, ignored);
  socket.close(ignored);
}

asio::awaitable<Outcome> relay(tcp::socket client, tcp::socket server) {
  Relay state{std::move(client), std::move(server), {}};
  co_await (pump({state.client, state.server, state.outcome.request_bytes, "client", "server"}, state) &&
            pump({state.server, state.client, state.outcome.response_bytes, "server", "client"}, state));
  co_return std::move(state.outcome);
}

}  // namespace divert
