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
using Clock = std::chrono::system_clock;

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
bool is_loop(const wire::ConnectionFacts& facts, const WorkerContext& worker) {
  return facts.own || (!facts.process && worker.own.contains({*facts.source, *facts.destination}));
}

/// `facts` must have a source and a destination.
Connection make_connection(wire::ConnectionFacts facts,
                           std::chrono::system_clock::time_point opened) {
  return {next_connection.fetch_add(1, std::memory_order_relaxed),
          *facts.source,
          *facts.destination,
          std::move(facts.process),
          std::move(facts.verdict),
          opened,
          {}};
}

/// The broker has gone, or is too busy: owner and original destination of the connection stay
/// unknown.
void give_up(Accepted accepted, std::chrono::system_clock::time_point opened,
             WorkerContext& worker) {
  reset(accepted.socket);
  if (worker.ending) return;
  Connection connection;
  connection.id = next_connection.fetch_add(1, std::memory_order_relaxed);
  connection.client = accepted.peer;
  connection.verdict.action = Action::block;
  connection.verdict.reason = "osproxy's broker did not say what is to be done";
  connection.opened = opened;
  worker.watcher.closed(connection, {0, 0, "reset: osproxy's broker did not answer"});
}

/// Empty: not to be carried any further (a direct visitor, a loop, or unknown to the kernel by
/// now).
asio::awaitable<std::optional<Decided>> decide(Accepted accepted, WorkerContext& worker) {
  const auto opened = std::chrono::system_clock::now();
  auto answer = co_await worker.broker.ask(accepted.peer, accepted.local);
  if (!answer) {
    give_up(std::move(accepted), opened, worker);
    co_return std::nullopt;
  }
  wire::ConnectionFacts& facts = answer->connection;
  if (!facts.destination) {
    reset(accepted.socket);
    co_return std::nullopt;
  }
  if (*facts.destination == accepted.local || worker.listeners.holds(*facts.destination)) {
    end_on_close(accepted.socket.native_handle());
    co_return std::nullopt;
  }
  const bool loop = is_loop(facts, worker);
  const std::uint64_t upstream = answer->upstream;
  ServerSocket server{facts.as_program, std::move(facts.socket), accepted.peer, accepted.local};
  Connection connection = make_connection(std::move(facts), opened);
  if (loop) {
    reset(accepted.socket);
    worker.loop_seen(connection);
    co_return std::nullopt;
  }
  co_return Decided{std::move(accepted.socket), std::move(connection), upstream, std::move(server)};
}

void block(Decided decided, WorkerContext& worker) {
  reset(decided.socket);
  worker.watcher.closed(decided.connection, {});
}

