// What the observer looks at, step by step.
#include "mitm/intercept/session/pass_through.h"

namespace mitm::intercept {
namespace {

using boost::asio::awaitable;
using Then = Pump::Then;
/// Each part is a write, with a TLS record and a system call of its own.
constexpr std::size_t kBoundaries = 64;

}  // namespace

PassThrough::PassThrough(FlowRecorder& recorder, PeekBuffer& client, PeekBuffer& server,
                         Observer& observer)
    : recorder_(recorder),
      client_(client),
      observer_(observer),
      pump_(client, server, recorder.context().scratch, recorder.context().memory, *this) {}

awaitable<bool> PassThrough::run() {
  co_await pump_.run();
  if (pump_.has_stopped() && client_.is_open()) co_return true;
  recorder_.data_end(flow::Direction::request);
  recorder_.data_end(flow::Direction::response);
  co_await pump_.deliver_end();
  co_return false;
}

std::string PassThrough::say(flow::Direction direction) {
  std::string said = observer_.say(direction);
  if (!said.empty()) recorder_.data(direction, said);
  return said;
}

Pump::Taken PassThrough::on_bytes(flow::Direction direction, std::span<char> bytes, Turn& turn) {
  boundaries_.clear();
  const std::string_view all{bytes.data(), bytes.size()};
  Pump::Taken taken;
  while (taken.bytes < all.size() && taken.then == Then::more) {
    std::string_view step = all.substr(taken.bytes, Turn::kStep);
    const bool replaced = observer_.replaces(direction);
    if (taken.bytes > 0 && replaced != taken.replaced) {
      taken.then = Then::again;
      break;
    }
    taken.replaced = replaced;
    if (const auto last = observer_.ends_after(direction, step)) {
      taken.then = Then::stop;
      step = step.substr(0, *last);
    }
    if (!observer_.on_bytes(direction, step)) {
      recorder_.data(direction, all);
      return {0, Then::reset};
    }
    for (const std::size_t boundary : observer_.write_boundaries(direction)) {
      if (taken.bytes + boundary > 0)
        boundaries_.push_back(taken.bytes + boundary);  // else they are separate already
    }
    taken.bytes += step.size();
    const bool full = boundaries_.size() >= kBoundaries;
    if (taken.then != Then::more) break;
    if (observer_.is_on_hold(direction)) {
      taken.then = Then::hold;
    } else if (taken.bytes < all.size() && (full || turn.is_over())) {
      taken.then = Then::again;
    }
  }
  if (taken.replaced) return taken;
  recorder_.data(direction, all.substr(0, taken.bytes));
  observer_.rewrite(direction, bytes.first(taken.bytes));
  return taken;
}

Pump::Ending PassThrough::on_end(flow::Direction direction, IoResult, std::string_view) {
  recorder_.data_end(direction);
  observer_.ended(direction);
  return {};
}

void PassThrough::on_failure(flow::Direction, std::string why) {
  observer_.failed(std::move(why));
}

}  // namespace mitm::intercept
