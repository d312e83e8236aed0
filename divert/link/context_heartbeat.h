// Signs of life of an io_context that is busy.
#pragma once

#include <chrono>
#include <functional>

#include <boost/asio/execution_context.hpp>

namespace divert {

/// One per io_context, used on its thread only. A timer is not enough: asio looks at timers and
/// sockets once all handlers that were posted before have run, and of coroutines that take turns of
/// some milliseconds there may be thousands. So code that posts such turns calls beat_when_due().
class ContextHeartbeat final : public boost::asio::execution_context::service {
 public:
  using key_type = ContextHeartbeat;
  using Clock = std::chrono::steady_clock;
  static boost::asio::execution_context::id id;

  explicit ContextHeartbeat(boost::asio::execution_context& context) : service(context) {}

  /// `send`: sends a heartbeat. Until then the others do nothing.
  void start(std::function<void()> send) { send_ = std::move(send); }
  void beat(Clock::time_point now = Clock::now());
  /// If the last one was Heartbeats::kEvery ago.
  void beat_when_due(Clock::time_point now = Clock::now());

 private:
  void shutdown() override { send_ = nullptr; }

  std::function<void()> send_;
  Clock::time_point last_{};
};

/// That of `context`.
[[nodiscard]] ContextHeartbeat& heartbeat_of(boost::asio::execution_context& context);

}  // namespace divert
