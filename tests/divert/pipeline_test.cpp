// A connection on its way, with a broker that the test plays.
#include "divert/worker/pipeline.h"

#include <thread>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <sys/stat.h>

#include "divert/broker/answers.h"
#include "tests/test.h"

using boost::asio::awaitable;
using boost::asio::ip::tcp;
using divert::Accepted;
using divert::Connection;

namespace {

struct Nobody : divert::Interceptor {
  awaitable<void> intercept(Connection, tcp::socket, tcp::socket, divert::OpenStraight) override {
    co_return;
  }
  [[nodiscard]] divert::Way way(const divert::Verdict&) const override {
    return divert::Way::straight;
  }
  awaitable<boost::system::error_code> dial(Connection, tcp::socket&) override {
    co_return boost::system::error_code{};
  }
  void end_all() override {}
  void unreachable(const Connection&, const boost::system::error_code&) override {}
};

struct Watcher final : divert::Watcher {
  void quic_refused(const Connection&) override {}
  void closed(const Connection& connection, const divert::Outcome& outcome) override {
    connections.push_back(connection);
    errors.push_back(outcome.error);
  }
  void on_dns_datagram(const Connection&, bool, std::string_view,
                       std::chrono::steady_clock::time_point) override {}
  void tick() override {}
  std::vector<Connection> connections;
  std::vector<std::string> errors;
};

/// Connects `program` to a listener; returns what that has accepted.
tcp::socket accept_from(tcp::socket& program) {
  tcp::acceptor listener{program.get_executor(), {boost::asio::ip::address_v4::loopback(), 0}};
  program.connect(listener.local_endpoint());
  return listener.accept();
}

/// Knows only later that a connection goes straight.
struct Late final : Nobody {
  explicit Late(boost::asio::io_context& in) : context(in) {}
  awaitable<void> intercept(Connection, tcp::socket, tcp::socket server,
                            divert::OpenStraight open) override {
    was_open = server.is_open();
    tcp::socket opened{context};
    error = co_await open(opened);
    struct stat facts {};
    if (!error && ::fstat(opened.native_handle(), &facts) == 0) inode = facts.st_ino;
    context.stop();
  }
  [[nodiscard]] divert::Way way(const divert::Verdict&) const override { return divert::Way::late; }

  boost::asio::io_context& context;
  bool was_open = true;
  boost::system::error_code error;
  ino_t inode = 0;
};

/// Keeps what it is given to intercept.
struct Keeper final : Nobody {
  explicit Keeper(boost::asio::io_context& in) : context(in) {}
  awaitable<void> intercept(Connection connection, tcp::socket, tcp::socket server,
                            divert::OpenStraight) override {
    connections.push_back(std::move(connection));
    was_open = server.is_open();
    context.stop();
    co_return;
  }
  void unreachable(const Connection& connection, const boost::system::error_code&) override {
    connections.push_back(connection);
    context.stop();
  }

  boost::asio::io_context& context;
  std::vector<Connection> connections;
  bool was_open = false;
};

const base::Endpoint kSomeServer{boost::asio::ip::make_address("192.0.2.1"), 443};

/// The broker's answer to the next question: to be intercepted, on its way to `server`.
struct BrokerAnswer {
  base::Endpoint server = kSomeServer;
  std::uint64_t upstream = 0;  ///< a token; 0: none
  bool as_program = false;
  int with = -1;  ///< a descriptor that goes along
};

void answer(divert::MessageSocket& broker, const BrokerAnswer& given) {
  std::vector<char> buffer(divert::wire::kMaxMessage);
  REQUIRE(broker.receive(buffer, divert::MessageSocket::Wait::yes) ==
          sizeof(divert::wire::Question));
  divert::wire::Question question;
  std::memcpy(&question, buffer.data(), sizeof question);
  divert::Ruling ruling;
  ruling.verdict.action = divert::Action::intercept;
  const divert::FlowKey key{*divert::wire::unpack(question.peer), given.server};
  const auto text = divert::wire::encode(divert::wire::Answer{
      question.id, given.upstream, divert::facts_of(key, ruling, {}, given.as_program)});
  REQUIRE(broker.send(text, divert::MessageSocket::Wait::yes, given.with) == 0);
}

/// A worker with one context, whose broker is the other end of its link.
struct Rig {
  divert::MessageSocket::Pair pair = [] {
    auto made = divert::MessageSocket::make_pair();
    REQUIRE(made.has_value());
    return std::move(*made);
  }();
  boost::asio::io_context context;
  divert::BrokerLink link{context, std::move(pair.ours)};
  Watcher watcher;
  divert::OwnConnections own;
  divert::Upstreams upstreams;
  std::atomic<int> intercepted{0}, open{0};
  divert::Listeners listeners;
  tcp::socket program{context};
  base::Endpoint peer;

  [[nodiscard]] divert::WorkerContext worker(divert::Interceptor& interceptor) {
    return {.broker = link,
            .interceptor = interceptor,
            .watcher = watcher,
            .own = own,
            .upstreams = upstreams,
            .listeners = listeners,
            .intercepted = intercepted,
            .open = open,
            .has_descriptors = [] { return true; }};
  }
  /// Connects the program, and carries what has been accepted.
  void accept(divert::WorkerContext& worker) {
    tcp::socket accepted = accept_from(program);
    peer = accepted.remote_endpoint();
    const auto local = accepted.local_endpoint();
    boost::asio::co_spawn(context, divert::carry({std::move(accepted), peer, local}, worker),
                          boost::asio::detached);
  }
  /// Until the interceptor stops the context.
  void run_with_broker(std::function<void()> broker) {
    boost::asio::co_spawn(context, link.run([](divert::wire::Message) {}), boost::asio::detached);
    std::thread thread{std::move(broker)};
    context.run_for(std::chrono::seconds{30});
    thread.join();
    context.restart();
  }
};

}  // namespace

