// What passes, counted and read along.
#include "mitm/intercept/session/websocket_session.h"

#include "mitm/intercept/session/http_flow.h"

namespace mitm::intercept {

WebSocketSession::WebSocketSession(FlowRecorder& recorder, Channel& client, Channel& server,
                                   std::unique_ptr<flow::Flow> flow,
                                   std::chrono::steady_clock::time_point began)
    : recorder_(recorder),
      pass_through_(recorder, client, server, *this),
      flow_(std::move(flow)),
      share_(recorder.context().memory),
      began_(began) {
  share_.set(cost_of_request(*flow_) + cost_of_response(*flow_));
  messages_.websocket_began(*flow_, recorder.context().settings.body_limit);
}

boost::asio::awaitable<void> WebSocketSession::run() {
  co_await pass_through_.run();
  messages_.settle(*flow_);
  recorder_.publish_end(std::move(flow_), began_);
}

bool WebSocketSession::saw(flow::Direction direction, std::string_view bytes) {
  const bool request = direction == flow::Direction::request;
  *(request ? flow_->request_bytes : flow_->response_bytes) += bytes.size();
  messages_.feed(recorder_, *flow_, direction, bytes);
  return true;
}

void WebSocketSession::failed(std::string why) {
  if (flow_->error.empty()) flow_->error = std::move(why);
}

}  // namespace mitm::intercept
