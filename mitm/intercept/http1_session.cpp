// The pumps of an HTTP/1 connection. Each reads into the shared scratch buffer, lets the reader tell what the
// bytes are, and forwards them as they are in one write; a head is held until it is whole and acceptable.
#include "mitm/intercept/http1_session.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/experimental/parallel_group.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "mitm/intercept/http_flow.h"
#include "mitm/intercept/page.h"

namespace mitm::intercept {
namespace {

namespace asio = boost::asio;
using asio::awaitable;
using Clock = std::chrono::steady_clock;
using http::Http1Reader;
using What = Http1Reader::What;
using Status = IoResult::Status;

constexpr std::size_t kPipelined = 256;          ///< requests that may wait for their answers
constexpr auto kSlow = std::chrono::seconds{1};  ///< after which the start of a flow is shown
constexpr auto kLinger = std::chrono::seconds{2};
constexpr std::size_t kHeld = 64 << 10;  ///< read of a program whose requests are on hold

/// What a reader is shown at once: a head must be whole, a body may be events from end to end.
std::string_view next_step(const Http1Reader& reader, std::string_view input) {
  return reader.between_messages() ? input : input.substr(0, Turn::kLargeStep);
}

/// Says when a pump ends.
class Ending {
 public:
  explicit Ending(bool& over) : over_(over) {}
  Ending(const Ending&) = delete;
  Ending& operator=(const Ending&) = delete;
  ~Ending() { over_ = true; }

