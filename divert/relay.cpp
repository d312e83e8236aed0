// Both directions of a connection. Every error is taken from the kernel exactly once (reading SO_ERROR or
// failing a call clears it, and the socket then looks cleanly closed), so whoever sees one ends both
// directions at once. How bytes get across is transit.h's.
#include "divert/relay.h"

#include <cerrno>
#include <system_error>
#include <unordered_set>

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

struct Run;

/// Of this thread, for reset_relays().
std::unordered_set<Run*>& relays() {
  thread_local std::unordered_set<Run*> open;
  return open;
}

/// A relayed connection. After a failure both sockets are closed, and every wait on them ends.
struct Run {
  Run(tcp::socket from, tcp::socket to) : client{std::move(from), "client"}, server{std::move(to), "server"} {
    relays().insert(this);
  }
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;
  ~Run() { relays().erase(this); }

  Side client;
  Side server;
  Outcome outcome;
  bool failed = false;

  void fail(const Side& side, int error) {
    const bool by_peer = error == ECONNRESET || error == EPIPE || error == ENOTCONN;
    fail(by_peer ? fmt::format("{} reset", side.name)
                 : fmt::format("{}: {}", side.name, std::generic_category().message(error)));
  }
  void fail(std::string why) {
    if (failed) return;
    failed = true;
    outcome.error = std::move(why);
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

void set_linger(int socket, bool reset) {
  const linger option{reset ? 1 : 0, 0};
  ::setsockopt(socket, SOL_SOCKET, SO_LINGER, &option, sizeof option);
}

/// What was sent last is still delivered.
void close_in_order(tcp::socket& socket) {
  error_code ignored;
  set_linger(socket.native_handle(), false);
  socket.close(ignored);
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
    close_in_order(way.source.socket);
    close_in_order(way.sink.socket);
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
  reset_on_close(socket.native_handle());
}

}  // namespace

void reset_on_close(int socket) {
  set_linger(socket, true);
}

void reset(tcp::socket& socket) {
  error_code ignored;
  reset_on_close(socket.native_handle());
  socket.close(ignored);
}

/// A failure wakes coroutines, later: nobody leaves the set meanwhile.
void reset_relays(std::string_view why) {
  for (Run* run : relays()) run->fail(std::string(why));
}

asio::awaitable<Outcome> relay(tcp::socket client, tcp::socket server) {
  using asio::experimental::awaitable_operators::operator&&;
  prepare_thread();
  prepare(client);
  prepare(server);
  Run run{std::move(client), std::move(server)};
  co_await (carry_way(run, {run.client, run.server, run.outcome.request_bytes}) &&
            carry_way(run, {run.server, run.client, run.outcome.response_bytes}));
  co_return std::move(run.outcome);
}

}  // namespace divert
