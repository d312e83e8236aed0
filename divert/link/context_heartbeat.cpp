// A service of the io_context: coroutines know their executor, and need not be told of links.
#include "divert/link/context_heartbeat.h"

#include "divert/link/heartbeats.h"

namespace divert {

boost::asio::execution_context::id ContextHeartbeat::id;

void ContextHeartbeat::beat(Clock::time_point now) {
  last_ = now;
  if (send_) send_();
}

void ContextHeartbeat::beat_when_due(Clock::time_point now) {
  if (now - last_ >= Heartbeats::kEvery) beat(now);
}

ContextHeartbeat& heartbeat_of(boost::asio::execution_context& context) {
  return boost::asio::use_service<ContextHeartbeat>(context);
}

}  // namespace divert
