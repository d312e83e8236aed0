// The plain socket that stands for a connection inside TLS to a proxy: what reaches which end, and
// how it ends.
#include "mitm/intercept/wire/tunnel.h"

#include <thread>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>

#include "tests/mitm/intercept_rig.h"
#include "tests/test.h"

using mitm::intercept::TcpStream;
using mitm::intercept::Tunnel;
using mitm::intercept::UpstreamTls;
using rig::End;
using rig::Peer;

namespace {

/// A tunnel through TLS on a context of its own, with the test at both ends: `program` and `proxy`.
class Bench {
 public:
  Bench() {
    auto [ours, theirs] = rig::tcp_pair(rig::listen());
    proxy = std::make_unique<Peer>(std::move(theirs));
    const UpstreamTls::Ask ask{*base::parse_endpoint("127.0.0.1:1"), "proxy.test", {}};
    auto tunnel = std::make_unique<Tunnel>(
        TcpStream::Socket{context_, boost::asio::ip::tcp::v4(), ours.release()}, *tls_, ask,
        std::make_shared<mitm::intercept::MemoryBudget>());
    auto pair = mitm::intercept::loopback_pair(context_.get_executor());
    REQUIRE(pair);
    pair->first.non_blocking(false);
    program = std::make_unique<Peer>(base::UniqueFd{pair->first.release()});
    tunnel->near = std::make_unique<Tunnel::Near>(std::move(pair->second));
    boost::asio::co_spawn(context_, whole_life(std::move(tunnel), ask), boost::asio::detached);
    thread_ = std::thread{[this] { context_.run(); }};
    const auto server = rig::theirs().server("proxy.test");
    REQUIRE_MESSAGE(proxy->start_tls(server.get(), true), proxy->tls_error());
  }
  /// Waits for the tunnel's end: a tunnel that stays makes the test hang, and fail by its time
  /// limit.
  ~Bench() { thread_.join(); }

  std::unique_ptr<Peer> program, proxy;

 private:
  boost::asio::awaitable<void> whole_life(std::unique_ptr<Tunnel> tunnel, UpstreamTls::Ask ask) {
    const std::string why = co_await tls_->connect(tunnel->far, tunnel->attempt, ask);
    CHECK(why == "");
    co_await mitm::intercept::run(std::move(tunnel), scratch_);
  }

  std::unique_ptr<UpstreamTls> tls_ = std::move(*UpstreamTls::make(rig::trusting()));
  std::vector<char> scratch_ = std::vector<char>(64 << 10);
  boost::asio::io_context context_{1};
  std::thread thread_;
};

}  // namespace

TEST_CASE("tunnel: bytes reach the other end, in both directions and in any amount") {
  Bench bench;
  bench.program->say("hello");
  CHECK(bench.proxy->hear(5) == "hello");
  const std::string much(3 << 20, 'x');
  std::thread sender{[&] { bench.proxy->say(much); }};
  CHECK(bench.program->hear(much.size()) == much);
  sender.join();
  bench.program->finish();
  bench.proxy->hear_all();
  bench.proxy->finish();
  CHECK(bench.program->hear_all() == "");
}

TEST_CASE("tunnel: one direction ends before the other") {
  Bench bench;
  bench.program->say("question");
  bench.program->finish();
  CHECK(bench.proxy->hear_all() == "question");
  CHECK(bench.proxy->end() == End::notify);
  bench.proxy->say("answer");
  bench.proxy->finish();
  CHECK(bench.program->hear_all() == "answer");
  CHECK(bench.program->end() == End::fin);
}

TEST_CASE("tunnel: a reset of either end is one for the other") {
  SUBCASE("the proxy") {
    Bench bench;
    bench.program->say("x");
    CHECK(bench.proxy->hear(1) == "x");
    bench.proxy->reset();
    bench.program->hear_all();
    CHECK(bench.program->end() == End::reset);
  }
  SUBCASE("the program") {
    Bench bench;
    bench.program->say("x");
    CHECK(bench.proxy->hear(1) == "x");
    bench.program->reset();
    bench.proxy->hear_all();
    CHECK(bench.proxy->end() == End::reset);
  }
}

TEST_CASE("tunnel: what was said before a reset arrives") {
  const std::string answer = "413 too large" + std::string(20000, '.');
  for (int i = 0; i < 20; ++i) {
    Bench bench;
    const std::string block(64 << 10, 'x');
    std::thread upload{[&] {
      while (bench.program->try_say(block)) {
      }
    }};
    CHECK(bench.proxy->hear(1000).size() == 1000);
    bench.proxy->say(answer);
    bench.proxy->wait_until_taken();
    bench.proxy->reset();
    upload.join();
    CHECK((bench.program->hear_all() == answer));
  }
}
