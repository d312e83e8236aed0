// Two coroutines over a shared scratch buffer. A write that goes through at once copies nothing and
// makes no coroutine frame; what is left of it waits in the lane.
#include "mitm/intercept/wire/pump.h"

#include <algorithm>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <fmt/format.h>
#include <openssl/sslerr.h>

#include "divert/worker/send_queue.h"

namespace mitm::intercept {
namespace {

namespace asio = boost::asio;
using namespace asio::experimental::awaitable_operators;
using asio::awaitable;
using flow::Direction;
using Clock = ByteStream::Clock;
using Status = IoResult::Status;

constexpr std::size_t kLittle = 16 << 10;  ///< kept of a message in pieces, while memory is used up
constexpr auto kMemoryCheck = std::chrono::milliseconds{50};
constexpr std::size_t kHeld = 64 << 10;  ///< read of a direction that is on hold

/// Each part by itself, as far as it goes now.
IoResult write_parts(ByteStream& to, std::string_view bytes,
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

Pump::Pump(PeekBuffer& client, PeekBuffer& server, std::span<char> scratch, MemoryAccount& memory,
           Handler& handler)
    : scratch_(scratch),
      memory_(memory),
      share_(memory),
      handler_(handler),
      lanes_{{Direction::request, client, server,
              asio::steady_timer{client.get_executor(), Clock::time_point::max()}},
             {Direction::response, server, client,
              asio::steady_timer{client.get_executor(), Clock::time_point::max()}}} {}

awaitable<void> Pump::run() {
  co_await (carry(lanes_[0]) && carry(lanes_[1]));
}

/// Closed as it is, the end would be lost to a slow program that writes meanwhile.
awaitable<void> Pump::deliver_end() {
  PeekBuffer& client = lanes_[0].from;
  const bool server_lost = lanes_[1].from.failure().lost;
  if (server_lost || client.has_unsent()) co_await client.wait_until_acknowledged();
  if (server_lost) client.reset();
}

void Pump::stop() {
  stopped_ = true;
  for (Lane& lane : lanes_) {
    lane.from.cancel();
    lane.released.cancel();
  }
}

void Pump::look_again(Direction direction) {
  Lane& lane = lanes_[static_cast<int>(direction)];
  lane.released.cancel();
  if (lane.on_hold || !lane.unread.empty()) lane.from.cancel();
}

void Pump::speak(Direction direction) {
  Lane& lane = lanes_[static_cast<int>(direction)];
  lane.speaks = true;
  lane.released.cancel();
  lane.from.cancel();
}

void Pump::finish(Direction direction) {
  lanes_[static_cast<int>(direction)].finishes = true;
  speak(direction);
}

std::string_view Pump::unread(Direction direction) const {
  const Lane& lane = lanes_[static_cast<int>(direction)];
  return std::string_view(lane.unread).substr(lane.unwritten);
}

awaitable<void> Pump::carry(Lane& lane) {
  bool looks = false;  // also at nothing
  for (bool reads = true; !is_over();) {
    if (reads && lane.unread.size() >= kLittle) co_await wait_for_memory(lane);
    lane.speaks = false;
    IoResult put = speak_now(lane);
    if (put.blocked()) put = co_await let_speak(lane, put);
    if (!put.ok()) {
      co_await undelivered(lane);
      break;
    }
    if (is_over()) break;
    std::span<char> input{lane.unread};
    if (reads) {
      input = read(lane);
      if (lane.last.ended()) {
        co_await end(lane);
        break;
      }
      if (lane.last.status == Status::failed) {
        co_await fail(lane);
        break;
      }
    }
    Taken taken;
    if (!input.empty() || looks) taken = handler_.on_bytes(lane.direction, input, lane.turn);
    if (taken.replaced) {
      replace(lane, input, taken.bytes);
    } else {
      put = write(lane, input, taken.bytes);
    }
    if (put.blocked()) put = co_await deliver(lane, put);
    if (put.ok()) put = speak_now(lane);
    if (put.blocked()) put = co_await let_speak(lane, put);
    if (!put.ok()) {
      co_await undelivered(lane);
      break;
    }
    if (lane.finishes) taken.then = Then::finish;
    if (taken.then == Then::done) break;
    const bool looked_at_nothing = looks && input.empty();
    if (taken.then == Then::hold) co_await hold(lane);
    if (lane.last.status == Status::failed) {
      co_await fail(lane);
      break;
    }
    follow(lane, taken.then);
    const bool again = taken.then == Then::again || taken.then == Then::hold;
    // Of a direction that has ended nothing more is to be seen than that.
    looks = taken.then == Then::hold && !(looked_at_nothing && lane.last.ended());
    reads = !looks && (!again || lane.unread.empty());
    if (is_over() || looks || looked_at_nothing) continue;
    if (!reads || (lane.last.ok() && !lane.last.drained)) {
      co_await lane.turn.yield_when_over();
    } else {
      co_await lane.from.wait(lane.last);  // cancelled: there is something to look at again
      lane.turn.restart();
    }
  }
  if (stopped_) lane.from.push_back(unread(lane.direction));
  lane.over = true;
}

/// What is there to be looked at now, that which was kept before included.
std::span<char> Pump::read(Lane& lane) {
  const std::span<char> room = scratch_.first(readable(memory_, scratch_.size()));
  lane.last = lane.from.try_read(room);
  const std::span<char> fresh = room.first(lane.last.bytes);
  if (lane.unread.empty()) return fresh;
  lane.unread.append(fresh.data(), fresh.size());
  return lane.unread;
}

/// Writes the first `size` bytes of `input` (lane.unread or the scratch buffer) as far as they go
/// now, and keeps the rest.
IoResult Pump::write(Lane& lane, std::span<char> input, std::size_t size) {
  IoResult put;
  if (input.empty()) return put;
  const std::string_view taken{input.data(), size};
  if (size > 0) put = write_parts(lane.to, taken, handler_.write_boundaries(lane.direction));
  lane.unwritten = size - put.bytes;
  if (input.data() == lane.unread.data()) {
    drop(lane, put.bytes);
  } else {
    lane.unread.assign(input.data() + put.bytes, input.size() - put.bytes);
  }
  account();
  return put;
}

/// Drops the first `size` bytes of `input` (as in write()), and keeps the rest.
void Pump::replace(Lane& lane, std::span<char> input, std::size_t size) {
  if (input.data() == lane.unread.data()) {
    drop(lane, size);
  } else {
    lane.unread.assign(input.data() + size, input.size() - size);
  }
  account();
}

/// As far as it goes now. What does not is kept in front of what is unread.
IoResult Pump::speak_now(Lane& lane) {
  IoResult put;
  while (put.ok()) {
    const std::string said = handler_.say(lane.direction);
    if (said.empty()) break;
    put = lane.to.try_write(said);
    lane.unread.insert(0, said, put.bytes);
    lane.unwritten = said.size() - put.bytes;
  }
  if (lane.unwritten > 0) account();
  return put;
}

/// After a write of what was said that was blocked.
awaitable<IoResult> Pump::let_speak(Lane& lane, IoResult put) {
  while (put.blocked()) {
    put = co_await deliver(lane, put);
    if (put.ok()) put = speak_now(lane);
  }
  co_return put;
}

void Pump::drop(Lane& lane, std::size_t bytes) {
  lane.unread.erase(0, bytes);
  if (lane.unread.empty()) lane.unread.shrink_to_fit();
}

/// The rest of what has been taken, after a write that was `blocked`. When the sender is reset, or
/// the pump has stopped, it is still written as long as the receiver takes any: failed once it has
/// taken none for some seconds.
awaitable<IoResult> Pump::deliver(Lane& lane, IoResult blocked) {
  std::string_view left = std::string_view(lane.unread).substr(0, lane.unwritten);
  IoResult put = blocked;
  bool watches = blocked.status == Status::want_write;
  for (auto limit = ByteStream::kNoLimit; put.blocked() && Clock::now() < limit;) {
    const bool hurries = stopped_ || lane.from.failure().lost;
    if (hurries && limit == ByteStream::kNoLimit) limit = Clock::now() + divert::kDeliveryTimeout;
    if (watches && !hurries) {
      const auto first = co_await (lane.to.wait(put) || lane.from.wait_until_failed());
      watches = first.index() == 0;  // else reset, or urgent data that would end each wait at once
    } else {
      co_await lane.to.wait(put, limit);  // cancelled: the pump has stopped, or the other direction
    }
    put = lane.to.try_write(left);
    left.remove_prefix(put.bytes);
    if (put.bytes > 0) limit = ByteStream::kNoLimit;
  }
  drop(lane, lane.unwritten - left.size());
  lane.unwritten = left.size();
  account();
  co_return IoResult{put.ok() ? Status::ok : Status::failed};
}

void Pump::follow(Lane& lane, Then then) {
  switch (then) {
    case Then::drop:
      drop(lane, lane.unread.size());
      account();
      break;
    case Then::finish:
      lane.to.shutdown_write(true);
      stop();
      break;
    case Then::stop:
      stop();
      break;
    case Then::reset:
      reset();
      break;
    default:
      break;
  }
}

/// The sender is listened to all the same: it may leave. What it sends is kept.
awaitable<void> Pump::hold(Lane& lane) {
  lane.on_hold = true;
  while (!is_over() && !lane.speaks && handler_.is_on_hold(lane.direction)) {
    const std::size_t most = readable(memory_, std::min(kHeld, scratch_.size()));
    const std::size_t room = most - std::min(most, lane.unread.size());
    if (room > 0) {
      lane.last = lane.from.try_read(scratch_.first(room));
      lane.unread.append(scratch_.data(), lane.last.bytes);
      account();
    }
    const bool reads_no_more = room == 0 || lane.last.ended();
    if (reads_no_more && lane.from.failure().lost) lane.last = {Status::failed};
    const bool ended = lane.last.ended() && lane.unread.empty();
    if (lane.last.status == Status::failed || (ended && !handler_.holds_end(lane.direction))) break;
    if (reads_no_more) {
      co_await lane.released.async_wait(asio::as_tuple(asio::use_awaitable));
    } else if (!lane.last.ok() || lane.last.drained) {
      co_await lane.from.wait(lane.last);
    }
  }
  lane.on_hold = false;
  lane.turn.restart();
}

/// For the rest of a message: it goes on after a while in any case, or those that all hold part of
/// one would wait for each other.
awaitable<void> Pump::wait_for_memory(const Lane& lane) {
  const auto limit = Clock::now() + memory_.patience();
  asio::steady_timer timer{lane.from.get_executor()};
  while (memory_.is_exhausted() && lane.unread.size() >= kLittle && !is_over() &&
         Clock::now() < limit) {
    timer.expires_after(kMemoryCheck);
    co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
  }
}

awaitable<void> Pump::end(Lane& lane) {
  const IoResult how = lane.last;
  lane.truncated = how.status == Status::truncated;
  const Ending ending = handler_.on_end(lane.direction, how, lane.unread);
  IoResult put = write(lane, lane.unread, ending.bytes);
  if (put.blocked()) put = co_await deliver(lane, put);
  if (!put.ok()) {
    co_await undelivered(lane);
    co_return;
  }
  for (;;) {
    put = speak_now(lane);
    if (put.blocked()) put = co_await let_speak(lane, put);
    if (!put.ok()) {
      co_await undelivered(lane);
      co_return;
    }
    if (is_over() || !handler_.speaks_on(lane.direction)) break;
    co_await lane.released.async_wait(asio::as_tuple(asio::use_awaitable));
  }
  if (ending.passed_on) lane.to.shutdown_write(how.status == Status::end);
  if (ending.stops || lane.finishes) stop();
}

/// All that came from a side that has failed has been passed on; what is alive at the other end has
/// yet to get the end of it.
awaitable<void> Pump::fail(Lane& lane) {
  if (std::exchange(failed_, true)) co_return;
  const StreamFailure& failure = lane.from.failure();
  // OpenSSL calls the other side's end without close_notify an error of decoding, of which it
  // need not be told.
  const bool answers_truncation =
      other(lane).truncated && failure.tls_reason == SSL_R_TLSV1_ALERT_DECODE_ERROR;
  if (!answers_truncation)
    handler_.on_failure(
        lane.direction,
        fmt::format("{}: {}", lane.direction == Direction::request ? "the program" : "the server",
                    failure.text.empty() ? "connection lost" : failure.text));
  lane.from.reset();
  co_await lane.to.wait_until_acknowledged();
  lane.to.reset();
  other(lane).released.cancel();
}

/// The receiver takes no more. What it had sent before is passed on first, by the other direction,
/// which then meets the failure.
awaitable<void> Pump::undelivered(Lane& lane) {
  if (failed_) co_return;
  if (stopped_) {
    lane.to.reset();
  } else if (!lane.to.failure().lost) {
    lane.to.reset();  // it took nothing any more when the sender had been reset: no second wait
    co_await fail(lane);
  } else if (other(lane).over) {
    co_await fail(other(lane));
  } else {
    lane.to.cancel();
    other(lane).released.cancel();
  }
}

void Pump::reset() {
  failed_ = true;
  for (Lane& lane : lanes_) lane.from.reset();
}

}  // namespace mitm::intercept
