// A run that ends: first its engines go, then their io_contexts with whatever still hangs in them.
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <netinet/in.h>
#include <sys/socket.h>

#include "tests/mitm/intercept_rig.h"
#include "tests/test.h"

using boost::asio::io_context;
using boost::asio::ip::tcp;

TEST_CASE("end: an engine may go while a connection waits for its proxy") {
  const auto silent = rig::listen();
  sockaddr_in proxy{};
  socklen_t size = sizeof proxy;
  ::getsockname(silent.get(), reinterpret_cast<sockaddr*>(&proxy), &size);
  divert::Policy policy;
  policy.upstream = fmt::format("socks5h://127.0.0.1:{}", ntohs(proxy.sin_port));
  mitm::flow::Bus bus{{}, [](void*, const mitm::flow::Subscriber&, const base::Error&) {}, nullptr};
  bus.start();
  auto context = std::make_unique<io_context>(1);
  auto engine = mitm::intercept::Engine::make(
      rig::trusting(), std::make_shared<const divert::Policy>(std::move(policy)),
      rig::ours().signer, bus);
  REQUIRE(engine);
  auto [program, client] = rig::tcp_pair(rig::listen());
  tcp::socket socket{*context, tcp::v4(), client.release()};
  socket.non_blocking(true);
  divert::Connection connection;
  connection.verdict = {divert::Action::intercept, "test", {}};
  connection.client = socket.remote_endpoint();
  connection.server = tcp::endpoint{boost::asio::ip::make_address("192.0.2.1"), 80};
  boost::asio::co_spawn(
      *context,
      (*engine)->intercept(std::move(connection), std::move(socket), tcp::socket{*context}, {}),
      boost::asio::detached);
  rig::Peer{std::move(program)}.say(rig::kGet);
  context->run_for(std::chrono::milliseconds{300});
  CHECK(base::UniqueFd{::accept(silent.get(), nullptr, nullptr)});  // the proxy is being asked
  (*engine)->end_all();
  context->restart();
  context->run_for(std::chrono::milliseconds{50});
  engine->reset();
  context.reset();  // AddressSanitizer sees what is used too late
}
