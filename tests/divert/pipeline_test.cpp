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
  void heard(const Connection&, bool, std::string_view,
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

/// Answers `count` questions about a connection that a socket in the program's name is needed for;
/// `with` goes along with the last.
void answer_as_program(divert::MessageSocket& broker, int count, int with) {
  std::vector<char> buffer(divert::wire::kMaxMessage);
  for (int i = 1; i <= count; ++i) {
    REQUIRE(broker.receive(buffer, divert::MessageSocket::Wait::yes) ==
            sizeof(divert::wire::Question));
    divert::wire::Question question;
    std::memcpy(&question, buffer.data(), sizeof question);
    divert::Ruling ruling;
    ruling.verdict.action = divert::Action::intercept;
    const divert::FlowKey key{*divert::wire::unpack(question.peer),
                              {boost::asio::ip::make_address("192.0.2.1"), 443}};
    const auto text = divert::wire::encode(
        divert::wire::Answer{question.id, 0, divert::facts_of(key, ruling, {}, true)});
    REQUIRE(broker.send(text, divert::MessageSocket::Wait::yes, i == count ? with : -1) == 0);
  }
}

}  // namespace

TEST_CASE("pipeline: what goes straight after all does so by a socket in the program's name") {
  for (const int questions : {1, 2, 3}) {
    CAPTURE(questions);
    boost::asio::io_context context;
    auto pair = divert::MessageSocket::make_pair();
    REQUIRE(pair);
    const base::UniqueFd given{::socket(AF_INET, SOCK_STREAM, 0)};
    struct stat facts {};
    REQUIRE(::fstat(given.get(), &facts) == 0);
    std::thread broker{[&] { answer_as_program(pair->theirs, questions, given.get()); }};
    divert::BrokerLink link{context, std::move(pair->ours)};
    Late late{context};
    Watcher watcher;
    divert::OwnConnections own;
    divert::Upstreams upstreams;
    std::atomic<int> intercepted{0}, open{0};
    const divert::Listeners listeners;
    divert::WorkerContext worker{.broker = link,
                                 .interceptor = late,
                                 .watcher = watcher,
                                 .own = own,
                                 .upstreams = upstreams,
                                 .listeners = listeners,
                                 .intercepted = intercepted,
                                 .open = open};
    tcp::socket program{context};
    tcp::socket accepted = accept_from(program);
    const auto peer = accepted.remote_endpoint(), local = accepted.local_endpoint();
    boost::asio::co_spawn(context, link.run([](divert::wire::Message) {}), boost::asio::detached);
    boost::asio::co_spawn(context, divert::carry({std::move(accepted), peer, local}, worker),
                          boost::asio::detached);
    context.run_for(std::chrono::seconds{30});
    broker.join();
    CHECK_FALSE(late.was_open);
    CHECK_FALSE(late.error);
    CHECK(late.inode == facts.st_ino);
  }
}

TEST_CASE("pipeline: a connection of which the broker says nothing is reset, and reported") {
  for (const bool ending : {false, true}) {
    CAPTURE(ending);
    boost::asio::io_context context;
    auto pair = divert::MessageSocket::make_pair();
    REQUIRE(pair);
    pair->theirs = {};  // gone
    divert::BrokerLink link{context, std::move(pair->ours)};
    Nobody nobody;
    Watcher watcher;
    divert::OwnConnections own;
    divert::Upstreams upstreams;
    std::atomic<int> intercepted{0}, open{0};
    const divert::Listeners listeners;
    divert::WorkerContext worker{.broker = link,
                                 .interceptor = nobody,
                                 .watcher = watcher,
                                 .own = own,
                                 .upstreams = upstreams,
                                 .listeners = listeners,
                                 .intercepted = intercepted,
                                 .open = open,
                                 .ending = ending};

    tcp::socket program{context};
    tcp::socket accepted = accept_from(program);
    const auto peer = accepted.remote_endpoint(), local = accepted.local_endpoint();
    boost::asio::co_spawn(context, divert::carry({std::move(accepted), peer, local}, worker),
                          boost::asio::detached);
    context.run();

    boost::system::error_code error;
    char byte = 0;
    program.read_some(boost::asio::buffer(&byte, 1), error);
    CHECK(error == boost::asio::error::connection_reset);
    REQUIRE(watcher.errors.size() == (ending ? 0 : 1));
    if (ending) continue;
    CHECK(watcher.errors[0] == "reset: osproxy's broker did not answer");
    CHECK(watcher.connections[0].client == peer);
    CHECK(watcher.connections[0].verdict.action == divert::Action::block);
  }
}
