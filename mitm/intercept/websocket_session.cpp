// What passes, counted and read along.
#include "mitm/intercept/websocket_session.h"

#include "mitm/intercept/http_flow.h"

namespace mitm::intercept {

WebSocketSession::WebSocketSession(Tracked& tracked, Channel& client, Channel& server,
                                   std::unique_ptr<flow::Flow> flow,
                                   std::chrono::steady_clock::time_point began)
    : tracked_(tracked),
      pass_through_(tracked, client, server, *this),
      flow_(std::move(flow)),
      share_(tracked.shared().memory),
      began_(began) {
  share_.set(cost_of_request(*flow_) + cost_of_response(*flow_));
  messages_.websocket_began(*flow_, tracked.shared().settings.body_limit);
}

boost::asio::awaitable<void> WebSocketSession::run() {
  co_await pass_through_.run();
  messages_.settle(*flow_);
  tracked_.publish_end(std::move(flow_), began_);
}

bool WebSocketSession::saw(flow::Direction direction, std::string_view bytes) {
  const bool request = direction == flow::Direction::request;
  *(request ? flow_->request_bytes : flow_->response_bytes) += bytes.size();
  messages_.feed(tracked_, *flow_, direction, bytes);
  return true;
}

void WebSocketSession::failed(std::string why) {
  if (flow_->error.empty()) flow_->error = std::move(why);
}

}  // namespace mitm::intercept
