// accept -> original destination and owner -> decision -> relay or interception.
#include "divert/worker/pipeline.h"

#include <cerrno>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "divert/packet/pending_connections.h"
#include "divert/worker/keep_alive.h"
#include "divert/worker/relay.h"
#include "divert/worker/source_ports.h"

namespace divert {
namespace {

namespace asio = boost::asio;
using tcp = asio::ip::tcp;
constexpr auto kToken = asio::as_tuple(asio::use_awaitable);

std::atomic<std::uint64_t> next_connection{1};

/// Known as ours for as long as it lasts.
class Claim {
 public:
  Claim(OwnConnections& own, FlowKey key) : own_(own), key_(std::move(key)) { own_.add(key_); }
  Claim(const Claim&) = delete;
  Claim& operator=(const Claim&) = delete;
  ~Claim() { own_.remove(key_); }

 private:
  OwnConnections& own_;
  FlowKey key_;
};

/// A loop is one of our processes at our own door, or one of our own connections with an owner that
/// cannot be found.
bool is_loop(const wire::Answer& answer, const WorkerContext& room) {
  return answer.own ||
         (!answer.process && room.own.contains({*answer.source, *answer.destination}));
}

/// `answer` must have a source and a destination.
Connection make_connection(wire::Answer answer, std::chrono::system_clock::time_point opened) {
  return {next_connection.fetch_add(1, std::memory_order_relaxed),
          *answer.source,
          *answer.destination,
          std::move(answer.process),
          std::move(answer.verdict),
          opened};
}

/// The broker has gone, or is too busy: nobody can say whose connection this is and where it wanted
/// to go.
void give_up(Accepted accepted, std::chrono::system_clock::time_point opened, WorkerContext& room) {
  reset(accepted.socket);
  if (room.ending) return;
  Connection connection;
  connection.id = next_connection.fetch_add(1, std::memory_order_relaxed);
  connection.client = accepted.peer;
  connection.verdict.action = Action::block;
  connection.verdict.reason = "osproxy's broker did not say what is to be done";
  connection.opened = opened;
  room.watcher.closed(connection, {0, 0, "reset: osproxy's broker did not answer"});
}

/// Empty: not to be carried any further (a direct visitor, a loop, or nobody knows it any more).
asio::awaitable<std::optional<Decided>> decide(Accepted accepted, WorkerContext& room) {
  const auto opened = std::chrono::system_clock::now();
  auto answer = co_await room.broker.ask(accepted.peer, accepted.local);
  if (!answer) {
    give_up(std::move(accepted), opened, room);
    co_return std::nullopt;
  }
  if (!answer->destination) {
    reset(accepted.socket);
    co_return std::nullopt;
  }
  if (*answer->destination == accepted.local || room.listeners.holds(*answer->destination)) {
    end_on_close(accepted.socket.native_handle());
    co_return std::nullopt;
  }
  const bool loop = is_loop(*answer, room);
  const std::uint64_t upstream = answer->upstream;
  ServerSocket server{answer->as_program, std::move(answer->socket), accepted.peer, accepted.local};
  Connection connection = make_connection(std::move(*answer), opened);
  if (loop) {
    reset(accepted.socket);
    room.loop_seen(connection);
    co_return std::nullopt;
  }
  co_return Decided{std::move(accepted.socket), std::move(connection), upstream, std::move(server)};
}

void block(Decided decided, WorkerContext& room) {
  reset(decided.socket);
  room.watcher.closed(decided.connection, {});
}

void fail_upstream(Decided decided, const boost::system::error_code& error, WorkerContext& room) {
  reset(decided.socket);
  const auto& connection = decided.connection;
  if (connection.verdict.action == Action::pass && connection.verdict.by_host.empty()) {
    room.watcher.closed(
        connection,
        {0, 0, "cannot reach " + base::to_string(connection.server) + ": " + error.message()});
  } else {
    room.interceptor.unreachable(connection, error);
  }
}

/// Some attempts of TCP's (1 s, 3 s, 7 s). A program that is more patient comes again.
constexpr auto kConnectLimit = std::chrono::seconds{12};
constexpr auto kDescriptorPause = std::chrono::milliseconds{50};

/// Without a descriptor it waits for one: pipes are given back as soon as nothing is in flight.
asio::awaitable<boost::system::error_code> open_socket(tcp::socket& server, tcp protocol) {
  asio::steady_timer pause{server.get_executor()};
  boost::system::error_code error;
  const auto limit = std::chrono::steady_clock::now() + kConnectLimit;
  server.open(protocol, error);
  while (error == asio::error::no_descriptors && std::chrono::steady_clock::now() < limit) {
    pause.expires_after(kDescriptorPause);
    co_await pause.async_wait(kToken);
    server.open(protocol, error);
  }
  co_return error;
}

/// Always to the original address: never to a name. `server` is open.
asio::awaitable<boost::system::error_code> connect(tcp::socket& server,
                                                   const base::Endpoint& destination) {
  boost::system::error_code error;
  if (const int bound = bind_source_port(server.native_handle(), destination))
    co_return boost::system::error_code(bound, boost::system::system_category());
  const auto [failed] = co_await server.async_connect(destination, kToken);
  if (failed) co_return failed;
  server.set_option(tcp::no_delay{true}, error);
  server.non_blocking(true, error);
  keep_alive(server.native_handle());
  co_return error;
}

/// None came with the answer, as one stood that is not wanted; or it found no descriptor free, or
/// the broker had none: pipes are given back soon. It ends when the program has gone: nobody knows
/// its user any more.
asio::awaitable<void> ask_for_socket(ServerSocket& by, WorkerContext& room) {
  const auto executor = co_await asio::this_coro::executor;
  asio::steady_timer pause{executor};
  const auto limit = std::chrono::steady_clock::now() + kConnectLimit;
  while (!by.given && !room.ending && std::chrono::steady_clock::now() < limit) {
    auto answer = co_await room.broker.ask(by.peer, by.local);
    if (!answer || !answer->destination || !answer->as_program) co_return;
    by.given = std::move(answer->socket);
    if (by.given) co_return;
    pause.expires_after(kDescriptorPause);
    co_await pause.async_wait(kToken);
  }
}

/// See OpenStraight.
asio::awaitable<boost::system::error_code> open_straight(tcp::socket& server, tcp protocol,
                                                         ServerSocket& by, WorkerContext& room) {
  boost::system::error_code error;
  if (!by.as_program) {
    error = co_await open_socket(server, protocol);
    co_return error;
  }
  if (!by.given) co_await ask_for_socket(by, room);
  if (!by.given) co_return asio::error::no_descriptors;
  server.assign(protocol, by.given.release(), error);
  co_return error;
}

/// The upstream connection that was made while the first packet was held.
bool fetch(tcp::socket& server, const Decided& decided, WorkerContext& room) {
  if (decided.upstream == 0) return false;
  base::UniqueFd waiting = room.upstreams.take(decided.upstream);
  boost::system::error_code error;
  if (waiting) server.assign(decided.connection.server.protocol(), waiting.release(), error);
  return server.is_open() && !error;
}

/// The timer's handler may still be on its way when the coroutine has ended.
struct Attempt {
  explicit Attempt(const asio::any_io_executor& executor)
      : server(executor), limit(executor, kConnectLimit) {}

