// A WebSocket that began with HTTP/1.1: bytes pass as they come, each message is an event of the
// request's flow.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "mitm/intercept/session/messages.h"
#include "mitm/intercept/session/pass_through.h"

namespace mitm::intercept {

class WebSocketSession final : private PassThrough::Observer {
 public:
  /// `flow`: the request, which began at `began`, with its answer. Its end is published by run().
  WebSocketSession(FlowRecorder& recorder, Channel& client, Channel& server,
                   std::unique_ptr<flow::Flow> flow, std::chrono::steady_clock::time_point began);

  boost::asio::awaitable<void> run();

 private:
  bool saw(flow::Direction direction, std::string_view bytes) override;
  void failed(std::string why) override;

  FlowRecorder& recorder_;
  PassThrough pass_through_;
  std::unique_ptr<flow::Flow> flow_;
  MemoryShare share_;  ///< of flow_
  std::chrono::steady_clock::time_point began_;
  Messages messages_;
};

}  // namespace mitm::intercept
