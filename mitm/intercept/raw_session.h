// Bytes of any protocol from one channel to the other and back, decrypted, as one tcp flow.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "mitm/dns/stream.h"
#include "mitm/dns/watch.h"
#include "mitm/intercept/channel.h"
#include "mitm/intercept/tracked.h"

namespace mitm::intercept {

class RawSession {
 public:
  RawSession(Tracked& tracked, Channel& client, Channel& server);

  /// Until both directions have ended. Half-close and truncation are passed on as they came; a reset of one
  /// side resets the other.
  boost::asio::awaitable<void> run();

 private:
  boost::asio::awaitable<void> pump(flow::Direction direction);
  void listen(flow::Direction direction, std::string_view bytes);
  void publish(std::unique_ptr<const flow::Flow> flow);
  void abort(std::string_view who, const Channel& channel);

  /// A connection to a name server: its questions are flows as well.
  struct NameServer {
    dns::Watch watch;
    dns::Stream questions;
    dns::Stream answers;
  };

  Tracked& tracked_;
  Channel& client_;
  Channel& server_;
  std::unique_ptr<flow::Flow> flow_;
  std::unique_ptr<NameServer> name_server_;
  std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
};

}  // namespace mitm::intercept
