// Both directions of a connection. Every error is taken from the kernel exactly once (reading
// SO_ERROR or failing a call clears it, and the socket then looks cleanly closed), so the
// direction that sees one tells both. splice_buffer.h moves the bytes.
#include "divert/worker/relay.h"

#include <cerrno>
#include <system_error>
#include <unordered_set>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/experimental/parallel_group.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <fmt/format.h>
#include <sys/socket.h>

#include "divert/worker/send_queue.h"
#include "divert/worker/splice_buffer.h"

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

/// A relayed connection. Once a side has failed nothing more goes to it; what it had said before
/// still goes to the other one. Then both sockets are closed, and every wait on them ends.
struct Run {
  Run(tcp::socket from, tcp::socket to)
      : client{std::move(from), "client"}, server{std::move(to), "server"} {
    relays().insert(this);
  }
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;
  ~Run() { relays().erase(this); }

  Side client;
  Side server;
  Outcome outcome;
  const Side* broken = nullptr;  ///< the side that has failed
  bool over = false;             ///< both sockets are closed

  void fail(const Side& side, int error) {
    if (broken == &side || over) return;
    const bool by_peer = error == ECONNRESET || error == EPIPE || error == ENOTCONN;
    std::string why =
        by_peer ? fmt::format("{} reset", side.name)
                : fmt::format("{}: {}", side.name, std::generic_category().message(error));
    if (broken != nullptr || error == ECANCELED) return end(std::move(why));
    outcome.error = std::move(why);
    broken = &side;
    // Both directions look again.
    error_code ignored;
    client.socket.cancel(ignored);
    server.socket.cancel(ignored);
  }
  void end(std::string why) {
    if (over) return;
    over = true;
    if (broken == nullptr) outcome.error = std::move(why);
    reset(client.socket);
    reset(server.socket);
  }
};

struct Way {
  Side& source;
  Side& sink;
  std::uint64_t& count;

  [[nodiscard]] bool goes_on(const Run& run) const { return !run.over && run.broken != &sink; }
};

/// Until the source has bytes, an end or an error. False when this direction is over.
asio::awaitable<bool> until_readable(Run& run, Way way) {
  const auto [error] = co_await way.source.socket.async_wait(tcp::socket::wait_read, kToken);
  if (error && run.broken == nullptr) run.fail(way.source, error.value());
  co_return way.goes_on(run);
}

/// False: `sink` has had no room for kDeliveryTimeout.
asio::awaitable<bool> until_room_in_time(tcp::socket& sink) {
  asio::steady_timer timer{sink.get_executor(), kDeliveryTimeout};
  const auto [order, error, late] =
      co_await asio::experimental::make_parallel_group(
          sink.async_wait(tcp::socket::wait_write, asio::deferred),
          timer.async_wait(asio::deferred))
          .async_wait(asio::experimental::wait_for_one(), asio::use_awaitable);
  co_return order[0] == 0;
}

/// Until the sink has room. False when this direction is over.
asio::awaitable<bool> until_writable(Run& run, Way way) {
  if (run.broken == &way.source) {
    if (!co_await until_room_in_time(way.sink.socket)) run.end({});
    co_return way.goes_on(run);
  }
  const Failures failed = co_await until_room(way.sink.socket, way.source.socket);
  if (run.broken == nullptr && failed.source != 0) run.fail(way.source, failed.source);
  if (run.broken == nullptr && failed.sink != 0) run.fail(way.sink, failed.sink);
  co_return way.goes_on(run);
}

/// All that is held, to the sink. False when this direction is over.
asio::awaitable<bool> deliver(Run& run, Transit& transit, Way way) {
  while (transit.held() > 0) {
    const Moved out = transit.drain(way.sink.fd());
    way.count += out.bytes;
    if (out.must_wait()) {
      if (!co_await until_writable(run, way)) co_return false;
    } else if (out.error != 0) {
      run.fail(way.sink, out.error);
      co_return false;
    }
  }
  co_return true;
}

enum class Burst : std::uint8_t { some, dry, ended, failed };

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
  co_return Burst::some;
}

/// A source that has ended can still be reset, which a read would no longer notice.
asio::awaitable<void> watch_for_reset(Run& run, Side& source) {
  const int error = co_await until_failed(source.socket);
  if (error != 0 && run.broken == nullptr && source.socket.is_open()) run.fail(source, error);
}

void set_linger(int socket, bool reset) {
  const linger option{reset ? 1 : 0, 0};
  ::setsockopt(socket, SOL_SOCKET, SO_LINGER, &option, sizeof option);
}

/// What was sent last is still delivered.
void close_in_order(tcp::socket& socket) {
  error_code ignored;
  end_on_close(socket.native_handle());
  socket.close(ignored);
}

/// Passes the FIN on. The second of the two closes both sockets.
asio::awaitable<void> end(Run& run, Way way) {
  error_code error;
  way.sink.socket.shutdown(tcp::socket::shutdown_send, error);
  if (error) {
    run.fail(way.sink, error.value());
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

/// Until the source has ended or failed and all that it said has been carried, or the sink has
/// failed.
asio::awaitable<void> carry_all(Run& run, Way way) {
  Transit transit;
  while (run.broken == &way.source || co_await until_readable(run, way)) {
    const Burst burst = co_await carry_burst(run, transit, way);
    if (burst == Burst::failed) co_return;
    transit.release();
    if (run.broken == &way.source) {
      if (burst != Burst::some) co_return;
    } else if (burst == Burst::ended) {
      co_await end(run, way);
      co_return;
    }
  }
}

asio::awaitable<void> carry_way(Run& run, Way way) {
  co_await carry_all(run, way);
  if (run.broken != &way.source || run.over) co_return;
  co_await until_acknowledged(way.sink.socket);
  run.end({});
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

void end_on_close(int socket) {
  set_linger(socket, false);
}

void reset(tcp::socket& socket) {
  error_code ignored;
  reset_on_close(socket.native_handle());
  socket.close(ignored);
}

/// A failure wakes coroutines, later: the set stays as it is meanwhile.
void reset_relays(std::string_view why) {
  for (Run* run : relays()) run->end(std::string(why));
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
