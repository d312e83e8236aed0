// Two pumps over the shared scratch buffer: a direction that is idle, or that its receiver keeps up with,
// holds no memory.
#include "mitm/intercept/raw_session.h"

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace mitm::intercept {
namespace {

namespace asio = boost::asio;
using asio::awaitable;
constexpr int kRounds = 16;  ///< before other connections have their turn

bool is_name_server(std::uint16_t port) {
  constexpr std::uint16_t kDns = 53, kDnsOverTls = 853;
  return port == kDns || port == kDnsOverTls;
}

}  // namespace

RawSession::RawSession(Tracked& tracked, Channel& client, Channel& server)
    : tracked_(tracked), client_(client), server_(server), flow_(tracked.begin(flow::Type::tcp)) {
  flow_->request_bytes = 0;
  flow_->response_bytes = 0;
  if (is_name_server(tracked.connection().server.port()))
    name_server_.reset(new NameServer{dns::Watch{tracked.shared().settings.names}, {}, {}});
}

awaitable<void> RawSession::run() {
  using namespace asio::experimental::awaitable_operators;
  tracked_.publish_start(*flow_);
  co_await (pump(flow::Direction::request) && pump(flow::Direction::response));
  tracked_.data_end(flow::Direction::request);
  tracked_.data_end(flow::Direction::response);
  if (name_server_) {
    for (auto& unanswered : name_server_->watch.expired(std::chrono::steady_clock::now(), {}))
      publish(std::move(unanswered));
  }
  tracked_.publish_end(std::move(flow_), began_);
}

void RawSession::publish(std::unique_ptr<const flow::Flow> flow) {
  tracked_.shared().bus.publish(std::move(flow));
}

void RawSession::listen(flow::Direction direction, std::string_view bytes) {
  const bool answer = direction == flow::Direction::response;
  auto& stream = answer ? name_server_->answers : name_server_->questions;
  stream.feed(bytes, [&](std::string_view message) {
    auto flow =
        name_server_->watch.heard(tracked_.connection(), answer, message, std::chrono::steady_clock::now(),
                                  [&] { return tracked_.begin(flow::Type::dns); });
    if (flow) publish(std::move(flow));
  });
}

void RawSession::abort(std::string_view who, const Channel& channel) {
  if (flow_->error.empty()) flow_->error = fmt::format("{}: {}", who, channel.failure());
  client_.reset();
  server_.reset();
}

awaitable<void> RawSession::pump(flow::Direction direction) {
  const bool request = direction == flow::Direction::request;
  Channel& from = request ? client_ : server_;
  Channel& to = request ? server_ : client_;
  const std::span<char> scratch = tracked_.shared().scratch;
  for (int round = 0;; ++round) {
    const IoResult got = from.try_read(scratch);
    if (got.ended()) {
      tracked_.data_end(direction);
      to.shutdown_write(got.status == IoResult::Status::end);
      co_return;
    }
    if (got.ok()) {
      const std::string_view bytes{scratch.data(), got.bytes};
      tracked_.data(direction, bytes);
      if (name_server_) listen(direction, bytes);
      *(request ? flow_->request_bytes : flow_->response_bytes) += bytes.size();
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
    if (got.ok() && !from.drained()) {
      if (round % kRounds == kRounds - 1) co_await asio::post(asio::use_awaitable);
    } else if (!co_await from.wait(got)) {
      co_return;
    }
  }
}

}  // namespace mitm::intercept
