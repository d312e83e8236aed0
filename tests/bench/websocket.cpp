// An echo server and a load generator for `scripts/bench`'s row of WebSocket: small messages, one
// under way on each connection, in TLS.
//   websocket_bench serve ADDRESS PORT CERTIFICATE KEY
//   websocket_bench load ADDRESS PORT HOST CONNECTIONS SECONDS    prints messages echoed per second
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/ssl/impl/src.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/ssl.hpp>
#include <boost/beast/websocket.hpp>
#include <boost/beast/websocket/ssl.hpp>

namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
using asio::use_awaitable;
using asio::ip::tcp;
using Clock = std::chrono::steady_clock;
using Stream = beast::websocket::stream<asio::ssl::stream<tcp::socket>>;

constexpr std::string_view kMessage = "a message of thirty-two bytes...";

asio::awaitable<void> echo(tcp::socket socket, asio::ssl::context& context) {
  socket.set_option(tcp::no_delay{true});
  Stream stream{std::move(socket), context};
  try {
    co_await stream.next_layer().async_handshake(asio::ssl::stream_base::server, use_awaitable);
    co_await stream.async_accept(use_awaitable);
    for (beast::flat_buffer buffer;; buffer.clear()) {
      co_await stream.async_read(buffer, use_awaitable);
      stream.text(stream.got_text());
      co_await stream.async_write(buffer.data(), use_awaitable);
    }
  } catch (const boost::system::system_error&) {
    co_return;  // the client has gone
  }
}

asio::awaitable<void> accept(tcp::acceptor& acceptor, asio::ssl::context& context) {
  for (;;) {
    tcp::socket socket = co_await acceptor.async_accept(use_awaitable);
    asio::co_spawn(acceptor.get_executor(), echo(std::move(socket), context), asio::detached);
  }
}

struct Load {
  tcp::endpoint server;
  std::string host;
  asio::ssl::context context{asio::ssl::context::tls_client};
  Clock::time_point end;
  unsigned long echoed = 0;
};

asio::awaitable<void> talk(Load& load) {
  Stream stream{co_await asio::this_coro::executor, load.context};
  tcp::socket& socket = beast::get_lowest_layer(stream);
  co_await socket.async_connect(load.server, use_awaitable);
  socket.set_option(tcp::no_delay{true});
  SSL_set_tlsext_host_name(stream.next_layer().native_handle(), load.host.c_str());
  co_await stream.next_layer().async_handshake(asio::ssl::stream_base::client, use_awaitable);
  co_await stream.async_handshake(load.host, "/", use_awaitable);
  for (beast::flat_buffer buffer; Clock::now() < load.end; buffer.clear()) {
    co_await stream.async_write(asio::buffer(kMessage), use_awaitable);
    const std::size_t size = co_await stream.async_read(buffer, use_awaitable);
    if (size != kMessage.size()) std::abort();
    ++load.echoed;
  }
}

void fail(const std::exception_ptr& thrown) {
  if (thrown) std::rethrow_exception(thrown);
}

tcp::endpoint endpoint(char** words) {
  return {asio::ip::make_address(words[0]), static_cast<std::uint16_t>(std::atoi(words[1]))};
}

}  // namespace

int main(int argc, char** argv) try {
  const std::string_view mode = argc > 1 ? argv[1] : "";
  asio::io_context io{1};
  if (mode == "serve" && argc == 6) {
    asio::ssl::context context{asio::ssl::context::tls_server};
    context.use_certificate_chain_file(argv[4]);
    context.use_private_key_file(argv[5], asio::ssl::context::pem);
    tcp::acceptor acceptor{io, endpoint(argv + 2)};
    asio::co_spawn(io, accept(acceptor, context), fail);
    io.run();
  } else if (mode == "load" && argc == 7) {
    Load load;
    load.server = endpoint(argv + 2);
    load.host = argv[4];
    const std::chrono::seconds lasts{std::atoi(argv[6])};
    load.end = Clock::now() + lasts;
    for (int i = std::atoi(argv[5]); i > 0; --i) asio::co_spawn(io, talk(load), fail);
    io.run();
    std::printf("%.0f messages/s\n",
                static_cast<double>(load.echoed) / static_cast<double>(lasts.count()));
  } else {
    std::fprintf(stderr, "usage: see the first lines of tests/bench/websocket.cpp\n");
    return 2;
  }
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "websocket_bench: %s\n", error.what());
  return 1;
}
