// What the messages of an HTTP/1 connection are made into: exchanges, and their flows.
#include "mitm/intercept/session/http1_session.h"
#include "mitm/intercept/session/http_flow.h"

namespace mitm::intercept {
namespace {

using Clock = std::chrono::steady_clock;
using http::Http1Reader;
using What = Http1Reader::What;
using Status = IoResult::Status;

constexpr auto kSlow = std::chrono::seconds{1};  ///< after which the start of a flow is shown
constexpr std::size_t kRefused = 16 << 10;       ///< bytes that are kept of what is refused

}  // namespace

/// What a reader is shown at once: a head must be whole, a body may be events from end to end.
std::string_view Http1Session::next_step(const Lane& lane, std::string_view input) const {
  const bool request = lane.direction == flow::Direction::request;
  if ((request ? requests_ : responses_).between_messages()) return input;
  if (exchanges_.empty()) return input.substr(0, Turn::kLargeStep);
  const Exchange& exchange = request ? exchanges_.back() : exchanges_.front();
  return input.substr(0, exchange.messages.step(lane.direction));
}

// Memory.

void Http1Session::hold(Exchange& exchange, std::size_t more) {
  exchange.held += more;
  held_ += more;
  account();
}

void Http1Session::release(Exchange& exchange) {
  held_ -= std::exchange(exchange.held, 0);
  account();
}

void Http1Session::account() {
  share_.set(held_ + asking_.held.size() + answering_.held.size());
}

void Http1Session::fail_all(const std::string& error) {
  for (auto& exchange : exchanges_) {
    if (!exchange.response_done && exchange.flow->error.empty()) exchange.flow->error = error;
    publish(exchange);
  }
  exchanges_.clear();
}

void Http1Session::publish(Exchange& exchange) {
  release(exchange);
  if (!exchange.flow) return;  // it goes on
  exchange.messages.settle(*exchange.flow);
  recorder_.publish_end(std::move(exchange.flow), exchange.began);
}

// Requests.

/// Whether the rest of what was read has to wait until other connections had their turn. `more`:
/// there is some.
bool Http1Session::must_yield(Lane& lane, bool more) const {
  lane.reread = more && lane.turn.is_over();
  return lane.reread;
}

/// How much of `input` may be forwarded.
std::size_t Http1Session::consume_requests(std::string_view input) {
  for (std::size_t at = 0;;) {
    if (requests_.between_messages() && answer_lasts()) {
      take_further(input.substr(at));
      return input.size();
    }
    if (requests_.between_messages() && on_hold()) {
      asking_.reread = at < input.size();
      return at;
    }
    const auto event = requests_.next(next_step(asking_, input.substr(at)));
    switch (event.what) {
      case What::need_more:
        return at;
      case What::bad:
        refuse_request(requests_.error(), input.substr(at));
        return at;
      case What::head:
        begin_exchange(requests_.head());
        break;
      case What::end:
        finish_request();
        break;
      case What::body: {
        Exchange& exchange = exchanges_.back();
        flow::Flow& flow = *exchange.flow;
        *flow.request_bytes += event.body.size();
        exchange.messages.feed(recorder_, flow, flow::Direction::request, event.body);
        hold(exchange, capture_body(event.body, recorder_.context(), flow.request_body,
                                    flow.request_body_cut));
        break;
      }
    }
    at += event.size;
    if (must_yield(asking_, at < input.size())) return at;
  }
}

void Http1Session::begin_exchange(http::Head& head) {
  Exchange& exchange = exchanges_.emplace_back();
  exchange.began = Clock::now();
  exchange.flow = recorder_.begin(flow::Type::http);
  exchange.upgrade = head.upgrade;
  if (head.method == "HEAD") exchange.answers = http::Answers::head;
  if (head.method == "CONNECT") exchange.answers = http::Answers::connect;
  describe_request(head, scheme_, recorder_, *exchange.flow);
  hold(exchange, cost_of_request(*exchange.flow));
  if (exchange.messages.request_began(*exchange.flow, recorder_.context().settings.body_limit))
    show_start(exchange);
}

void Http1Session::finish_request() {
  Exchange& exchange = exchanges_.back();
  exchange.request_done = true;
  exchange.flow->request_trailers = std::move(requests_.trailers());
  hold(exchange, exchange.flow->request_trailers.memory());
  awaiting_switch_ =
      (exchange.upgrade || exchange.answers == http::Answers::connect) && !exchange.response_begun;
  if (exchanges_.size() == 1) finish_front();
}

/// Of a request that nobody could read; what is answered to it is its response.
Http1Session::Exchange& Http1Session::begin_unread(std::string error) {
  Exchange& exchange = exchanges_.emplace_back();
  exchange.began = Clock::now();
  exchange.request_done = true;
  exchange.flow = recorder_.begin(flow::Type::http);
  http::Head nothing;
  describe_request(nothing, scheme_, recorder_, *exchange.flow);
  exchange.flow->error = std::move(error);
  return exchange;
}

/// Nothing of a malformed request is forwarded; when it is a body that is malformed, no more of it.
void Http1Session::refuse_request(const char* why, std::string_view bytes) {
  const bool in_body = !exchanges_.empty() && !exchanges_.back().request_done;
  if (!in_body) {
    Exchange& fresh = exchanges_.emplace_back();
    fresh.began = Clock::now();
    fresh.flow = recorder_.begin(flow::Type::http);
    describe_request(requests_.head(), scheme_, recorder_, *fresh.flow);
  }
  Exchange& exchange = exchanges_.back();
  exchange.flow->error = fmt::format("the program's request is malformed: {}", why);
  keep_refused(exchange, bytes);
  client_over_ = true;
  if (exchange.response_begun) {
    fail_all("the connection was ended because of a malformed request");
    client_.reset();
    server_.reset();
    stop();
    return;
  }
  exchange.refusal = 400;
  server_.cancel();  // whoever waits there for an answer looks at what is to be answered now
}

/// What a side has said, for those who want to know what is wrong with it.
void Http1Session::keep_refused(Exchange& exchange, std::string_view bytes) {
  exchange.flow->refused = bytes.substr(0, kRefused);
  hold(exchange, exchange.flow->refused.capacity());
}

/// Whether the server's answer ends with the connection, so that no other can follow: then whatever
/// the program says is for the one who answers (docker attach, and others that take over the
/// connection).
bool Http1Session::answer_lasts() const {
  return responses_.reads_until_close() && requests_.between_messages() && !early_ &&
         !exchanges_.empty();
}

/// What waited for the answer goes on, half a head too.
void Http1Session::let_program_speak() {
  turn_.cancel();
  if (!asking_.held.empty()) client_.cancel();
}

void Http1Session::take_further(std::string_view bytes) {
  if (bytes.empty()) return;
  Exchange& exchange = exchanges_.front();
  flow::Flow& flow = *exchange.flow;
  exchange.goes_on = true;
  show_start(exchange);
  *flow.request_bytes += bytes.size();
  hold(exchange,
       capture_body(bytes, recorder_.context(), flow.request_body, flow.request_body_cut));
}

/// The server has answered a program that asked first (Expect: 100-continue): what was to follow
/// need not come.
bool Http1Session::body_declined(const Exchange& exchange) const {
  return exchange.response_done && *exchange.flow->request_bytes == 0 &&
         !exchange.flow->request_headers.find("expect").empty();
}

void Http1Session::client_ended(IoResult end, bool unread) {
  client_over_ = true;
  recorder_.data_end(flow::Direction::request);
  const bool cut = requests_.at_end(unread) != Http1Reader::AtEnd::between_messages;
  if (cut && !exchanges_.empty() && !exchanges_.back().request_done &&
      !body_declined(exchanges_.back())) {
    exchanges_.back().flow->error =
        "the program closed the connection in the middle of its request";
  }
  server_.shutdown_write(end.status == Status::end);
  if (exchanges_.empty() || server_over_) stop();
}

// Responses.

std::size_t Http1Session::consume_responses(std::span<char> bytes) {
  const std::string_view input{bytes.data(), bytes.size()};
  for (std::size_t at = 0;;) {
    if (responses_.between_messages() && at < input.size()) {
      if (exchanges_.empty() && !early_ && has_half_a_head()) answered_early();
      if (exchanges_.empty() || exchanges_.front().response_done || must_refuse()) {
        response_unasked();
        return at;
      }
      responses_.answers(exchanges_.front().answers);
    }
    const auto event = responses_.next(next_step(answering_, input.substr(at)));
    switch (event.what) {
      case What::need_more:
        return at;
      case What::bad:
        refuse_response(responses_.error(), input.substr(at));
        return at;
      case What::head:
        if (recorder_.context().settings.hide_alt_svc &&
            !responses_.head().fields.find("alt-svc").empty())
          http::blank_out(bytes.subspan(at, event.size), "alt-svc");
        begin_response(responses_.head(), input.substr(at, event.size));
        break;
      case What::end:
        finish_response();
        break;
      case What::body: {
        Exchange& exchange = exchanges_.front();
        flow::Flow& flow = *exchange.flow;
        *flow.response_bytes += event.body.size();
        exchange.messages.feed(recorder_, flow, flow::Direction::response, event.body);
        hold(exchange, capture_body(event.body, recorder_.context(), flow.response_body,
                                    flow.response_body_cut));
        break;
      }
    }
    if (stopped_ || must_refuse()) return at;
    at += event.size;
    if (switched_ || must_yield(answering_, at < input.size())) return at;
  }
}

/// Empty lines between requests are nothing.
bool Http1Session::has_half_a_head() const {
  return requests_.between_messages() &&
         asking_.held.find_first_not_of("\r\n") != std::string::npos;
}

/// "408 Request Time-out".
void Http1Session::answered_early() {
  early_ = true;
  begin_unread("the server answered before the head of the request was complete");
}

/// Whom it was meant for cannot be known. Not when we answer ourselves: then it is just too late.
void Http1Session::response_unasked() {
  unasked_ = exchanges_.empty() || exchanges_.front().response_done;
  if (unasked_ && !exchanges_.empty())
    exchanges_.front().flow->error =
        "the server went on after its answer, while the request was under way";
}

/// `bytes`: the head, as it came.
void Http1Session::begin_response(http::Head& head, std::string_view bytes) {
  if (head.interim()) return;
  Exchange& exchange = exchanges_.front();
  if (head.status == 101 && !(exchange.upgrade && exchange.request_done)) {
    refuse_response("101 without a request for it", bytes);
    return;
  }
  exchange.response_begun = true;
  flow::Flow& flow = *exchange.flow;
  flow.status = head.status;
  if (bytes.empty()) flow.error = "the server's answer is not HTTP";
  flow.response_headers = std::move(head.fields);
  hold(exchange, cost_of_response(flow));
  flow.response_bytes = 0;
  const bool many = exchange.messages.response_began(flow, recorder_.context().settings.body_limit);
  if (many && head.framing != http::Framing::none) show_start(exchange);
  if (head.framing == http::Framing::until_close) let_program_speak();
}

void Http1Session::finish_response() {
  const http::Head& head = responses_.head();
  if (head.interim()) return;
  Exchange& exchange = exchanges_.front();
  exchange.response_done = true;
  exchange.flow->response_trailers = std::move(responses_.trailers());
  hold(exchange, exchange.flow->response_trailers.memory());
  const bool tunnel = exchange.answers == http::Answers::connect && head.status / 100 == 2;
  if (head.status == 101 || (tunnel && exchange.request_done)) {
    switched_ = true;
    outcome_ = tunnel ? Outcome::tunnel : Outcome::upgraded;
    if (tunnel) tunnel_target_ = exchange.flow->url;
    if (!tunnel) begin_upgraded(exchange);
  }
  finish_front();
}

/// What follows a 101 goes on with the exchange's flow, or a copy of it, where we know what that
/// is.
void Http1Session::begin_upgraded(Exchange& exchange) {
  const std::string_view protocol = exchange.flow->response_headers.find("upgrade");
  if (http::iequals(protocol, "h2c")) upgraded_to_http2_ = begin_on_http2(*exchange.flow);
  if (!http::iequals(protocol, "websocket")) return;
  outcome_ = Outcome::websocket;
  show_start(exchange);
  websocket_ = {std::move(exchange.flow), exchange.began};
}

/// The same request, whose answer is the first stream's.
std::unique_ptr<flow::Flow> Http1Session::begin_on_http2(const flow::Flow& asked) const {
  auto flow = recorder_.begin(flow::Type::http);
  flow->host = asked.host;
  flow->method = asked.method;
  flow->url = asked.url;
  flow->http_version = "2";
  flow->request_headers = asked.request_headers;
  flow->request_bytes = asked.request_bytes;
  return flow;
}

/// Publishes the front exchange when both halves of it are complete.
void Http1Session::finish_front() {
  Exchange& exchange = exchanges_.front();
  if (!exchange.request_done || !exchange.response_done) return;
  publish(exchange);
  exchanges_.pop_front();
  if (exchanges_.empty())
    awaiting_switch_ = false;  // the request that may end HTTP is always the last
  turn_.cancel();
}

/// A page instead, or a reset when part of the response is already with the client.
void Http1Session::refuse_response(std::string why, std::string_view bytes) {
  Exchange& exchange = exchanges_.front();
  exchange.flow->error = fmt::format("the server's response is malformed: {}", why);
  keep_refused(exchange, bytes);
  server_.reset();
  if (!exchange.response_begun) {
    exchange.refusal = 502;
    return;
  }
  client_.reset();
  fail_all("the connection was ended because of a malformed response");
  stop();
}

void Http1Session::server_ended(IoResult end, bool unread) {
  server_over_ = true;
  const auto at_end = responses_.at_end(unread);
  const bool truncated = end.status == Status::truncated;
  if (unread && !exchanges_.empty() && !exchanges_.front().response_begun) {
    refuse_response("the connection ended in the middle of the head", answering_.held);
    return;  // a page is yet to come
  }
  recorder_.data_end(flow::Direction::response);
  if (at_end == Http1Reader::AtEnd::completes_body) {
    if (truncated)
      exchanges_.front().flow->error = "the server ended the connection without close_notify";
    exchanges_.front().response_done = true;
    if (exchanges_.front().goes_on || exchanges_.front().upgrade) {
      client_.shutdown_write(!truncated);  // only one direction has ended
      if (client_over_) stop();
      return;
    }
    finish_front();
  } else if (at_end == Http1Reader::AtEnd::cuts_message && !exchanges_.empty()) {
    exchanges_.front().flow->error =
        client_over_ ? kProgramLeft
                     : "the server closed the connection in the middle of its response";
  } else if (!exchanges_.empty() && !exchanges_.front().response_done) {
    for (auto& exchange : exchanges_) {
      if (exchange.flow->error.empty()) {
        exchange.flow->error =
            client_over_ ? kProgramLeft : "the server closed the connection without an answer";
      }
    }
  }
  client_.shutdown_write(!truncated);
  const bool request_under_way = !exchanges_.empty() && !exchanges_.back().request_done;
  if (client_over_ || !request_under_way) stop();
}

/// Long downloads show that they have begun. Looked at between reads only: no timer per exchange.
void Http1Session::publish_slow_start() {
  if (exchanges_.empty()) return;
  Exchange& exchange = exchanges_.front();
  if (exchange.response_begun && Clock::now() - exchange.began >= kSlow) show_start(exchange);
}

void Http1Session::show_start(Exchange& exchange) {
  if (!std::exchange(exchange.start_published, true)) recorder_.publish_start(*exchange.flow);
}

}  // namespace mitm::intercept
