// What the messages of an HTTP/1 connection are made into: exchanges, and their flows.
#include "mitm/intercept/session/http1_session.h"

namespace mitm::intercept {
namespace {

using Clock = std::chrono::steady_clock;
using http::Http1Reader;
using What = Http1Reader::What;
using Status = IoResult::Status;
using flow::Direction;
using Then = Pump::Then;

constexpr const char* kRequestCut =
    "the program closed the connection in the middle of its request";

}  // namespace

/// What a reader is shown at once: a head must be whole, a body may be events from end to end.
std::string_view Http1Session::next_step(Direction direction, std::string_view input) const {
  const bool request = direction == Direction::request;
  if ((request ? requests_ : responses_).between_messages()) return input;
  if (exchanges_.empty()) return input.substr(0, Turn::kLargeStep);
  const auto& asked = request ? exchanges_.back() : exchanges_.front();
  return input.substr(0, asked.exchange.step(direction));
}

void Http1Session::fail_all(const std::string& error) {
  for (auto& asked : exchanges_) {
    Exchange& exchange = asked.exchange;
    if (!exchange.is_open()) continue;  // it goes on elsewhere
    if (exchange.response() != Exchange::Phase::ended) exchange.fail(error);
    exchange.publish_end();
  }
  exchanges_.clear();
}

// Requests.

/// What may be forwarded of `input`.
Pump::Taken Http1Session::consume_requests(std::string_view input, Turn& turn) {
  bool apart = false;
  for (std::size_t at = 0;;) {
    if (at == 0) apart = is_apart(Direction::request);
    if (requests_.between_messages() && answer_lasts()) {
      if (apart && at > 0) return {at, Then::again, apart};
      take_further(input.substr(at));
      return {input.size()};
    }
    if (requests_.between_messages() && on_hold()) return {at, Then::more, apart};
    if (is_waiting(Direction::request)) return {at, Then::hold, apart};
    if (at > 0 && at < input.size() && !apart && is_apart(Direction::request))
      return {at, Then::again, apart};
    if (at < input.size()) note_first_byte();
    const auto event = requests_.next(next_step(Direction::request, input.substr(at)));
    switch (event.what) {
      case What::need_more:
        return {at, Then::more, apart};
      case What::bad:
        refuse_request(requests_.error(), input.substr(at));
        return {at, Then::more, apart};
      case What::head:
        begin_exchange(requests_.head());
        if (apart) edit_head(Direction::request, input.substr(at, event.size));
        break;
      case What::end:
        finish_request();
        if (apart) edit_end(Direction::request);
        break;
      case What::body:
        exchanges_.back().exchange.request_body(event.body);
        if (apart) edit_bytes(Direction::request, input.substr(at, event.size), event.body);
        break;
    }
    at += event.size;
    if (pump_.has_stopped()) return {at, Then::more, apart};
    if (at < input.size() && turn.is_over()) return {at, Then::again, apart};
  }
}

/// A head may take its time.
void Http1Session::note_first_byte() {
  if (requests_.between_messages() && !head_began_) head_began_ = Clock::now();
}

Clock::time_point Http1Session::first_byte() const {
  return head_began_.value_or(Clock::now());
}

void Http1Session::begin_exchange(http::Head& head) {
  Http1Exchange& asked = exchanges_.emplace_back(recorder_, held_, first_byte());
  head_began_.reset();
  asked.upgrade = head.upgrade;
  if (head.method == "HEAD") asked.answers = http::Answers::head;
  if (head.method == "CONNECT") asked.answers = http::Answers::connect;
  asked.exchange.request_head(head, scheme_);
}

void Http1Session::finish_request() {
  Exchange& exchange = exchanges_.back().exchange;
  exchange.request_trailers(requests_.trailers());
  exchange.request_end();
  if (exchanges_.size() == 1) finish_front();
}

/// After a request that may end HTTP, which is always the last one, the program's bytes wait for
/// its answer; those that it sends with the request go through.
bool Http1Session::awaits_switch() const {
  if (exchanges_.empty()) return false;
  const auto& asked = exchanges_.back();
  const bool may_switch = asked.upgrade || asked.answers == http::Answers::connect;
  return may_switch && asked.exchange.request_ended_first();
}

/// A request that could not be read; what is answered to it is its response.
void Http1Session::begin_unread(std::string error) {
  Exchange& exchange = exchanges_.emplace_back(recorder_, held_, first_byte()).exchange;
  http::Head nothing;
  exchange.request_head(nothing, scheme_);
  exchange.request_end();
  exchange.fail(std::move(error));
}

/// Nothing of a malformed request is forwarded; when it is a body that is malformed, no more of it.
void Http1Session::refuse_request(const char* why, std::string_view bytes) {
  const bool in_body = !exchanges_.empty() && !exchanges_.back().exchange.has_request();
  if (!in_body) {
    Exchange& fresh = exchanges_.emplace_back(recorder_, held_, first_byte()).exchange;
    fresh.request_head(requests_.head(), scheme_);
  }
  Http1Exchange& asked = exchanges_.back();
  asked.exchange.replace_error(fmt::format("the program's request is malformed: {}", why));
  asked.exchange.keep_refused(bytes);
  requests_over_ = true;
  if (asked.exchange.response() != Exchange::Phase::awaited) {
    fail_all("the connection was ended because of a malformed request");
    client_.reset();
    server_.reset();
    pump_.stop();
    return;
  }
  asked.refusal = 400;
}

/// Whether the server's answer ends with the connection, so that no other can follow: then whatever
/// the program says is for the one who answers (docker attach, and others that take over the
/// connection).
bool Http1Session::answer_lasts() const {
  return responses_.reads_until_close() && requests_.between_messages() &&
         answering_ != Answering::early && !exchanges_.empty();
}

void Http1Session::take_further(std::string_view bytes) {
  if (bytes.empty()) return;
  Http1Exchange& front = exchanges_.front();
  front.goes_on = true;
  front.exchange.show();
  front.exchange.request_body(bytes);
}

/// The server has answered a program that asked first (Expect: 100-continue): what was to follow
/// need not come.
bool Http1Session::body_declined(const Exchange& exchange) {
  const flow::Request& request = exchange.flow().request;
  return exchange.response() == Exchange::Phase::ended && *request.body_bytes == 0 &&
         !request.fields.find("expect").empty();
}

Pump::Ending Http1Session::client_ended(std::string_view unread) {
  Pump::Ending ending;
  if (answering_ != Answering::early && has_half_a_head(unread)) {
    if (answer_lasts()) {
      take_further(unread);
    } else {
      begin_unread(kRequestCut);
    }
    recorder_.data(Direction::request, unread);
    ending.bytes = unread.size();
  }
  requests_over_ = true;
  recorder_.data_end(Direction::request);
  const bool kept = ending.bytes < unread.size();
  const bool cut = requests_.at_end(kept) != Http1Reader::AtEnd::between_messages;
  if (cut && !exchanges_.empty()) {
    Exchange& last = exchanges_.back().exchange;
    if (!last.has_request() && !body_declined(last)) last.replace_error(kRequestCut);
    if (!last.has_request()) withdraw_last();
  }
  ending.stops = exchanges_.empty() || responses_over_;
  return ending;
}

// Responses.

Pump::Taken Http1Session::consume_responses(std::span<char> bytes, Turn& turn) {
  const std::string_view input{bytes.data(), bytes.size()};
  bool apart = false;
  for (std::size_t at = 0;;) {
    if (at == 0) apart = is_apart(Direction::response);
    if (is_waiting(Direction::response)) return {at, Then::hold, apart};
    if (at > 0 && at < input.size() && !apart && is_apart(Direction::response))
      return {at, Then::again, apart};
    if (is_withheld()) return {at, Then::drop, apart};  // "408", to nothing
    if (responses_.between_messages() && at < input.size()) {
      if (exchanges_.empty() && answering_ != Answering::early &&
          has_half_a_head(pump_.unread(Direction::request)))
        answered_early();
      if (exchanges_.empty() || exchanges_.front().exchange.has_response() || must_refuse()) {
        response_unasked();
        return {at, Then::more, apart};
      }
      responses_.answers(exchanges_.front().answers);
      exchanges_.front().exchange.response_byte();
    }
    const auto event = responses_.next(next_step(Direction::response, input.substr(at)));
    const std::string_view raw = input.substr(at, event.size);
    switch (event.what) {
      case What::need_more:
        return {at, Then::more, apart};
      case What::bad:
        refuse_response(responses_.error(), input.substr(at));
        return {at, Then::more, apart};
      case What::head:
        if (recorder_.context().settings.hide_alt_svc &&
            !responses_.head().fields.find("alt-svc").empty())
          http::blank_out(bytes.subspan(at, event.size), "alt-svc");
        begin_response(responses_.head(), raw);
        if (apart) edit_head(Direction::response, raw);
        break;
      case What::end:
        finish_response();
        break;
      case What::body:
        exchanges_.front().exchange.response_body(event.body);
        if (apart) edit_bytes(Direction::response, raw, event.body);
        break;
    }
    if (pump_.has_stopped() || must_refuse()) return {at, Then::more, apart};
    at += event.size;
    if (has_switched()) return {at, Then::more, apart};
    if (at < input.size() && turn.is_over()) return {at, Then::again, apart};
  }
}

/// Empty lines between requests are nothing.
bool Http1Session::has_half_a_head(std::string_view unread) const {
  return requests_.between_messages() && unread.find_first_not_of("\r\n") != unread.npos;
}

/// "408 Request Time-out".
void Http1Session::answered_early() {
  answering_ = Answering::early;
  begin_unread("the server answered before the head of the request was complete");
}

/// For which request it was meant cannot be known. Not when we answer ourselves: then it is just
/// too late.
void Http1Session::response_unasked() {
  const bool unasked = exchanges_.empty() || exchanges_.front().exchange.has_response();
  if (!unasked) return;
  answering_ = Answering::unasked;
  if (!exchanges_.empty())
    exchanges_.front().exchange.replace_error(
        "the server went on after its answer, while the request was under way");
}

/// `bytes`: the head, as it came.
void Http1Session::begin_response(http::Head& head, std::string_view bytes) {
  Http1Exchange& front = exchanges_.front();
  if (head.interim()) {
    front.exchange.interim_response(head.status, head.fields);
    return;
  }
  if (head.status == 101 && !(front.upgrade && front.exchange.has_request())) {
    refuse_response("101 without a request for it", bytes);
    return;
  }
  if (bytes.empty()) front.exchange.replace_error("the server's answer is not HTTP");
  front.exchange.response_head(head);
  // What waited for the answer goes on, half a head too.
  if (head.framing == http::Framing::until_close) pump_.look_again(Direction::request);
}

void Http1Session::finish_response() {
  const http::Head& head = responses_.head();
  if (head.interim()) return;
  Http1Exchange& front = exchanges_.front();
  front.exchange.response_trailers(responses_.trailers());
  front.exchange.response_end();
  edit_end(Direction::response);
  if (pump_.has_stopped()) return;
  const bool tunnel = front.answers == http::Answers::connect && head.status / 100 == 2;
  if (head.status == 101 || (tunnel && front.exchange.has_request())) {
    next_.kind = tunnel ? Next::Kind::tunnel : Next::Kind::raw;
    if (tunnel) next_.target = front.exchange.flow().url;
    if (!tunnel) begin_upgraded(front);
  }
  finish_front();
}

/// What follows a 101 goes on with the exchange's flow, or a copy of it, where we know what that
/// is.
void Http1Session::begin_upgraded(Http1Exchange& front) {
  const flow::HttpFlow& flow = front.exchange.flow();
  const std::string_view protocol = flow.response.fields.find("upgrade");
  if (http::iequals(protocol, "h2c"))
    next_ = {.kind = Next::Kind::http2, .flow = begin_on_http2(flow)};
  if (!http::iequals(protocol, "websocket")) return;
  front.exchange.show();
  next_ = {.kind = Next::Kind::websocket,
           .flow = front.exchange.release(),
           .began = front.exchange.began()};
}

/// The same request, whose answer is the first stream's.
std::shared_ptr<flow::HttpFlow> Http1Session::begin_on_http2(const flow::HttpFlow& asked) const {
  auto flow = recorder_.begin_http();
  flow->host = asked.host;
  flow->url = asked.url;
  flow->request = asked.request;
  flow->request.version = "2";
  return flow;
}

/// Publishes the front exchange when both halves of it are complete.
void Http1Session::finish_front() {
  Http1Exchange& front = exchanges_.front();
  Exchange& exchange = front.exchange;
  if (!exchange.has_ended() || is_waiting(Direction::response)) return;
  if (exchange.is_open()) {
    if (front.editing) exchange.set_edits(front.editing->transaction().edits());
    exchange.publish_end();
  }
  exchanges_.pop_front();
  pump_.look_again(Direction::request);
  if (!exchanges_.empty() && exchanges_.front().answered) answer_front();
}

/// A page instead, or a reset when part of the response is already with the client.
void Http1Session::refuse_response(std::string why, std::string_view bytes) {
  Http1Exchange& front = exchanges_.front();
  front.exchange.replace_error(fmt::format("the server's response is malformed: {}", why));
  front.exchange.keep_refused(bytes);
  server_.reset();
  if (front.exchange.response() == Exchange::Phase::awaited) {
    front.refusal = 502;
    return;
  }
  client_.reset();
  fail_all("the connection was ended because of a malformed response");
  pump_.stop();
}

Pump::Ending Http1Session::server_ended(IoResult end, std::string_view unread) {
  responses_over_ = true;
  if (is_withheld()) {  // the gate may answer without the server
    recorder_.data_end(Direction::response);
    return {};
  }
  const auto at_end = responses_.at_end(!unread.empty());
  const bool truncated = end.status == Status::truncated;
  Http1Exchange* const front = exchanges_.empty() ? nullptr : &exchanges_.front();
  if (!unread.empty() && front && front->exchange.response() == Exchange::Phase::awaited) {
    refuse_response("the connection ended in the middle of the head", unread);
    return {.passed_on = false, .stops = true};  // a page is yet to come
  }
  recorder_.data_end(Direction::response);
  if (at_end == Http1Reader::AtEnd::completes_body) {
    if (truncated)
      front->exchange.replace_error("the server ended the connection without close_notify");
    front->exchange.response_end();
    edit_end(Direction::response);
    if (pump_.has_stopped()) return {.stops = true};
    // Only one direction has ended.
    if (front->goes_on || front->upgrade) return {.stops = requests_over_};
    for (auto& asked : exchanges_) asked.answered = false;  // nothing can follow
    finish_front();
  } else if (at_end == Http1Reader::AtEnd::cuts_message && front) {
    front->exchange.replace_error(
        requests_over_ ? kProgramLeft
                       : "the server closed the connection in the middle of its response");
    cut_response(*front);
  } else if (front && !front->exchange.has_response()) {
    for (auto& asked : exchanges_)
      asked.exchange.fail(requests_over_ ? kProgramLeft
                                         : "the server closed the connection without an answer");
  }
  const bool request_under_way = !exchanges_.empty() && !exchanges_.back().exchange.has_request();
  return {.stops = requests_over_ || !request_under_way};
}

}  // namespace mitm::intercept
