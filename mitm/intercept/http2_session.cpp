// What both readers tell, put together stream by stream.
#include "mitm/intercept/http2_session.h"

#include <nghttp2/nghttp2.h>

#include "mitm/intercept/http_flow.h"

namespace mitm::intercept {
namespace {

using boost::asio::awaitable;
using Clock = std::chrono::steady_clock;
using flow::Direction;

constexpr auto kSlow = std::chrono::seconds{1};  ///< after which the start of a flow is shown

/// As many bytes as were announced: who counts them need not wait for the end of the stream, which may come
/// in a frame of its own.
bool is_whole(const flow::Flow& flow) {
  return flow.response_bytes &&
         flow.response_headers.find("content-length") == std::to_string(*flow.response_bytes);
}

void append(http::Fields& fields, const http::Fields& more) {
  for (std::size_t i = 0; i < more.size(); ++i) fields.add(more[i].first, more[i].second);
}

}  // namespace

Http2Session::Http2Session(Tracked& tracked, Channel& client, Channel& server)
    : tracked_(tracked), pass_through_(tracked, client, server, *this) {}

void Http2Session::adopt(std::unique_ptr<flow::Flow> request) {
  Exchange& exchange = exchanges_[1];
  exchange.flow = std::move(request);
  exchange.began = Clock::now();
  exchange.request_done = true;
}

awaitable<void> Http2Session::run() {
  co_await pass_through_.run();
  finish_all(why_incomplete());
}

std::string Http2Session::why_incomplete() const {
  std::string text = "the connection ended before the answer was complete";
  if (first_end_) text = *first_end_ == Direction::request ? kProgramLeft : kServerLeft;
  return goaway_.empty() ? text : text + " (" + goaway_ + ")";
}

bool Http2Session::saw(Direction direction, std::string_view bytes) {
  const bool request = direction == Direction::request;
  auto& reader = request ? requests_ : responses_;
  const bool read = reader.feed(bytes, request ? program_ : server_);
  if (read && !crime_) return true;
  malformed(direction, crime_ ? crime_ : reader.error());
  return false;
}

/// Not passed on: the other side would be confused by it, and we can no longer tell what the connection
/// carries.
void Http2Session::malformed(Direction direction, const char* why) {
  std::string text = fmt::format("{} does not speak HTTP/2 as it should: {}",
                                 direction == Direction::request ? "the program" : "the server", why);
  if (exchanges_.empty()) {
    auto flow = tracked_.begin(flow::Type::tcp);  // else nobody would hear of it
    flow->error = std::move(text);
    tracked_.publish_end(std::move(flow), Clock::now());
    return;
  }
  finish_all(text);
}

void Http2Session::ended(Direction direction) {
  if (!first_end_) first_end_ = direction;
}

void Http2Session::failed(std::string why) {
  finish_all(first_end_ ? why_incomplete() : why);
}

Http2Session::Exchange* Http2Session::find(std::uint32_t stream) {
  const auto found = exchanges_.find(stream);
  return found == exchanges_.end() ? nullptr : &found->second;
}

void Http2Session::begin(std::uint32_t stream, http::Http2Head& head) {
  if (exchanges_.size() >= kStreams) {
    crime_ = "too many streams at once";
    return;
  }
  Exchange& exchange = exchanges_[stream];
  exchange.began = Clock::now();
  exchange.flow = tracked_.begin(flow::Type::http);
  exchange.websocket = head.method == "CONNECT" && http::iequals(head.protocol, "websocket");
  describe_request(head, tracked_, *exchange.flow);
  exchange.messages.request_began(*exchange.flow, tracked_.shared().settings.body_limit);
}

void Http2Session::response(Exchange& exchange, http::Http2Head& head) {
  flow::Flow& flow = *exchange.flow;
  exchange.response_begun = true;
  flow.status = head.status;
  flow.response_headers = std::move(head.fields);
  flow.response_bytes = 0;
  const std::size_t limit = tracked_.shared().settings.body_limit;
  const bool accepted = exchange.websocket && flow.status / 100 == 2;
  if (accepted) exchange.messages.websocket_began(flow, limit);
  const bool many = accepted || exchange.messages.response_began(flow, limit);
  if (many) show_start(exchange);
}

void Http2Session::show_start(Exchange& exchange) {
  if (std::exchange(exchange.start_published, true)) return;
  tracked_.publish_start(*exchange.flow);
}

void Http2Session::half_done(std::uint32_t stream, Direction direction) {
  const auto at = exchanges_.find(stream);
  if (at == exchanges_.end()) return;
  (direction == Direction::request ? at->second.request_done : at->second.response_done) = true;
  if (at->second.request_done && at->second.response_done) finish(at, {});
}

void Http2Session::finish(Exchanges::iterator at, std::string error) {
  Exchange& exchange = at->second;
  if (exchange.flow->error.empty()) exchange.flow->error = std::move(error);
  exchange.messages.settle(*exchange.flow);
  tracked_.publish_end(std::move(exchange.flow), exchange.began);
  exchanges_.erase(at);
}

void Http2Session::finish_all(const std::string& error) {
  while (!exchanges_.empty()) {
    const auto at = exchanges_.begin();
    const bool counted = first_end_ == Direction::request && is_whole(*at->second.flow);
    finish(at, at->second.response_done || counted ? std::string() : error);
  }
}

// What is told.

void Http2Session::Listener::headers(std::uint32_t stream, http::Http2Head& head, bool last) {
  Exchange* const exchange = session_.find(stream);
  if (request()) {
    if (exchange) {
      append(exchange->flow->request_trailers, head.fields);
    } else {
      session_.begin(stream, head);
    }
  } else if (exchange && !head.interim()) {
    if (exchange->response_begun) {
      append(exchange->flow->response_trailers, head.fields);
    } else {
      session_.response(*exchange, head);
    }
  }
  if (last) session_.half_done(stream, direction_);
}

void Http2Session::Listener::data(std::uint32_t stream, std::string_view bytes, bool last) {
  Exchange* const exchange = session_.find(stream);
  if (!exchange) return;
  flow::Flow& flow = *exchange->flow;
  const std::size_t limit = session_.tracked_.shared().settings.body_limit;
  if (request()) {
    *flow.request_bytes += bytes.size();
    exchange->messages.feed(session_.tracked_, flow, direction_, bytes);
    capture_body(bytes, limit, flow.request_body, flow.request_body_cut);
  } else if (exchange->response_begun) {
    *flow.response_bytes += bytes.size();
    exchange->messages.feed(session_.tracked_, flow, direction_, bytes);
    capture_body(bytes, limit, flow.response_body, flow.response_body_cut);
    if (!last && !exchange->start_published && Clock::now() - exchange->began >= kSlow)
      session_.show_start(*exchange);
  }
  if (last) session_.half_done(stream, direction_);
}

void Http2Session::Listener::reset(std::uint32_t stream, std::uint32_t code) {
  const auto at = session_.exchanges_.find(stream);
  if (at == session_.exchanges_.end()) return;
  // A server that has answered may stop listening to the rest of the request (RFC 9113 section 8.1), and a
  // program that has its answer may stop sending it.
  const bool done = at->second.response_done;
  const bool left = request() && (code == NGHTTP2_NO_ERROR || code == NGHTTP2_CANCEL) &&
                    (done || is_whole(*at->second.flow));
  session_.finish(at, left || (done && code == NGHTTP2_NO_ERROR)
                          ? std::string()
                          : fmt::format("{} reset the stream: {}", request() ? "the program" : "the server",
                                        nghttp2_http2_strerror(code)));
}

void Http2Session::Listener::promise(std::uint32_t, std::uint32_t promised, http::Http2Head& head) {
  if (request() || session_.find(promised)) return;
  session_.begin(promised, head);
  session_.half_done(promised, Direction::request);
}

void Http2Session::Listener::goaway(std::uint32_t code) {
  if (code != NGHTTP2_NO_ERROR)
    session_.goaway_ =
        fmt::format("{} said {}", request() ? "the program" : "the server", nghttp2_http2_strerror(code));
}

void Http2Session::Listener::settings(std::optional<std::uint32_t> table_size) {
  auto& other = request() ? session_.responses_ : session_.requests_;
  if (!other.settings_sent(table_size)) session_.crime_ = other.error();
}

}  // namespace mitm::intercept
