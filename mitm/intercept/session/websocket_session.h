// A WebSocket that began with HTTP/1.1: bytes pass as they come, each message is an event of the
// request's flow.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "mitm/intercept/session/exchange.h"
#include "mitm/intercept/session/pass_through.h"
#include "mitm/intercept/session/session.h"

namespace mitm::intercept {

class WebSocketSession final : public Session, private PassThrough::Observer {
 public:
  /// `flow`: the request, which began at `began`, with its answer. Its end is published by run().
  WebSocketSession(FlowRecorder& recorder, PeekBuffer& client, PeekBuffer& server,
                   std::shared_ptr<flow::HttpFlow> flow,
                   std::chrono::steady_clock::time_point began);

  boost::asio::awaitable<Next> run() override;

 private:
  bool on_bytes(flow::Direction direction, std::string_view bytes) override;
  void failed(std::string why) override;

  PassThrough pass_through_;
  HeldBytes held_;
  Exchange exchange_;
};

}  // namespace mitm::intercept
