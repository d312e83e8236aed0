// How long one connection may keep its io_context to itself.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>

#include <boost/asio/awaitable.hpp>

namespace mitm::intercept {

/// One resumption of a coroutine that moves bytes. What a peer sends costs anything between a copy
/// and a thousand times its size in decompressed bytes, so the measure is time: whoever works
/// through input asks between two steps, none of which exceeds some milliseconds whatever the input
/// says, and yields when the turn is over. A machine that is busy elsewhere ends turns early, which
/// does no harm.
class Turn {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds kLength{2};
  /// Bytes of input that are parsed at once, where each of them may cost much: an event, or a
  /// kilobyte of decompressed data.
  static constexpr std::size_t kStep = 4 << 10;
  /// The same where bytes cost less.
  static constexpr std::size_t kLargeStep = 32 << 10;

  /// The first call starts the turn: input that is dealt with in one step never looks at the clock.
  [[nodiscard]] bool is_over(Clock::time_point now = Clock::now()) {
    if (!end_) end_ = now + kLength;
    return now >= *end_;
  }
  /// After a wait.
  void restart() { end_.reset(); }
  /// Once the turn is over, lets everything else that is ready go first and begins a new one.
  boost::asio::awaitable<void> yield_when_over();

 private:
  std::optional<Clock::time_point> end_;
};

}  // namespace mitm::intercept
