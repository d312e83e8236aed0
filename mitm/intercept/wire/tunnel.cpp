// Everything behind the dialer works on sockets: splicing, peeking, TLS of its own. So TLS to a
// proxy ends at a socket as well, at the price of one more copy.
#include "mitm/intercept/wire/tunnel.h"

#include <array>

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "divert/worker/source_ports.h"
#include "mitm/intercept/wire/turn.h"

namespace mitm::intercept {
namespace {

namespace asio = boost::asio;
using asio::awaitable;
constexpr std::size_t kBuffer = 32 << 10;

void reset(Tunnel& tunnel) {
  tunnel.near->tcp.reset();
  tunnel.far.tcp.reset();
}

/// One direction.
struct Way {
  PeekBuffer& from;
  PeekBuffer& to;
  bool over = false;
};

/// `way.to` takes no more. What it had said before still comes, by the other way, which then meets
/// the failure.
void give_up(Tunnel& tunnel, const Way& way, const Way& back) {
  if (!way.to.failure().lost || back.over) return reset(tunnel);
  way.to.cancel();
}

awaitable<void> pump(Tunnel& tunnel, Way& way, const Way& back) {
  for (Turn turn;;) {
    std::vector<char> buffer(kBuffer);
    const IoResult got = way.from.try_read(buffer);
    if (got.ended()) {
      way.to.shutdown_write(true);
      break;
    }
    if (got.ok()) {
      const IoResult put = co_await write_all(way.to, {buffer.data(), got.bytes}, &way.from);
      if (!put.ok()) {
        give_up(tunnel, way, back);
        break;
      }
    } else if (!got.blocked()) {
      co_await way.to.wait_until_acknowledged();
      reset(tunnel);
      break;
    }
    if (got.ok() && !got.drained) {
      co_await turn.yield_when_over();
      continue;
    }
    std::vector<char>().swap(buffer);  // an idle tunnel holds none
    co_await way.from.wait(got);       // cancelled: there is something to be heard
    turn.restart();
  }
  way.over = true;
}

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

awaitable<void> run(std::unique_ptr<Tunnel> tunnel) {
  using namespace asio::experimental::awaitable_operators;
  Way outwards{tunnel->near->stream, tunnel->far.stream},
      inwards{tunnel->far.stream, tunnel->near->stream};
  co_await (pump(*tunnel, outwards, inwards) && pump(*tunnel, inwards, outwards));
}

}  // namespace mitm::intercept
