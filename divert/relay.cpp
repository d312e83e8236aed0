// Both directions of a connection. Every error is taken from the kernel exactly once (reading SO_ERROR or
// failing a call clears it, and the socket then looks cleanly closed), so whoever sees one ends both
// directions at once. How bytes get across is transit.h's.
#include "divert/relay.h"

#include <cerrno>
#include <system_error>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <fmt/format.h>
#include <sys/socket.h>

#include "divert/transit.h"

namespace divert {
namespace {

namespace asio = boost::asio;
using tcp = asio::ip::tcp;
using boost::system::error_code;
constexpr auto kToken = asio::as_tuple(asio::use_awaitable);

constexpr std::size_t kFullBurst = 16 << 10;
constexpr int kRounds = 16;  ///< chunks of one direction before others get their turn

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

/// Until `source` has bytes, an end or an error. False when the connection is over.
asio::awaitable<bool> until_readable(Run& run, Side& source) {
  const auto [error] = co_await source.socket.async_wait(tcp::socket::wait_read, kToken);
  if (error && !run.failed) run.fail(source, error);
  co_return !run.failed;
}

/// Until `sink` has room. False when the connection is over.
asio::awaitable<bool> until_writable(Run& run, Side& source, Side& sink) {
  const Failures failed = co_await until_room(sink.socket, source.socket);
  if (run.failed) co_return false;
  if (failed.source != 0) run.fail(source, failed.source);
  if (failed.sink != 0) run.fail(sink, failed.sink);
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
    if (in.bytes < kFullBurst) break;  // most likely all there was
  }
  co_return Burst::dry;
}

/// A source that has ended can still be reset, and nobody reads from it any more.
asio::awaitable<void> watch_for_reset(Run& run, Side& source) {
  const int error = co_await until_failed(source.socket);
  if (error != 0 && !run.failed && source.socket.is_open()) run.fail(source, error);
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
  prepare_thread();
  prepare(client);
  prepare(server);
  Run run{{std::move(client), "client"}, {std::move(server), "server"}, {}};
  co_await (carry_way(run, {run.client, run.server, run.outcome.request_bytes}) &&
            carry_way(run, {run.server, run.client, run.outcome.response_bytes}));
  co_return std::move(run.outcome);
}

}  // namespace divert
