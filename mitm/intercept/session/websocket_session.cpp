// The frames of both directions, counted and read along.
#include "mitm/intercept/session/websocket_session.h"

namespace mitm::intercept {

WebSocketSession::WebSocketSession(FlowRecorder& recorder, PeekBuffer& client, PeekBuffer& server,
                                   std::shared_ptr<flow::HttpFlow> flow,
                                   std::chrono::steady_clock::time_point began)
    : pass_through_(recorder, client, server, *this),
      held_(recorder.context().memory),
      exchange_(recorder, held_, std::move(flow), began, true) {
  exchange_.websocket_began();
}

boost::asio::awaitable<Next> WebSocketSession::run() {
  co_await pass_through_.run();
  exchange_.publish_end();
  co_return Next{};
}

bool WebSocketSession::on_bytes(flow::Direction direction, std::string_view bytes) {
  exchange_.websocket_bytes(direction, bytes);
  return true;
}

void WebSocketSession::failed(std::string why) {
  exchange_.fail(std::move(why));
}

}  // namespace mitm::intercept