TEST_CASE("pipeline: what goes straight after all does so by a socket in the program's name") {
  for (const int questions : {1, 2, 3}) {
    CAPTURE(questions);
    const base::UniqueFd given{::socket(AF_INET, SOCK_STREAM, 0)};
    struct stat facts {};
    REQUIRE(::fstat(given.get(), &facts) == 0);
    Rig rig;
    Late late{rig.context};
    auto worker = rig.worker(late);
    rig.accept(worker);
    rig.run_with_broker([&] {
      for (int i = 1; i <= questions; ++i)
        answer(rig.pair.theirs, {.as_program = true, .with = i == questions ? given.get() : -1});
    });
    CHECK_FALSE(late.was_open);
    CHECK_FALSE(late.error);
    CHECK(late.inode == facts.st_ino);
  }
}

TEST_CASE("pipeline: a connection of which the broker says nothing is reset, and reported") {
  for (const bool ending : {false, true}) {
    CAPTURE(ending);
    Rig rig;
    rig.pair.theirs = {};  // gone
    Nobody nobody;
    auto worker = rig.worker(nobody);
    worker.ending = ending;
    rig.accept(worker);
    rig.context.run();

    boost::system::error_code error;
    char byte = 0;
    rig.program.read_some(boost::asio::buffer(&byte, 1), error);
    CHECK(error == boost::asio::error::connection_reset);
    REQUIRE(rig.watcher.errors.size() == (ending ? 0 : 1));
    if (ending) continue;
    CHECK(rig.watcher.errors[0] == "reset: osproxy's broker did not answer");
    CHECK(rig.watcher.connections[0].client == rig.peer);
    CHECK(rig.watcher.connections[0].verdict.action == divert::Action::block);
  }
}

TEST_CASE("pipeline: a connection says when its server was connected to") {
  using std::chrono::system_clock;
  const auto before = system_clock::now();
  SUBCASE("after the accept") {
    Rig rig;
    Keeper keeper{rig.context};
    auto worker = rig.worker(keeper);
    tcp::acceptor server{rig.context, {boost::asio::ip::address_v4::loopback(), 0}};
    rig.accept(worker);
    rig.run_with_broker([&] { answer(rig.pair.theirs, {.server = server.local_endpoint()}); });
    REQUIRE(keeper.connections.size() == 1);
    CHECK(keeper.was_open);
    const Connection& connection = keeper.connections[0];
    REQUIRE((connection.connect.began && connection.connect.connected));
    CHECK(before <= connection.opened);
    CHECK(connection.opened <= *connection.connect.began);
    CHECK(*connection.connect.began <= *connection.connect.connected);
  }
  SUBCASE("before the accept: the connection begins with that") {
    Rig rig;
    Keeper keeper{rig.context};
    auto worker = rig.worker(keeper);
    tcp::socket upstream{rig.context};
    const tcp::socket far = accept_from(upstream);
    const auto connected = before - std::chrono::milliseconds{10};
    const auto began = before - std::chrono::milliseconds{50};
    rig.upstreams.put(7, {base::UniqueFd{::dup(upstream.native_handle())}, began, connected});
    rig.accept(worker);
    rig.run_with_broker([&] { answer(rig.pair.theirs, {.upstream = 7}); });
    REQUIRE(keeper.connections.size() == 1);
    CHECK(keeper.was_open);
    CHECK(keeper.connections[0].opened == began);
    CHECK(keeper.connections[0].connect.began == began);
    CHECK(keeper.connections[0].connect.connected == connected);
  }
  SUBCASE("the order to connect while the first packet is held") {
    Rig rig;
    Keeper keeper{rig.context};
    auto worker = rig.worker(keeper);
    tcp::acceptor server{rig.context, {boost::asio::ip::address_v4::loopback(), 0}};
    const divert::FlowKey key{{boost::asio::ip::address_v4::loopback(), 1},
                              server.local_endpoint()};
    divert::wire::ConnectOrder order;
    order.token = 9;
    order.connection = divert::facts_of(key, {}, {}, false);
    boost::asio::co_spawn(rig.context, divert::connect_ahead(std::move(order), worker),
                          boost::asio::detached);
    rig.context.run();
    const auto made = rig.upstreams.take(9);
    REQUIRE(made.has_value());
    CHECK(made->socket);
    CHECK(before <= made->began);
    CHECK(made->began <= made->connected);
    CHECK(made->connected <= system_clock::now());
    CHECK_FALSE(rig.upstreams.take(9).has_value());
  }
  SUBCASE("a server that refuses") {
    Rig rig;
    Keeper keeper{rig.context};
    auto worker = rig.worker(keeper);
    tcp::acceptor server{rig.context, {boost::asio::ip::address_v4::loopback(), 0}};
    const auto closed = server.local_endpoint();
    server.close();
    rig.accept(worker);
    rig.run_with_broker([&] { answer(rig.pair.theirs, {.server = closed}); });
    REQUIRE(keeper.connections.size() == 1);
    CHECK(keeper.connections[0].connect.began.has_value());
    CHECK_FALSE(keeper.connections[0].connect.connected.has_value());
  }
}
