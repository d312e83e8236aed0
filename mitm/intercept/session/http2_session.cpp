// What both readers tell, put together stream by stream.
#include "mitm/intercept/session/http2_session.h"

#include <charconv>

#include <nghttp2/nghttp2.h>

#include "mitm/intercept/session/http_flow.h"

namespace mitm::intercept {
namespace {

using boost::asio::awaitable;
using Clock = std::chrono::steady_clock;
using flow::Direction;

constexpr auto kSlow = std::chrono::seconds{1};  ///< after which the start of a flow is shown

std::optional<std::uint64_t> content_length(const http::Fields& fields) {
  const std::string_view text = fields.find("content-length");
  std::uint64_t length = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), length);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return length;
}

void append(http::Fields& fields, const http::Fields& more) {
  for (std::size_t i = 0; i < more.size(); ++i) fields.add(more[i].first, more[i].second);
}

}  // namespace

Http2Session::Http2Session(FlowRecorder& recorder, Channel& client, Channel& server)
    : recorder_(recorder),
      pass_through_(recorder, client, server, *this),
      share_(recorder.context().memory),
      readers_share_(recorder.context().memory) {}

void Http2Session::adopt(std::unique_ptr<flow::Flow> request) {
  (void)opens(Direction::request, 1);
  const auto settings =
      http::parse_upgrade_settings(request->request_headers.find("http2-settings"));
  if (!responses_.settings_agreed(settings)) crime_ = responses_.error();
  Exchange& exchange = exchanges_[1];
  exchange.flow = std::move(request);
  exchange.began = Clock::now();
  exchange.request_done = true;
  hold(exchange, cost_of_request(*exchange.flow));
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
  account_readers();
  if (read && !crime_) return true;
  malformed(direction, crime_ ? crime_ : reader.error());
  return false;
}

/// The answer that the server gives before it has the whole request, and the RST_STREAM behind it
/// (RFC 9113 section 8.1): curl 7.88 loses the answer when both come in one TLS record.
std::span<const std::size_t> Http2Session::seams(Direction direction) const {
  if (direction == Direction::request) return {};
  return responses_.quiet_resets();
}

void Http2Session::alter(Direction direction, std::span<char> bytes) {
  if (direction == Direction::response && recorder_.context().settings.hide_alt_svc)
    alt_svc_.hide(bytes);
}