  tcp::socket server;
  asio::steady_timer limit;
  bool late = false;
};

/// Through somebody else: the interceptor knows how.
asio::awaitable<void> dial_ahead(std::uint64_t token, Connection connection, WorkerContext& room) {
  tcp::socket server{co_await asio::this_coro::executor};
  room.open.fetch_add(1, std::memory_order_relaxed);
  boost::system::error_code error = co_await room.interceptor.dial(std::move(connection), server);
  room.open.fetch_sub(1, std::memory_order_relaxed);
  if (!error) room.upstreams.put(token, base::UniqueFd{server.release(error)});
  room.broker.tell({token, error.value(), 0});
}

}  // namespace

asio::awaitable<void> connect_ahead(wire::Answer order, WorkerContext& room) {
  const std::uint64_t token = order.id;
  const bool again = order.kind == wire::Answer::Kind::connect_again;
  if (!order.source || !order.destination) co_return;
  ServerSocket by{order.as_program, std::move(order.socket), {}, {}};
  const Connection connection = make_connection(std::move(order), std::chrono::system_clock::now());
  const Way way = room.interceptor.way(connection.verdict);
  // The accept finds nothing, and goes on without.
  if (way == Way::late) room.broker.tell({token, ECANCELED, 0});
  if (way == Way::ahead) co_await dial_ahead(token, connection, room);
  if (way != Way::straight) co_return;
  if (!room.has_descriptors()) {
    // It waits for its accept.
    room.broker.tell({token, EMFILE, 0});
    co_return;
  }
  const auto executor = co_await asio::this_coro::executor;
  const auto attempt = std::make_shared<Attempt>(executor);
  attempt->limit.async_wait([attempt](const boost::system::error_code& cancelled) {
    if (cancelled) return;
    attempt->late = true;
    boost::system::error_code ignored;
    attempt->server.close(ignored);
  });
  boost::system::error_code error;
  if (by.given) {
    attempt->server.assign(connection.server.protocol(), by.given.release(), error);
  } else if (by.as_program) {
    error = asio::error::no_descriptors;
  } else {
    attempt->server.open(connection.server.protocol(), error);
  }
  if (!error) {
    const auto entry = room.dialing.insert(attempt->server.native_handle());
    room.open.fetch_add(1, std::memory_order_relaxed);
    error = co_await connect(attempt->server, connection.server);
    room.open.fetch_sub(1, std::memory_order_relaxed);
    // Nobody has answered until the end of the run, or shutdown(2) has: it is all one to whoever
    // reads it.
    if (error && error != asio::error::connection_refused && room.ending)
      error = asio::error::timed_out;
    room.dialing.erase(entry);
  }
  attempt->limit.cancel();
  if (attempt->late) error = asio::error::timed_out;
  if (error) {
    room.broker.tell({token, error.value(), 0});
    if (refusal_for(error.value()) || (error == asio::error::timed_out && !again))
      room.interceptor.unreachable(connection, error);
    co_return;
  }
  base::UniqueFd standing{attempt->server.release(error)};
  room.upstreams.put(token, std::move(standing));
  room.broker.tell({token, 0, 0});
}

void show(wire::Answer order, WorkerContext& room) {
  if (!order.source || !order.destination) return;
  const auto kind = order.kind;
  const bool from_server = order.from_server;
  const std::string payload = std::move(order.payload);
  const auto came = order.came;
  const Connection connection = make_connection(std::move(order), std::chrono::system_clock::now());
  if (kind == wire::Answer::Kind::heard)
    return room.watcher.heard(connection, from_server, payload, came);
  if (kind == wire::Answer::Kind::quic_refused) return room.watcher.quic_refused(connection);
  Outcome outcome;
  outcome.counted = connection.verdict.action != Action::pass;
  room.watcher.closed(connection, outcome);
}

asio::awaitable<void> carry(Accepted accepted, WorkerContext& room) {
  auto decided = co_await decide(std::move(accepted), room);
  if (!decided) co_return;
  const Verdict& verdict = decided->connection.verdict;
  const bool final_verdict = verdict.by_host.empty();
  if (verdict.action == Action::block && final_verdict) {
    block(std::move(*decided), room);
    co_return;
  }
  const bool passes = verdict.action == Action::pass && final_verdict;
  const Way way = passes ? Way::straight : room.interceptor.way(verdict);
  tcp::socket server{decided->socket.get_executor()};
  // Shared, because std::function is copyable: what came with the answer is closed with its last
  // copy.
  OpenStraight open = [by = std::make_shared<ServerSocket>(std::move(decided->server)),
                       protocol = decided->connection.server.protocol(),
                       &room](tcp::socket& opened) {
    return open_straight(opened, protocol, *by, room);
  };
  if (!fetch(server, *decided, room) && way == Way::straight) {
    auto error = co_await open(server);
    if (!error) error = co_await connect(server, decided->connection.server);
    if (error) {
      fail_upstream(std::move(*decided), error, room);
      co_return;
    }
  }
  boost::system::error_code ignored;
  const auto far =
      way == Way::straight ? decided->connection.server : server.remote_endpoint(ignored);
  const Claim claim{room.own, {server.local_endpoint(ignored), far}};
  if (passes) {
    const auto outcome = co_await relay(std::move(decided->socket), std::move(server));
    room.watcher.closed(decided->connection, outcome);
  } else {
    room.intercepted.fetch_add(1, std::memory_order_relaxed);
    co_await room.interceptor.intercept(std::move(decided->connection), std::move(decided->socket),
                                        std::move(server), std::move(open));
    room.intercepted.fetch_sub(1, std::memory_order_relaxed);
  }
}

}  // namespace divert