 private:
  bool& over_;
};

}  // namespace

Http1Session::Http1Session(Tracked& tracked, Channel& client, Channel& server, std::string_view scheme)
    : tracked_(tracked),
      client_(client),
      server_(server),
      scheme_(scheme),
      turn_(client.socket().get_executor(), Clock::time_point::max()) {}

awaitable<Http1Session::Outcome> Http1Session::run() {
  using namespace asio::experimental::awaitable_operators;
  co_await (pump_requests() && pump_responses());
  if (switched_) co_return outcome_;
  fail_all("the connection ended before the answer was complete");
  tracked_.data_end(flow::Direction::request);
  tracked_.data_end(flow::Direction::response);
  // Closed as it is, the end would be lost to a slow program that writes meanwhile.
  if (server_.lost() || client_.has_unsent()) co_await client_.wait_until_acknowledged();
  if (server_.lost()) client_.reset();
  co_return Outcome::done;
}

bool Http1Session::on_hold() const {
  return awaiting_switch_ || exchanges_.size() >= kPipelined;
}

/// Ends both pumps at their next wait.
void Http1Session::stop() {
  stopped_ = true;
  client_.cancel();
  server_.cancel();
  turn_.cancel();
}

/// While requests are on hold the program is listened to all the same: it may leave. What it says is kept.
/// Returns its end or failure, if that is why the wait is over.
awaitable<IoResult> Http1Session::await_turn() {
  const std::span<char> scratch = tracked_.shared().scratch;
  std::string& held = asking_.held;
  while (on_hold() && !stopped_ && !switched_) {
    IoResult got{Status::end, 0};  // for us: so much is enough
    if (held.size() < kHeld) got = client_.try_read(scratch);
    if (got.status == Status::failed || (got.ended() && held.empty())) co_return got;
    held.append(scratch.data(), got.bytes);
    if (!got.ok() || client_.drained()) co_await wait_for_turn(got);
  }
  co_return IoResult{};
}

/// Or, if `read` was no end, for more to read.
awaitable<void> Http1Session::wait_for_turn(IoResult read) {
  namespace ex = asio::experimental;
  if (read.ended()) {
    co_await turn_.async_wait(asio::as_tuple(asio::use_awaitable));
    co_return;
  }
  const auto type =
      read.status == Status::want_write ? Channel::Socket::wait_write : Channel::Socket::wait_read;
  co_await ex::make_parallel_group(client_.socket().async_wait(type, asio::deferred),
                                   turn_.async_wait(asio::deferred))
      .async_wait(ex::wait_for_one(), asio::use_awaitable);
}

// Both directions.

/// Writes the first `size` bytes of `input` (lane.held or the scratch buffer) and keeps the rest.
awaitable<Http1Session::Step> Http1Session::forward(Lane& lane, std::string_view input, std::size_t size) {
  tracked_.data(lane.direction, input.substr(0, size));
  IoResult put = lane.to.try_write(input.substr(0, size));
  if (put.blocked()) {
    if (input.data() != lane.held.data()) lane.held.assign(input);
    input = lane.held;
    put = co_await lane.to.write_all(input.substr(put.bytes, size - put.bytes), &lane.from);
  }
  if (!put.ok()) {
    if (!stopped_) undelivered(lane);
    co_return Step::stop;
  }
  if (size == input.size()) {
    lane.held.clear();
    lane.held.shrink_to_fit();
  } else if (input.data() == lane.held.data()) {
    lane.held.erase(0, size);
  } else {
    lane.held.assign(input.substr(size));
  }
  co_return Step::go_on;
}

/// Until reading makes sense again.
awaitable<Http1Session::Step> Http1Session::pause(Lane& lane, IoResult got) {
  if (lane.reread || (got.ok() && !lane.from.drained())) {
    co_await lane.turn.yield_when_over();
  } else {
    co_await lane.from.wait(got);  // cancelled: there is something to answer, or an end
    lane.turn.restart();
  }
  co_return stopped_ ? Step::stop : Step::go_on;
}

/// The receiver takes no more. What it had said before is passed on first, by the other pump, which then
/// meets the failure.
void Http1Session::undelivered(const Lane& lane) {
  const Lane& other = &lane == &asking_ ? answering_ : asking_;
  if (!lane.to.lost()) return failed(lane.from);
  if (other.over) return failed(lane.to);
  lane.to.cancel();
  turn_.cancel();
}

/// All that came from `channel` has been passed on. A program that is alive has yet to get the end of it.
void Http1Session::failed(const Channel& channel) {
  std::string why = fmt::format("{}: {}", &channel == &client_ ? "the program" : "the server",
                                channel.failure().empty() ? "connection lost" : channel.failure());
  if (client_over_ && &channel == &client_) why = kProgramLeft;
  if (exchanges_.empty() && channel.tls_reason() != 0) {
    auto flow = tracked_.begin(flow::Type::tls_error);  // else nobody would hear of it
    flow->error = why;
    tracked_.publish_end(std::move(flow), Clock::now());
  }
  fail_all(why);
  if (&channel == &client_) client_.reset();
  server_.reset();
  stop();
}

void Http1Session::fail_all(const std::string& error) {
  for (auto& exchange : exchanges_) {
    if (!exchange.response_done && exchange.flow->error.empty()) exchange.flow->error = error;
    publish(exchange);
  }
  exchanges_.clear();
}

void Http1Session::publish(Exchange& exchange) {
  if (!exchange.flow) return;  // it goes on
  exchange.messages.settle(*exchange.flow);
  tracked_.publish_end(std::move(exchange.flow), exchange.began);
}

// Requests.

awaitable<void> Http1Session::pump_requests() {
  Lane& lane = asking_;
  const Ending ending{lane.over};
  const std::span<char> scratch = tracked_.shared().scratch;
  while (!stopped_) {
    IoResult got;
    std::string_view input = lane.held;
    if (!std::exchange(lane.reread, false)) {
      got = client_.try_read(scratch);
      if (got.ended() && !early_ && has_half_a_head()) {
        begin_unread("the program closed the connection in the middle of its request");
        if (co_await forward(lane, lane.held, lane.held.size()) == Step::stop) co_return;
      }
      if (got.ended()) client_ended(got, !lane.held.empty());
      if (got.status == Status::failed) failed(client_);
      if (!got.ok() && !got.blocked()) co_return;
      input = {scratch.data(), got.bytes};
      if (!lane.held.empty()) input = lane.held.append(input);
    }
    if (early_) {
      lane.held.clear();  // nobody waits for it; only the program's end counts
    } else if (!input.empty()) {
      const std::size_t size = consume_requests(input);
      if (co_await forward(lane, input, size) == Step::stop) co_return;
    }
    if (client_over_) co_return;  // refused
    if (server_over_ && exchanges_.empty()) stop();
    if (on_hold() || switched_) {
      const IoResult last = co_await await_turn();
      if (last.ended()) client_ended(last, false);
      if (last.status == Status::failed) failed(client_);
      if (switched_) client_.push_back(lane.held);
      if (switched_ || stopped_ || !last.ok()) co_return;
      lane.reread = !lane.held.empty();
      if (lane.reread) continue;
    }
    if (co_await pause(lane, got) == Step::stop) co_return;
  }
}

/// Whether the rest of what was read has to wait until other connections had their turn. `more`: there is
/// some.
bool Http1Session::must_yield(Lane& lane, bool more) const {
  lane.reread = more && lane.turn.is_over();
  return lane.reread;
}

/// How much of `input` may be forwarded.
std::size_t Http1Session::consume_requests(std::string_view input) {
  for (std::size_t at = 0;;) {
    if (requests_.between_messages() && on_hold()) return at;
    const auto event = requests_.next(next_step(requests_, input.substr(at)));
    switch (event.what) {
      case What::need_more:
        return at;
      case What::bad:
        refuse_request(requests_.error());
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
        exchange.messages.feed(tracked_, flow, flow::Direction::request, event.body);
        capture_body(event.body, tracked_.shared().settings.body_limit, flow.request_body,
                     flow.request_body_cut);
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
  exchange.flow = tracked_.begin(flow::Type::http);
  exchange.upgrade = head.upgrade;
  if (head.method == "HEAD") exchange.answers = http::Answers::head;
  if (head.method == "CONNECT") exchange.answers = http::Answers::connect;
  describe_request(head, scheme_, tracked_, *exchange.flow);
  exchange.messages.request_began(*exchange.flow, tracked_.shared().settings.body_limit);
}

void Http1Session::finish_request() {
  Exchange& exchange = exchanges_.back();
  exchange.request_done = true;
  exchange.flow->request_trailers = std::move(requests_.trailers());
  awaiting_switch_ =
      (exchange.upgrade || exchange.answers == http::Answers::connect) && !exchange.response_begun;
  if (exchanges_.size() == 1) finish_front();
}

/// Of a request that nobody could read; what is answered to it is its response.
Http1Session::Exchange& Http1Session::begin_unread(std::string error) {
  Exchange& exchange = exchanges_.emplace_back();
  exchange.began = Clock::now();
  exchange.request_done = true;
  exchange.flow = tracked_.begin(flow::Type::http);
  http::Head nothing;
  describe_request(nothing, scheme_, tracked_, *exchange.flow);
  exchange.flow->error = std::move(error);
  return exchange;
}

/// Nothing of a malformed request is forwarded; when it is a body that is malformed, no more of it.
void Http1Session::refuse_request(const char* why) {
  const bool in_body = !exchanges_.empty() && !exchanges_.back().request_done;
  if (!in_body) {
    Exchange& fresh = exchanges_.emplace_back();
    fresh.began = Clock::now();
    fresh.flow = tracked_.begin(flow::Type::http);
    describe_request(requests_.head(), scheme_, tracked_, *fresh.flow);
  }
  Exchange& exchange = exchanges_.back();
  exchange.flow->error = fmt::format("the program's request is malformed: {}", why);
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

/// The server has answered a program that asked first (Expect: 100-continue): what was to follow need not
/// come.
bool Http1Session::body_declined(const Exchange& exchange) const {
  return exchange.response_done && *exchange.flow->request_bytes == 0 &&
         !exchange.flow->request_headers.find("expect").empty();
}

void Http1Session::client_ended(IoResult end, bool unread) {
  client_over_ = true;
  tracked_.data_end(flow::Direction::request);
  const bool cut = requests_.at_end(unread) != Http1Reader::AtEnd::between_messages;
  if (cut && !exchanges_.empty() && !exchanges_.back().request_done && !body_declined(exchanges_.back())) {
    exchanges_.back().flow->error = "the program closed the connection in the middle of its request";
  }
  server_.shutdown_write(end.status == Status::end);
  if (exchanges_.empty() || server_over_) stop();
}

// Responses.

awaitable<void> Http1Session::pump_responses() {
  Lane& lane = answering_;
  const Ending ending{lane.over};
  const std::span<char> scratch = tracked_.shared().scratch;
  while (!stopped_) {
    if (must_refuse()) {
      co_await send_refusal();
      co_return;
    }
    const bool again = std::exchange(lane.reread, false);
    IoResult got;
    if (!again) got = server_.try_read(scratch);
    if (got.ended()) {
      server_ended(got, !lane.held.empty());
      if (!must_refuse()) co_return;
      continue;
    }
    if (got.status == Status::failed) {
      failed(server_);
      co_return;
    }
    if (got.ok()) {
      std::span<char> input = scratch.first(got.bytes);
      if (!lane.held.empty()) input = lane.held.append(input.data(), input.size());
      const std::size_t size = consume_responses(input);
      const std::string_view consumed{input.data(), input.size()};
      if (co_await forward(lane, consumed, size) == Step::stop) co_return;
      if (switched_) {
        server_.push_back(lane.held);
        turn_.cancel();
        co_return;
      }
      if (unasked_ || ((client_over_ || early_) && exchanges_.empty())) {
        client_.shutdown_write(true);
        stop();
      }
      if (must_refuse() || stopped_) continue;
    }
    publish_slow_start();
    if (co_await pause(lane, got) == Step::stop) co_return;
  }
}

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
    const auto event = responses_.next(next_step(responses_, input.substr(at)));
    switch (event.what) {
      case What::need_more:
        return at;
      case What::bad:
        refuse_response(responses_.error());
        return at;
      case What::head:
        if (tracked_.shared().settings.hide_alt_svc && !responses_.head().fields.find("alt-svc").empty())
          http::blank_out(bytes.subspan(at, event.size), "alt-svc");
        begin_response(responses_.head());
        break;
      case What::end:
        finish_response();
        break;
      case What::body: {
        Exchange& exchange = exchanges_.front();
        flow::Flow& flow = *exchange.flow;
        *flow.response_bytes += event.body.size();
        exchange.messages.feed(tracked_, flow, flow::Direction::response, event.body);
        capture_body(event.body, tracked_.shared().settings.body_limit, flow.response_body,
                     flow.response_body_cut);
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
  return requests_.between_messages() && asking_.held.find_first_not_of("\r\n") != std::string::npos;
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
    exchanges_.front().flow->error = "the server went on after its answer, while the request was under way";
}

void Http1Session::begin_response(http::Head& head) {
  if (head.interim()) return;
  Exchange& exchange = exchanges_.front();
  if (head.status == 101 && !(exchange.upgrade && exchange.request_done)) {
    refuse_response("101 without a request for it");
    return;
  }
  exchange.response_begun = true;
  flow::Flow& flow = *exchange.flow;
  flow.status = head.status;
  flow.response_headers = std::move(head.fields);
  flow.response_bytes = 0;
  const bool many = exchange.messages.response_began(flow, tracked_.shared().settings.body_limit);
  if (many && head.framing != http::Framing::none) {
    tracked_.publish_start(flow);
    exchange.start_published = true;
  }
}

void Http1Session::finish_response() {
  const http::Head& head = responses_.head();
  if (head.interim()) return;
  Exchange& exchange = exchanges_.front();
  exchange.response_done = true;
  exchange.flow->response_trailers = std::move(responses_.trailers());
  const bool tunnel = exchange.answers == http::Answers::connect && head.status / 100 == 2;
  if (head.status == 101 || (tunnel && exchange.request_done)) {
    switched_ = true;
    outcome_ = tunnel ? Outcome::tunnel : Outcome::upgraded;
    if (tunnel) tunnel_target_ = exchange.flow->url;
    if (!tunnel) begin_upgraded(exchange);
  }
  finish_front();
}

/// What follows a 101 goes on with the exchange's flow, or a copy of it, where we know what that is.
void Http1Session::begin_upgraded(Exchange& exchange) {
  const std::string_view protocol = exchange.flow->response_headers.find("upgrade");
  if (http::iequals(protocol, "h2c")) upgraded_to_http2_ = begin_on_http2(*exchange.flow);
  if (!http::iequals(protocol, "websocket")) return;
  outcome_ = Outcome::websocket;
  tracked_.publish_start(*exchange.flow);
  websocket_ = {std::move(exchange.flow), exchange.began};
}

/// The same request, whose answer is the first stream's.
std::unique_ptr<flow::Flow> Http1Session::begin_on_http2(const flow::Flow& asked) const {
  auto flow = tracked_.begin(flow::Type::http);
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
  if (exchanges_.empty()) awaiting_switch_ = false;  // the request that may end HTTP is always the last
  turn_.cancel();
}

/// A page instead, or a reset when part of the response is already with the client.
void Http1Session::refuse_response(std::string why) {
  Exchange& exchange = exchanges_.front();
  exchange.flow->error = fmt::format("the server's response is malformed: {}", why);
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
  tracked_.data_end(flow::Direction::response);
  const auto at_end = responses_.at_end(unread);
  const bool truncated = end.status == Status::truncated;
  if (unread && !exchanges_.empty() && !exchanges_.front().response_begun) {
    refuse_response("the connection ended in the middle of the head");
    return;
  }
  if (at_end == Http1Reader::AtEnd::completes_body) {
    if (truncated) exchanges_.front().flow->error = "the server ended the connection without close_notify";
    exchanges_.front().response_done = true;
    finish_front();
  } else if (at_end == Http1Reader::AtEnd::cuts_message && !exchanges_.empty()) {
    exchanges_.front().flow->error =
        client_over_ ? kProgramLeft : "the server closed the connection in the middle of its response";
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
  if (!exchange.response_begun || exchange.start_published || Clock::now() - exchange.began < kSlow) return;
  tracked_.publish_start(*exchange.flow);
  exchange.start_published = true;
}

awaitable<void> Http1Session::send_refusal() {
  Exchange& exchange = exchanges_.front();
  flow::Flow& flow = *exchange.flow;
  flow.status = exchange.refusal;
  const std::string page = error_page(flow.status, flow.error, flow.method != "HEAD");
  tracked_.data(flow::Direction::response, page);
  exchange.response_done = true;
  fail_all("the connection was ended because of an earlier message");
  server_.reset();
  client_over_ = true;
  client_.cancel();
  turn_.cancel();
  stopped_ = true;
  const IoResult put = co_await client_.write_all(page);
  if (put.ok()) co_await client_.finish(tracked_.shared().scratch, kLinger);
}

}  // namespace mitm::intercept
