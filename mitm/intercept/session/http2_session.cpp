// What both readers tell, put together stream by stream.
#include "mitm/intercept/session/http2_session.h"

#include <nghttp2/nghttp2.h>

namespace mitm::intercept {
namespace {

using boost::asio::awaitable;
using Clock = std::chrono::steady_clock;
using flow::Direction;

}  // namespace

Http2Session::Http2Session(FlowRecorder& recorder, PeekBuffer& client, PeekBuffer& server)
    : recorder_(recorder),
      pass_through_(recorder, client, server, *this),
      held_(recorder.context().memory),
      readers_share_(recorder.context().memory) {}

void Http2Session::adopt(std::shared_ptr<flow::HttpFlow> request) {
  (void)opens(Direction::request, 1);
  const auto settings =
      http::parse_upgrade_settings(request->request.fields.find("http2-settings"));
  if (!responses_.settings_agreed(settings)) protocol_error_ = responses_.error();
  streams_.try_emplace(1, recorder_, held_, std::move(request), Clock::now(), false);
}

awaitable<Next> Http2Session::run() {
  co_await pass_through_.run();
  finish_all(why_incomplete());
  co_return Next{};
}

std::string Http2Session::why_incomplete() const {
  std::string text = "the connection ended before the answer was complete";
  if (first_end_) text = *first_end_ == Direction::request ? kProgramLeft : kServerLeft;
  return goaway_.empty() ? text : text + " (" + goaway_ + ")";
}

bool Http2Session::on_bytes(Direction direction, std::string_view bytes) {
  const bool read_well = editing_ ? editing_->feed(direction, bytes) : read(direction, bytes);
  account_readers();
  if (read_well) {
    const Direction back = opposite(direction);
    if (editing_ && editing_->has_to_say(back)) pass_through_.speak(back);
    return true;
  }
  const auto& reader = direction == Direction::request ? requests_ : responses_;
  const char* const ours = editing_ && editing_->error() ? editing_->error() : protocol_error_;
  malformed(direction, ours ? ours : reader.error());
  editing_.reset();  // nor is what came before it in these bytes
  return false;
}

bool Http2Session::read(Direction direction, std::string_view bytes) {
  const bool request = direction == Direction::request;
  auto& reader = request ? requests_ : responses_;
  return reader.feed(bytes, request ? program_ : server_) && !protocol_error_;
}

/// The answer that the server gives before it has the whole request, and the RST_STREAM behind it
/// (RFC 9113 section 8.1): curl 7.88 loses the answer when both come in one TLS record.
std::span<const std::size_t> Http2Session::write_boundaries(Direction direction) const {
  if (direction == Direction::request || editing_) return {};
  return responses_.quiet_resets();
}

void Http2Session::rewrite(Direction direction, std::span<char> bytes) {
  if (direction == Direction::response && recorder_.context().settings.hide_alt_svc)
    alt_svc_.hide(bytes);
}

// A gate's wishes.

/// From the first frame on that follows a gate's interest, for good.
bool Http2Session::replaces(Direction direction) {
  if (editing_) return true;
  if (direction != Direction::request ||
      !recorder_.context().gate.is_interested(recorder_.record()))
    return false;
  if (!requests_.left_of_frame() || !responses_.left_of_frame()) return false;
  Http2Editing::Owner& owner = *this;
  editing_ = std::make_unique<Http2Editing>(recorder_, requests_, responses_, newest_[1], owner);
  return true;
}

std::string Http2Session::say(Direction direction) {
  if (!editing_) return {};
  const bool held = editing_->is_on_hold(opposite(direction));
  std::string said = editing_->say(direction);
  rewrite(direction, said);
  if (held) pass_through_.look_again(opposite(direction));
  return said;
}

bool Http2Session::is_on_hold(Direction direction) const {
  return editing_ && editing_->is_on_hold(direction);
}

bool Http2Session::speaks_on(Direction direction) const {
  return editing_ && editing_->speaks_on(direction);
}

Exchange* Http2Session::exchange(std::uint32_t stream) {
  Stream* const found = find(stream);
  return found ? &found->exchange : nullptr;
}

void Http2Session::decided(std::uint32_t stream, std::shared_ptr<const flow::Edits> edits) {
  const auto at = streams_.find(stream);
  if (at == streams_.end()) return;
  if (edits) at->second.exchange.set_edits(std::move(edits));
  if (editing_->is_undecided(stream)) return;
  if (at->second.is_over || at->second.exchange.has_ended()) finish(at, {});
}

void Http2Session::end(std::uint32_t stream, std::string why) {
  const auto at = streams_.find(stream);
  if (at == streams_.end()) return;
  at->second.exchange.replace_error(std::move(why));
  finish(at, {});
}

void Http2Session::speak() {
  pass_through_.speak(Direction::request);
  pass_through_.speak(Direction::response);
}

/// Not passed on: the other side would be confused by it, and we can no longer tell what the
/// connection carries.
void Http2Session::malformed(Direction direction, const char* why) {
  std::string text =
      fmt::format("{} does not speak HTTP/2 as it should: {}",
                  direction == Direction::request ? "the program" : "the server", why);
  if (streams_.empty()) {
    auto flow = recorder_.begin_tcp(FlowRecorder::TcpKind::tcp);  // else it would not be shown
    flow->error = std::move(text);
    recorder_.publish_end(std::move(flow), Clock::now());
    return;
  }
  while (!streams_.empty()) finish(streams_.begin(), text);
}

void Http2Session::ended(Direction direction) {
  if (!first_end_) first_end_ = direction;
  if (editing_) editing_->sender_left(direction);
}

void Http2Session::failed(std::string why) {
  finish_all(first_end_ ? why_incomplete() : why);
}

Http2Session::Stream* Http2Session::find(std::uint32_t stream) {
  const auto found = streams_.find(stream);
  return found == streams_.end() ? nullptr : &found->second;
}

/// Whether `stream` is one that this side opens now. Their numbers only grow (RFC 9113
/// section 5.1.1); what is late, for a stream that is over, opens none.
bool Http2Session::opens(Direction side, std::uint32_t stream) {
  const std::uint32_t odd = stream % 2;
  if ((odd == 1) != (side == Direction::request) || stream <= newest_[odd]) return false;
  newest_[odd] = stream;
  return true;
}

void Http2Session::check_held() {
  if (held_.heads() > kHeldLimit) protocol_error_ = "more header fields at once than we can hold";
}

void Http2Session::account_readers() {
  readers_share_.set(requests_.held() + responses_.held());
}

void Http2Session::begin(std::uint32_t stream, http::Http2Head& head) {
  if (streams_.size() >= kStreams) {
    protocol_error_ = "too many streams at once";
    return;
  }
  Stream& begun = streams_.try_emplace(stream, recorder_, held_).first->second;
  if (editing_) begun.exchange.keep_fields();
  begun.websocket = head.method == "CONNECT" && http::iequals(head.protocol, "websocket");
  begun.exchange.request_head(head);
  check_held();
}

void Http2Session::response(Stream& stream, http::Http2Head& head) {
  const bool accepted = stream.websocket && head.status / 100 == 2;
  stream.exchange.response_head(head);
  if (accepted) stream.exchange.websocket_began();
  check_held();
}

/// A second head, which only trailers may be (RFC 9113 section 8.1).
void Http2Session::trailers(Exchange& exchange, Direction direction, http::Fields& fields,
                            bool last) {
  const bool request = direction == Direction::request;
  if (request ? exchange.has_request() : exchange.has_response()) {
    protocol_error_ = "headers on a stream that it has ended";
  } else if (!last) {
    protocol_error_ = "headers after the head that do not end the stream";
  } else if (request) {
    exchange.request_trailers(fields);
  } else {
    exchange.response_trailers(fields);
  }
  check_held();
}

void Http2Session::half_done(std::uint32_t stream, Direction direction) {
  const auto at = streams_.find(stream);
  if (at == streams_.end()) return;
  Exchange& exchange = at->second.exchange;
  direction == Direction::request ? exchange.request_end() : exchange.response_end();
  const bool undecided = editing_ && editing_->is_undecided(stream);
  if (exchange.has_ended() && !undecided) finish(at, {});
}

void Http2Session::finish(Streams::iterator at, std::string error) {
  if (!error.empty()) at->second.exchange.fail(std::move(error));
  if (editing_) {
    if (auto edits = editing_->end_exchange(at->first))
      at->second.exchange.set_edits(std::move(edits));
  }
  at->second.exchange.publish_end();
  streams_.erase(at);
}

void Http2Session::finish_all(const std::string& error) {
  while (!streams_.empty()) {
    const Exchange& exchange = streams_.begin()->second.exchange;
    const bool counted = first_end_ == Direction::request && exchange.is_counted_whole();
    finish(streams_.begin(), exchange.has_response() || counted ? std::string() : error);
  }
}

// What is told.

/// The program's number of a stream: the server may know it by another one.
std::uint32_t Http2Session::Listener::by_program(std::uint32_t stream) const {
  return session_.editing_ ? session_.editing_->number(direction_, stream) : stream;
}

void Http2Session::Listener::headers(std::uint32_t number, http::Http2Head& head, bool last) {
  if (session_.protocol_error_) return;  // more of it may come within one read
  if (session_.editing_) session_.editing_->head(head);
  number = by_program(number);
  Stream* const stream = session_.find(number);
  const bool second =
      stream && (request() || stream->exchange.response() != Exchange::Phase::awaited);
  if (second) {
    session_.trailers(stream->exchange, direction_, head.fields, last);
  } else if (request()) {
    if (!session_.opens(direction_, number)) return;
    session_.begin(number, head);
  } else if (stream && head.interim()) {
    stream->exchange.interim_response(head.status, head.fields);
  } else if (stream) {
    session_.response(*stream, head);
  }
  if (last) session_.half_done(number, direction_);
}

void Http2Session::Listener::data(std::uint32_t number, std::string_view bytes, bool last) {
  number = by_program(number);
  if (session_.editing_) session_.editing_->data(direction_, number, bytes);
  Stream* const stream = session_.find(number);
  if (!stream) return;
  Exchange& exchange = stream->exchange;
  if (request()) {
    exchange.request_body(bytes);
  } else if (exchange.response() != Exchange::Phase::awaited) {
    exchange.response_body(bytes);
  }
  if (last) session_.half_done(number, direction_);
}

void Http2Session::Listener::reset(std::uint32_t stream, std::uint32_t code) {
  stream = by_program(stream);
  const auto at = session_.streams_.find(stream);
  if (at == session_.streams_.end()) return;
  // A server that has answered may stop listening to the rest of the request (RFC 9113
  // section 8.1), and a program that has its answer may stop sending it.
  const Exchange& exchange = at->second.exchange;
  const bool done = exchange.has_response();
  if (!request() && done && code == NGHTTP2_NO_ERROR && session_.editing_ &&
      session_.editing_->is_undecided(stream)) {
    at->second.is_over = true;
    return;
  }
  const bool left = request() && (code == NGHTTP2_NO_ERROR || code == NGHTTP2_CANCEL) &&
                    (done || exchange.is_counted_whole());
  session_.finish(
      at, left || (done && code == NGHTTP2_NO_ERROR)
              ? std::string()
              : fmt::format("{} reset the stream: {}", request() ? "the program" : "the server",
                            nghttp2_http2_strerror(code)));
}

void Http2Session::Listener::promise(std::uint32_t, std::uint32_t promised, http::Http2Head& head) {
  if (session_.editing_) session_.editing_->promise(promised, head);
  if (session_.protocol_error_ || !session_.opens(direction_, promised)) return;
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
  if (!other.settings_sent(settings)) session_.protocol_error_ = other.error();
}

}  // namespace mitm::intercept