void fail_upstream(Decided decided, const boost::system::error_code& error, WorkerContext& worker) {
  reset(decided.socket);
  const auto& connection = decided.connection;
  if (connection.verdict.action == Action::pass && connection.verdict.by_host.empty()) {
    worker.watcher.closed(
        connection,
        {0, 0, "cannot reach " + base::to_string(connection.server) + ": " + error.message()});
  } else {
    worker.interceptor.unreachable(connection, error);
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
asio::awaitable<void> ask_for_socket(ServerSocket& by, WorkerContext& worker) {
  const auto executor = co_await asio::this_coro::executor;
  asio::steady_timer pause{executor};
  const auto limit = std::chrono::steady_clock::now() + kConnectLimit;
  while (!by.given && !worker.ending && std::chrono::steady_clock::now() < limit) {
    auto answer = co_await worker.broker.ask(by.peer, by.local);
    if (!answer || !answer->connection.destination || !answer->connection.as_program) co_return;
    by.given = std::move(answer->connection.socket);
    if (by.given) co_return;
    pause.expires_after(kDescriptorPause);
    co_await pause.async_wait(kToken);
  }
}

/// See OpenStraight.
asio::awaitable<boost::system::error_code> open_straight(tcp::socket& server, tcp protocol,
                                                         ServerSocket& by, WorkerContext& worker) {
  boost::system::error_code error;
  if (!by.as_program) {
    error = co_await open_socket(server, protocol);
    co_return error;
  }
  if (!by.given) co_await ask_for_socket(by, worker);
  if (!by.given) co_return asio::error::no_descriptors;
  server.assign(protocol, by.given.release(), error);
  co_return error;
}

/// The upstream connection that was made while the first packet was held.
bool fetch(tcp::socket& server, Decided& decided, WorkerContext& worker) {
  if (decided.upstream == 0) return false;
  auto made = worker.upstreams.take(decided.upstream);
  if (!made) return false;
  boost::system::error_code error;
  server.assign(decided.connection.server.protocol(), made->socket.release(), error);
  if (error) return false;
  decided.connection.opened = made->began;
  decided.connection.connect = {made->began, made->connected};
  return true;
}

/// The timer's handler may still be on its way when the coroutine has ended.
struct Attempt {
  explicit Attempt(const asio::any_io_executor& executor)
      : server(executor), limit(executor, kConnectLimit) {}

  tcp::socket server;
  asio::steady_timer limit;
  bool late = false;
};

/// Through a proxy: the interceptor knows how.
asio::awaitable<void> dial_ahead(std::uint64_t token, Connection connection,
                                 WorkerContext& worker) {
  tcp::socket server{co_await asio::this_coro::executor};
  const auto began = connection.opened;
  worker.open.fetch_add(1, std::memory_order_relaxed);
  boost::system::error_code error = co_await worker.interceptor.dial(std::move(connection), server);
  worker.open.fetch_sub(1, std::memory_order_relaxed);
  if (!error)
    worker.upstreams.put(token, {base::UniqueFd{server.release(error)}, began, Clock::now()});
  worker.broker.tell({token, error.value(), 0});
}

/// Of what begins and ends with its message; empty: it has no ends.
std::optional<Connection> shown_connection(wire::ConnectionFacts facts) {
  if (!facts.source || !facts.destination) return std::nullopt;
  return make_connection(std::move(facts), std::chrono::system_clock::now());
}

}  // namespace

asio::awaitable<void> connect_ahead(wire::ConnectOrder order, WorkerContext& worker) {
  const std::uint64_t token = order.token;
  const bool again = order.again;
  wire::ConnectionFacts& facts = order.connection;
  if (!facts.source || !facts.destination) co_return;
  ServerSocket by{facts.as_program, std::move(facts.socket), {}, {}};
  Connection connection = make_connection(std::move(facts), Clock::now());
  connection.connect.began = connection.opened;
  const Way way = worker.interceptor.way(connection.verdict);
  // The accept finds nothing, and goes on without.
  if (way == Way::late) worker.broker.tell({token, ECANCELED, 0});
  if (way == Way::ahead) co_await dial_ahead(token, connection, worker);
  if (way != Way::straight) co_return;
  if (!worker.has_descriptors()) {
    // It waits for its accept.
    worker.broker.tell({token, EMFILE, 0});
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
    const auto entry = worker.dialing.insert(attempt->server.native_handle());
    worker.open.fetch_add(1, std::memory_order_relaxed);
    error = co_await connect(attempt->server, connection.server);
    worker.open.fetch_sub(1, std::memory_order_relaxed);
    // The server has not answered by the end of the run, or shutdown(2) has ended the attempt: both
    // are shown alike.
    if (error && error != asio::error::connection_refused && worker.ending)
      error = asio::error::timed_out;
    worker.dialing.erase(entry);
  }
  attempt->limit.cancel();
  if (attempt->late) error = asio::error::timed_out;
  if (error) {
    worker.broker.tell({token, error.value(), 0});
    if (refusal_for(error.value()) || (error == asio::error::timed_out && !again))
      worker.interceptor.unreachable(connection, error);
    co_return;
  }
  worker.upstreams.put(
      token, {base::UniqueFd{attempt->server.release(error)}, connection.opened, Clock::now()});
  worker.broker.tell({token, 0, 0});
}

void show(wire::ShowOrder order, WorkerContext& worker) {
  const auto connection = shown_connection(std::move(order.connection));
  if (!connection) return;
  Outcome outcome;
  outcome.counted = connection->verdict.action != Action::pass;
  worker.watcher.closed(*connection, outcome);
}

void show(wire::QuicNotice notice, WorkerContext& worker) {
  const auto connection = shown_connection(std::move(notice.connection));
  if (connection) worker.watcher.quic_refused(*connection);
}

void show(wire::DnsCopy copy, WorkerContext& worker) {
  const auto connection = shown_connection(std::move(copy.connection));
  if (connection)
    worker.watcher.on_dns_datagram(*connection, copy.from_server, copy.payload, copy.came);
}

asio::awaitable<void> carry(Accepted accepted, WorkerContext& worker) {
  auto decided = co_await decide(std::move(accepted), worker);
  if (!decided) co_return;
  const Verdict& verdict = decided->connection.verdict;
  const bool final_verdict = verdict.by_host.empty();
  if (verdict.action == Action::block && final_verdict) {
    block(std::move(*decided), worker);
    co_return;
  }
  const bool passes = verdict.action == Action::pass && final_verdict;
  const Way way = passes ? Way::straight : worker.interceptor.way(verdict);
  tcp::socket server{decided->socket.get_executor()};
  // Shared, because std::function is copyable: what came with the answer is closed with its last
  // copy.
  OpenStraight open = [by = std::make_shared<ServerSocket>(std::move(decided->server)),
                       protocol = decided->connection.server.protocol(),
                       &worker](tcp::socket& opened) {
    return open_straight(opened, protocol, *by, worker);
  };
  if (!fetch(server, *decided, worker) && way == Way::straight) {
    ConnectTimes& times = decided->connection.connect;
    times.began = Clock::now();
    auto error = co_await open(server);
    if (!error) error = co_await connect(server, decided->connection.server);
    if (error) {
      fail_upstream(std::move(*decided), error, worker);
      co_return;
    }
    times.connected = Clock::now();
  }
  boost::system::error_code ignored;
  const auto far =
      way == Way::straight ? decided->connection.server : server.remote_endpoint(ignored);
  const Claim claim{worker.own, {server.local_endpoint(ignored), far}};
  if (passes) {
    const auto outcome = co_await relay(std::move(decided->socket), std::move(server));
    worker.watcher.closed(decided->connection, outcome);
  } else {
    worker.intercepted.fetch_add(1, std::memory_order_relaxed);
    co_await worker.interceptor.intercept(std::move(decided->connection),
                                          std::move(decided->socket), std::move(server),
                                          std::move(open));
    worker.intercepted.fetch_sub(1, std::memory_order_relaxed);
  }
}

}  // namespace divert