/// Not passed on: the other side would be confused by it, and we can no longer tell what the
/// connection carries.
void Http2Session::malformed(Direction direction, const char* why) {
  std::string text =
      fmt::format("{} does not speak HTTP/2 as it should: {}",
                  direction == Direction::request ? "the program" : "the server", why);
  if (exchanges_.empty()) {
    auto flow = recorder_.begin(flow::Type::tcp);  // else nobody would hear of it
    flow->error = std::move(text);
    recorder_.publish_end(std::move(flow), Clock::now());
    return;
  }
  while (!exchanges_.empty()) finish(exchanges_.begin(), text);
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

/// Whether `stream` is one that this side opens now. Their numbers only grow (RFC 9113
/// section 5.1.1); what is late, for a stream that is over, opens none.
bool Http2Session::opens(Direction side, std::uint32_t stream) {
  const std::uint32_t odd = stream % 2;
  if ((odd == 1) != (side == Direction::request) || stream <= newest_[odd]) return false;
  newest_[odd] = stream;
  return true;
}

void Http2Session::hold(Exchange& exchange, std::size_t more) {
  exchange.held += more;
  held_ += more;
  share_.add(more);
  if (held_ > kHeldLimit) crime_ = "more header fields at once than we can hold";
}

void Http2Session::account_readers() {
  readers_share_.set(requests_.held() + responses_.held());
}

/// As many bytes as were announced: who counts them need not wait for the end of the stream, which
/// may come in a frame of its own.
bool Http2Session::is_whole(const Exchange& exchange) {
  return exchange.length && exchange.flow->response_bytes == exchange.length;
}

/// Nothing of HTTP/2 can wait: a connection that is not read loses its windows as well.
void Http2Session::drop_if_exhausted(Exchange& exchange, http::Fields& fields) {
  MemoryAccount& memory = recorder_.context().memory;
  if (fields.empty() || !memory.is_exhausted()) return;
  fields = {};
  exchange.fields_dropped = true;
  memory.count_drop();
}

void Http2Session::capture(Exchange& exchange, Direction direction, std::string_view bytes) {
  flow::Flow& flow = *exchange.flow;
  const bool request = direction == Direction::request;
  const std::size_t grown =
      capture_body(bytes, recorder_.context(), request ? flow.request_body : flow.response_body,
                   request ? flow.request_body_cut : flow.response_body_cut);
  exchange.bodies += grown;
  share_.add(grown);
}

void Http2Session::begin(std::uint32_t stream, http::Http2Head& head) {
  if (exchanges_.size() >= kStreams) {
    crime_ = "too many streams at once";
    return;
  }
  Exchange& exchange = exchanges_[stream];
  exchange.began = Clock::now();
  exchange.flow = recorder_.begin(flow::Type::http);
  exchange.websocket = head.method == "CONNECT" && http::iequals(head.protocol, "websocket");
  describe_request(head, recorder_, *exchange.flow);
  const bool many =
      exchange.messages.request_began(*exchange.flow, recorder_.context().settings.body_limit);
  if (many) show_start(exchange);
  drop_if_exhausted(exchange, exchange.flow->request_headers);
  if (recorder_.context().memory.is_exhausted() && cut_request_line(*exchange.flow))
    exchange.fields_dropped = true;
  hold(exchange, cost_of_request(*exchange.flow));
}

void Http2Session::response(Exchange& exchange, http::Http2Head& head) {
  flow::Flow& flow = *exchange.flow;
  exchange.response_begun = true;
  flow.status = head.status;
  flow.response_headers = std::move(head.fields);
  flow.response_bytes = 0;
  const std::size_t limit = recorder_.context().settings.body_limit;
  const bool accepted = exchange.websocket && flow.status / 100 == 2;
  if (accepted) exchange.messages.websocket_began(flow, limit);
  const bool many = accepted || exchange.messages.response_began(flow, limit);
  if (many) show_start(exchange);
  exchange.length = content_length(flow.response_headers);
  drop_if_exhausted(exchange, flow.response_headers);
  hold(exchange, cost_of_response(flow));
}

/// A second head, which only trailers may be (RFC 9113 section 8.1).
void Http2Session::trailers(Exchange& exchange, Direction direction, const http::Fields& fields,
                            bool last) {
  const bool request = direction == Direction::request;
  if (request ? exchange.request_done : exchange.response_done) {
    crime_ = "headers on a stream that it has ended";
  } else if (!last) {
    crime_ = "headers after the head that do not end the stream";
  } else {
    auto& kept = request ? exchange.flow->request_trailers : exchange.flow->response_trailers;
    append(kept, fields);
    drop_if_exhausted(exchange, kept);
    hold(exchange, kept.memory());
  }
}

void Http2Session::show_start(Exchange& exchange) {
  if (std::exchange(exchange.start_published, true)) return;
  recorder_.publish_start(*exchange.flow);
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
  if (exchange.fields_dropped && exchange.flow->error.empty())
    exchange.flow->error = kNoMemoryForFields;
  recorder_.publish_end(std::move(exchange.flow), exchange.began);
  held_ -= exchange.held;
  share_.take(exchange.held + exchange.bodies);
  exchanges_.erase(at);
}

void Http2Session::finish_all(const std::string& error) {
  while (!exchanges_.empty()) {
    const auto at = exchanges_.begin();
    const bool counted = first_end_ == Direction::request && is_whole(at->second);
    finish(at, at->second.response_done || counted ? std::string() : error);
  }
}

// What is told.

void Http2Session::Listener::headers(std::uint32_t stream, http::Http2Head& head, bool last) {
  if (session_.crime_) return;  // more of it may come within one read
  Exchange* const exchange = session_.find(stream);
  if (exchange && (request() || exchange->response_begun)) {
    session_.trailers(*exchange, direction_, head.fields, last);
  } else if (request()) {
    if (!session_.opens(direction_, stream)) return;
    session_.begin(stream, head);
  } else if (exchange && !head.interim()) {
    session_.response(*exchange, head);
  }
  if (last) session_.half_done(stream, direction_);
}

void Http2Session::Listener::data(std::uint32_t stream, std::string_view bytes, bool last) {
  Exchange* const exchange = session_.find(stream);
  if (!exchange) return;
  flow::Flow& flow = *exchange->flow;
  if (request()) {
    *flow.request_bytes += bytes.size();
    exchange->messages.feed(session_.recorder_, flow, direction_, bytes);
    session_.capture(*exchange, direction_, bytes);
  } else if (exchange->response_begun) {
    *flow.response_bytes += bytes.size();
    exchange->messages.feed(session_.recorder_, flow, direction_, bytes);
    session_.capture(*exchange, direction_, bytes);
    if (!last && !exchange->start_published && Clock::now() - exchange->began >= kSlow)
      session_.show_start(*exchange);
  }
  if (last) session_.half_done(stream, direction_);
}

void Http2Session::Listener::reset(std::uint32_t stream, std::uint32_t code) {
  const auto at = session_.exchanges_.find(stream);
  if (at == session_.exchanges_.end()) return;
  // A server that has answered may stop listening to the rest of the request (RFC 9113
  // section 8.1), and a program that has its answer may stop sending it.
  const bool done = at->second.response_done;
  const bool left = request() && (code == NGHTTP2_NO_ERROR || code == NGHTTP2_CANCEL) &&
                    (done || is_whole(at->second));
  session_.finish(
      at, left || (done && code == NGHTTP2_NO_ERROR)
              ? std::string()
              : fmt::format("{} reset the stream: {}", request() ? "the program" : "the server",
                            nghttp2_http2_strerror(code)));
}

void Http2Session::Listener::promise(std::uint32_t, std::uint32_t promised, http::Http2Head& head) {
  if (session_.crime_ || !session_.opens(direction_, promised)) return;
  session_.begin(promised, head);
  session_.half_done(promised, Direction::request);
}

void Http2Session::Listener::goaway(std::uint32_t code) {
  if (code != NGHTTP2_NO_ERROR)
    session_.goaway_ = fmt::format("{} said {}", request() ? "the program" : "the server",
                                   nghttp2_http2_strerror(code));
}

void Http2Session::Listener::settings(const http::Http2Settings& settings) {
  auto& other = request() ? session_.responses_ : session_.requests_;
  if (!other.settings_sent(settings)) session_.crime_ = other.error();
}

}  // namespace mitm::intercept
