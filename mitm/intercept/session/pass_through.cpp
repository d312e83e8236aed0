// Two pumps over the shared scratch buffer: a direction that is idle, or that its receiver keeps up
// with, holds no memory.
#include "mitm/intercept/session/pass_through.h"

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <openssl/sslerr.h>

namespace mitm::intercept {
namespace {

namespace asio = boost::asio;
using asio::awaitable;
/// Each part is a write, with a TLS record and a system call of its own.
constexpr std::size_t kBoundaries = 64;

/// Each part for itself, as far as it goes now.
IoResult write_parts(PeekBuffer& to, std::string_view bytes,
                     std::span<const std::size_t> boundaries) {
  std::size_t written = 0;
  for (const std::size_t boundary : boundaries) {
    const IoResult put = to.try_write(bytes.substr(written, boundary - written));
    written += put.bytes;
    if (!put.ok()) return {put.status, written};
  }
  const IoResult put = to.try_write(bytes.substr(written));
  return {put.status, written + put.bytes};
}

}  // namespace

awaitable<bool> PassThrough::run() {
  using namespace asio::experimental::awaitable_operators;
  cut_ = false;
  reads_[0] = reads_[1] = true;
  co_await (pump(flow::Direction::request) && pump(flow::Direction::response));
  if (cut_ && client_.is_open()) co_return true;
  recorder_.data_end(flow::Direction::request);
  recorder_.data_end(flow::Direction::response);
  if (over_ || server_.failure().lost) {
    co_await client_.wait_until_acknowledged();
    client_.reset();
  }
  co_return false;
}

std::optional<std::size_t> PassThrough::show(flow::Direction direction, std::string_view bytes,
                                             Turn& turn) {
  boundaries_.clear();
  std::size_t seen = 0;
  while (seen < bytes.size() && !cut_) {
    std::string_view step = bytes.substr(seen, Turn::kStep);
    if (const auto last = observer_.ends_after(direction, step)) {
      cut_ = true;
      step = step.substr(0, *last);
    }
    if (!observer_.on_bytes(direction, step)) return std::nullopt;
    for (const std::size_t boundary : observer_.write_boundaries(direction)) {
      if (seen + boundary > 0)
        boundaries_.push_back(seen + boundary);  // else they are parted already
    }
    seen += step.size();
    if (seen < bytes.size() && (boundaries_.size() >= kBoundaries || turn.is_over())) break;
  }
  return seen;
}

void PassThrough::reset() {
  over_ = true;
  client_.reset();
  server_.reset();
}

/// `channel` has failed, and all that came from it has been passed on. A program that is alive has
/// yet to get the end of it.
void PassThrough::abort(const PeekBuffer& channel) {
  if (std::exchange(over_, true)) return;
  if (!only_answers_truncation(channel))
    observer_.failed(
        fmt::format("{}: {}", &channel == &client_ ? "the program" : "the server",
                    channel.failure().text.empty() ? "connection lost" : channel.failure().text));
  server_.reset();
  if (&channel == &client_) client_.reset();
  client_.cancel();
}

/// OpenSSL calls the other side's end without close_notify an error of decoding. There is nobody
/// left who would be told so.
bool PassThrough::only_answers_truncation(const PeekBuffer& channel) const {
  const auto other = &channel == &server_ ? flow::Direction::request : flow::Direction::response;
  return truncated_[static_cast<int>(other)] &&
         channel.failure().tls_reason == SSL_R_TLSV1_ALERT_DECODE_ERROR;
}

/// The other side of `direction` takes no more. What it had said before is passed on first, by the
/// other pump, which then meets the failure.
void PassThrough::undelivered(flow::Direction direction) {
  const bool request = direction == flow::Direction::request;
  PeekBuffer& from = request ? client_ : server_;
  PeekBuffer& to = request ? server_ : client_;
  if (!to.failure().lost) return abort(from);
  if (!reads_[request ? 1 : 0]) return abort(to);
  to.cancel();
}

void PassThrough::hold(flow::Direction direction, std::size_t bytes) {
  held_[static_cast<int>(direction)] = bytes;
  share_.set(held_[0] + held_[1]);
}

/// False: this pump has ended. What there is no time for is pushed back.
awaitable<bool> PassThrough::pass(flow::Direction direction, std::span<char> scratch, Turn& turn) {
  const bool request = direction == flow::Direction::request;
  PeekBuffer& from = request ? client_ : server_;
  PeekBuffer& to = request ? server_ : client_;
  const std::string_view all{scratch.data(), scratch.size()};
  const auto seen = show(direction, all, turn);
  const std::string_view bytes = all.substr(0, seen.value_or(all.size()));
  recorder_.data(direction, bytes);
  if (!seen) {
    reset();
    co_return false;
  }
  if (bytes.size() < all.size()) from.push_back(all.substr(bytes.size()));
  observer_.rewrite(direction, scratch.first(bytes.size()));
  IoResult put = write_parts(to, bytes, boundaries_);
  const std::size_t pushed_back = all.size() - bytes.size();
  if (put.blocked()) {
    const std::string rest{bytes.substr(put.bytes)};
    hold(direction, pushed_back + rest.size());
    put = co_await write_all(to, rest, request ? &client_ : &server_);
  }
  hold(direction, pushed_back);
  if (!put.ok() && !over_) undelivered(direction);
  co_return put.ok() && !over_;
}

awaitable<void> PassThrough::pump(flow::Direction direction) {
  const bool request = direction == flow::Direction::request;
  PeekBuffer& from = request ? client_ : server_;
  PeekBuffer& to = request ? server_ : client_;
  for (Turn turn; !cut_ && !over_;) {
    const std::span<char> scratch = recorder_.scratch();
    const IoResult got = from.try_read(scratch);
    if (got.ended()) {
      recorder_.data_end(direction);
      observer_.ended(direction);
      truncated_[static_cast<int>(direction)] = got.status == IoResult::Status::truncated;
      to.shutdown_write(got.status == IoResult::Status::end);
      break;
    }
    if (got.ok()) {
      const bool passed = co_await pass(direction, scratch.first(got.bytes), turn);
      if (!passed) break;
    } else if (!got.blocked()) {
      abort(from);
      break;
    }
    if (cut_) {
      to.cancel();  // the other direction may wait there
      break;
    }
    if (got.ok() && (!got.drained || from.has_unread())) {
      co_await turn.yield_when_over();
    } else {
      co_await from.wait(got);  // cancelled: there is something to be heard of the other direction
      turn.restart();
    }
  }
  reads_[request ? 0 : 1] = false;
}

}  // namespace mitm::intercept
