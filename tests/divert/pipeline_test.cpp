// A connection on its way, with a broker that the test plays.
#include "divert/pipeline.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

#include "tests/test.h"

using boost::asio::awaitable;
using boost::asio::ip::tcp;
using divert::Accepted;
using divert::Connection;

namespace {

struct Nobody final : divert::Interceptor {
  awaitable<void> intercept(Connection, tcp::socket, tcp::socket) override { co_return; }
  [[nodiscard]] divert::Way way(const divert::Verdict&) const override { return divert::Way::straight; }
  awaitable<boost::system::error_code> dial(Connection, tcp::socket&) override {
    co_return boost::system::error_code{};
  }
  void end_all() override {}
  void unreachable(const Connection&, const boost::system::error_code&) override {}
};

struct Watcher final : divert::Watcher {
  void closed(const Connection& connection, const divert::Outcome& outcome) override {
    connections.push_back(connection);
    errors.push_back(outcome.error);
  }
  void heard(const Connection&, bool, std::string_view, std::chrono::steady_clock::time_point) override {}
  void tick() override {}
  std::vector<Connection> connections;
  std::vector<std::string> errors;
};

}  // namespace

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
    divert::Room room{link,        nobody, watcher, own, upstreams, listeners,
                      intercepted, {},     ending,  {},  open,      {}};

    tcp::acceptor listener{context, {boost::asio::ip::address_v4::loopback(), 0}};
    tcp::socket program{context};
    program.connect(listener.local_endpoint());
    tcp::socket accepted = listener.accept();
    const auto peer = accepted.remote_endpoint(), local = accepted.local_endpoint();
    boost::asio::co_spawn(context, divert::carry({std::move(accepted), peer, local}, room),
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
