// Everything behind the dialer works on sockets: splicing, peeking, TLS of its own. So TLS to a
// proxy ends at a socket as well, at the price of one more copy.
#include "mitm/intercept/wire/tunnel.h"

#include "divert/worker/source_ports.h"
#include "mitm/intercept/wire/pump.h"

namespace mitm::intercept {
namespace {

namespace asio = boost::asio;
using asio::awaitable;

/// Nothing is held back or looked at.
class Everything final : public Pump::Handler {
  Pump::Taken on_bytes(flow::Direction, std::span<char> bytes, Turn&) override {
    return {bytes.size()};
  }
  Pump::Ending on_end(flow::Direction, IoResult, std::string_view) override { return {}; }
  void on_failure(flow::Direction, std::string) override {}
};

}  // namespace

base::Result<std::pair<TcpStream::Socket, TcpStream::Socket>> loopback_pair(
    const asio::any_io_executor& executor) {
  using tcp = asio::ip::tcp;
  boost::system::error_code error;
  tcp::acceptor listener{executor};
  const tcp::endpoint any{asio::ip::address_v4::loopback(), 0};
  TcpStream::Socket ours{executor}, theirs{executor};
  listener.open(tcp::v4(), error);
  if (!error) listener.bind(any, error);
  if (!error) listener.listen(1, error);
  if (!error) ours.open(tcp::v4(), error);
  if (!error) {
    const auto door = listener.local_endpoint(error);
    const int bound = divert::bind_source_port(ours.native_handle(), door);
    error.assign(bound, boost::system::system_category());
    if (!error) ours.connect(door, error);
  }
  if (!error) listener.accept(theirs, error);
  // Whoever else connects to an open port of the loopback has another address.
  const bool stranger = !error && theirs.remote_endpoint() != ours.local_endpoint();
  if (error || stranger)
    return base::failure("cannot make a loopback connection: {}",
                         stranger ? "somebody else came first" : error.message());
  for (TcpStream::Socket* one : {&ours, &theirs}) {
    one->set_option(tcp::no_delay{true}, error);
    one->non_blocking(true, error);
  }
  return std::pair{std::move(ours), std::move(theirs)};
}

awaitable<void> run(std::unique_ptr<Tunnel> tunnel, std::span<char> scratch) {
  Everything everything;
  Pump pump{tunnel->near->stream, tunnel->far.stream, scratch, tunnel->memory, everything};
  co_await pump.run();
  co_await pump.deliver_end();
}

}  // namespace mitm::intercept
