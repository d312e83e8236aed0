// Two pumps over the shared scratch buffer: a direction that is idle, or that its receiver keeps up with,
// holds no memory.
#include "mitm/intercept/pass_through.h"

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace mitm::intercept {
namespace {

namespace asio = boost::asio;
using asio::awaitable;
constexpr int kRounds = 16;  ///< before other connections have their turn

}  // namespace

awaitable<bool> PassThrough::run() {
  using namespace asio::experimental::awaitable_operators;
  cut_ = false;
  co_await (pump(flow::Direction::request) && pump(flow::Direction::response));
  if (cut_ && client_.socket().is_open()) co_return true;
  tracked_.data_end(flow::Direction::request);
  tracked_.data_end(flow::Direction::response);
  co_return false;
}

std::string_view PassThrough::cut(flow::Direction direction, Channel& from, std::string_view bytes) {
  const auto last = observer_.ends_after(direction, bytes);
  if (!last) return bytes;
  cut_ = true;
  from.push_back(bytes.substr(*last));
  return bytes.substr(0, *last);
}

void PassThrough::reset() {
  client_.reset();
  server_.reset();
}

void PassThrough::abort(std::string_view who, const Channel& channel) {
  observer_.failed(fmt::format("{}: {}", who, channel.failure()));
  reset();
}

awaitable<void> PassThrough::pump(flow::Direction direction) {
  const bool request = direction == flow::Direction::request;
  Channel& from = request ? client_ : server_;
  Channel& to = request ? server_ : client_;
  const std::span<char> scratch = tracked_.shared().scratch;
  for (int round = 0; !cut_; ++round) {
    const IoResult got = from.try_read(scratch);
    if (got.ended()) {
      tracked_.data_end(direction);
      observer_.ended(direction);
      to.shutdown_write(got.status == IoResult::Status::end);
      co_return;
    }
    if (got.ok()) {
      const std::string_view bytes = cut(direction, from, {scratch.data(), got.bytes});
      tracked_.data(direction, bytes);
      if (!observer_.saw(direction, bytes)) {
        reset();
        co_return;
      }
      observer_.alter(direction, scratch.first(bytes.size()));
      IoResult put = to.try_write(bytes);
      if (put.blocked()) {
        const std::string rest{bytes.substr(put.bytes)};
        put = co_await to.write_all(rest, &from);
      }
      if (!put.ok()) {
        const bool source = !from.failure().empty();
        abort(source == request ? "the program" : "the server", source ? from : to);
        co_return;
      }
    } else if (!got.blocked()) {
      abort(request ? "the program" : "the server", from);
      co_return;
    }
    if (cut_) {
      to.cancel();  // the other direction may wait there
      co_return;
    }
    if (got.ok() && !from.drained()) {
      if (round % kRounds == kRounds - 1) co_await asio::post(asio::use_awaitable);
    } else if (!co_await from.wait(got)) {
      co_return;
    }
  }
}

}  // namespace mitm::intercept
