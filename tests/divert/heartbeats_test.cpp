#include "divert/link/heartbeats.h"

#include <boost/asio/io_context.hpp>

#include "divert/link/context_heartbeat.h"
#include "tests/test.h"

using namespace std::chrono_literals;
using divert::Heartbeats;

namespace {

/// Rounds `every` so often, for `lasting`; what the last one said.
std::optional<std::size_t> rounds(Heartbeats& heartbeats, Heartbeats::Time& now,
                                  std::chrono::milliseconds every,
                                  std::chrono::milliseconds lasting) {
  std::optional<std::size_t> silent;
  for (const auto end = now + lasting; now < end && !silent;) {
    now += every;
    silent = heartbeats.round(now);
  }
  return silent;
}

}  // namespace

TEST_CASE("heartbeats: a context that is silent for two seconds is named") {
  Heartbeats heartbeats{3};
  Heartbeats::Time now{};
  CHECK_FALSE(heartbeats.round(now));
  CHECK_FALSE(rounds(heartbeats, now, 200ms, 1800ms));
  heartbeats.heard(0);
  heartbeats.heard(2);
  CHECK(rounds(heartbeats, now, 200ms, 200ms) == 1);
  CHECK(now == Heartbeats::Time{} + 2s);
}

TEST_CASE("heartbeats: one sign of life begins the two seconds anew") {
  Heartbeats heartbeats{1};
  Heartbeats::Time now{};
  for (int i = 0; i < 10; ++i) {
    CHECK_FALSE(rounds(heartbeats, now, 200ms, 1800ms));
    heartbeats.heard(0);
  }
  CHECK(rounds(heartbeats, now, 200ms, 5s) == 0);
}

TEST_CASE("heartbeats: time in which the listener itself did not come round does not count") {
  Heartbeats heartbeats{1};
  Heartbeats::Time now{};
  CHECK_FALSE(heartbeats.round(now));
  // The machine sleeps for an hour; the whole job is stopped for a minute.
  for (const auto pause : {1h, 1h}) {
    now += pause;
    CHECK_FALSE(heartbeats.round(now));
  }
  // That counted for two of the longest steps.
  const auto left = Heartbeats::kSilence - 2 * Heartbeats::kMaxStep;
  CHECK_FALSE(rounds(heartbeats, now, 200ms, left - 200ms));
  CHECK(rounds(heartbeats, now, 200ms, 200ms) == 0);
}

TEST_CASE(
    "heartbeats: a context sends one when the last one "
    "is half a second old, not before it is told how") {
  boost::asio::io_context context;
  auto& heartbeat = divert::heartbeat_of(context);
  divert::ContextHeartbeat::Clock::time_point now{1h};
  heartbeat.beat_when_due(now);
  int sent = 0;
  heartbeat.start([&sent] { ++sent; });
  heartbeat.beat(now);
  CHECK(sent == 1);
  heartbeat.beat_when_due(now + Heartbeats::kEvery - 1ms);
  CHECK(sent == 1);
  heartbeat.beat_when_due(now + Heartbeats::kEvery);
  heartbeat.beat_when_due(now + Heartbeats::kEvery + 1ms);
  CHECK(sent == 2);
  CHECK(&divert::heartbeat_of(context) == &heartbeat);
}
