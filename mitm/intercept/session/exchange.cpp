// The facts of an exchange in the order in which they come. Events are made only of what a
// subscriber wants.
#include "mitm/intercept/session/exchange.h"

#include <algorithm>
#include <charconv>

#include "mitm/intercept/session/request_facts.h"

namespace mitm::intercept {
namespace {

/// After which a flow is shown that has not ended: one whose response comes, one that waits for it.
constexpr auto kSlow = std::chrono::seconds{1};
constexpr auto kWaiting = std::chrono::seconds{2};
/// After which those that keep flows are told of one that has not ended. With a tick of half a
/// second, and their own delay, they have kept it a second after its head.
constexpr auto kPending = std::chrono::milliseconds{150};
/// Interim responses that are recorded of one exchange.
constexpr std::size_t kInterim = 16;
/// Why header fields are missing in a flow.
constexpr const char* kNoMemoryForFields =
    "the memory for all connections was used up: header fields were not recorded";

std::optional<std::uint64_t> content_length(const http::Fields& fields) {
  const std::string_view text = fields.find("content-length");
  std::uint64_t length = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), length);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return length;
}

std::size_t cost_of_request(const flow::HttpFlow& flow) {
  const flow::Request& request = flow.request;
  return sizeof flow + request.method.size() + request.authority.size() + request.target.size() +
         flow.url.size() + flow.host.size() + request.fields.memory();
}

}  // namespace

Exchange::Exchange(FlowRecorder& recorder, HeldBytes& held, Clock::time_point first_byte)
    : recorder_(recorder), held_(held), flow_(recorder.begin_http()), began_(first_byte) {
  flow_->began -= std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - first_byte);
  recorder.add(*this);
}

Exchange::Exchange(FlowRecorder& recorder, HeldBytes& held, std::shared_ptr<flow::HttpFlow> flow,
                   Clock::time_point began, bool shown)
    : recorder_(recorder), held_(held), flow_(std::move(flow)), began_(began), shown_(shown) {
  request_ = Phase::ended;
  hold_head(cost_of_request(*flow_) + flow_->response.fields.memory());
  recorder.add(*this);
}

Exchange::~Exchange() {
  held_.remove(held_head_, held_bodies_);
}

std::chrono::microseconds Exchange::age() const {
  return std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - began_);
}

void Exchange::hold_head(std::size_t bytes) {
  held_head_ += bytes;
  held_.add(bytes, 0);
}

// The request.

void Exchange::request_head(http::Head& head, std::string_view scheme) {
  describe_request(head, scheme, recorder_, *flow_);
  request_begun();
  hold_head(cost_of_request(*flow_));
}

void Exchange::request_head(http::Http2Head& head) {
  describe_request(head, recorder_, *flow_);
  request_begun();
  drop_if_exhausted(flow_->request.fields);
  const bool cuts = !keeps_fields_ && recorder_.context().memory.is_exhausted();
  if (cuts && cut_request_line()) fields_dropped_ = true;
  hold_head(cost_of_request(*flow_));
}

void Exchange::request_begun() {
  request_ = Phase::body;
  if (recorder_.context().bus.wants<flow::RequestHead>())
    recorder_.context().bus.publish(flow::RequestHead{snapshot()});
  if (messages_.request_began(*flow_, recorder_.context().settings.message_limit)) show();
}

void Exchange::request_body(std::string_view bytes) {
  *flow_->request.body_bytes += bytes.size();
  messages_.feed(recorder_, *flow_, flow::Direction::request, bytes);
  capture(flow::Direction::request, bytes);
}

void Exchange::request_trailers(http::Fields& trailers) {
  put_trailers(flow_->request.trailers, trailers);
}

void Exchange::put_trailers(http::Fields& into, http::Fields& trailers) {
  into = std::move(trailers);
  if (is_http2()) drop_if_exhausted(into);
  hold_head(into.memory());
}

void Exchange::request_end() {
  request_ = Phase::ended;
  request_ended_first_ = response_ == Phase::awaited;
  flow_->request.ended = age();
  if (recorder_.context().bus.wants<flow::RequestEnd>())
    recorder_.context().bus.publish(flow::RequestEnd{snapshot()});
}

// The response.

void Exchange::response_byte() {
  if (response_ == Phase::awaited) flow_->response.began = age();
}

void Exchange::interim_response(int status, http::Fields& fields) {
  auto& interim = flow_->response.interim;
  if (interim.size() >= kInterim || recorder_.context().memory.is_exhausted()) return;
  interim.push_back({status, std::move(fields), age()});
  hold_head(sizeof interim.back() + interim.back().fields.memory());
}

void Exchange::response_head(http::Head& head) {
  flow_->response.status = head.status;
  flow_->response.reason = head.reason;
  flow_->response.fields = std::move(head.fields);
  hold_head(flow_->response.fields.memory() + flow_->response.reason.size());
  const bool many = messages_.response_began(*flow_, recorder_.context().settings.message_limit);
  response_begun(many && head.framing != http::Framing::none);
}

void Exchange::response_head(http::Http2Head& head) {
  response_byte();
  flow_->response.status = head.status;
  flow_->response.fields = std::move(head.fields);
  const bool many = messages_.response_began(*flow_, recorder_.context().settings.message_limit);
  response_begun(many);
  announced_ = content_length(flow_->response.fields);
  drop_if_exhausted(flow_->response.fields);
  hold_head(flow_->response.fields.memory());
}

void Exchange::response_begun(bool made_of_messages) {
  response_ = Phase::body;
  flow_->response.body_bytes = 0;
  if (recorder_.context().bus.wants<flow::ResponseHead>())
    recorder_.context().bus.publish(flow::ResponseHead{snapshot()});
  if (made_of_messages) show();
}

void Exchange::response_body(std::string_view bytes) {
  *flow_->response.body_bytes += bytes.size();
  messages_.feed(recorder_, *flow_, flow::Direction::response, bytes);
  capture(flow::Direction::response, bytes);
}

void Exchange::response_trailers(http::Fields& trailers) {
  put_trailers(flow_->response.trailers, trailers);
}

void Exchange::response_end() {
  response_ = Phase::ended;
  flow_->response.ended = age();
}

void Exchange::answered_by_us(int status) {
  flow_->response.status = status;
  response_end();
}

void Exchange::websocket_began() {
  messages_.websocket_began(*flow_, recorder_.context().settings.message_limit);
  show();
}

void Exchange::websocket_bytes(flow::Direction direction, std::string_view bytes) {
  const bool request = direction == flow::Direction::request;
  *(request ? flow_->request.body_bytes : flow_->response.body_bytes) += bytes.size();
  messages_.feed(recorder_, *flow_, direction, bytes);
}

bool Exchange::is_counted_whole() const {
  return announced_ && flow_->response.body_bytes == announced_;
}

// What is recorded.

void Exchange::capture(flow::Direction direction, std::string_view bytes) {
  const std::size_t limit = recorder_.context().settings.body_limit;
  if (limit == 0) return;
  flow::BodyRecorder& recording = recording_of(direction);
  keep(recording, bytes, limit);
  if (recording.body().is_cut() && recorder_.context().bus.wants<flow::BodyPart>())
    publish_part(direction, bytes);
}

void Exchange::keep(flow::BodyRecorder& recording, std::string_view bytes, std::size_t limit) {
  MemoryAccount& memory = recorder_.context().memory;
  const std::size_t growth = recording.growth(bytes, limit);
  if (growth > 0 && !memory.has_room_for_payload(growth)) {
    memory.count_drop();
    recording.cut();
    return;
  }
  const std::size_t grown = recording.append(bytes, limit);
  held_bodies_ += grown;
  held_.add(0, grown);
}

/// `bytes` have been counted, and are more than is kept. What is kept goes first.
void Exchange::publish_part(flow::Direction direction, std::string_view bytes) {
  const bool request = direction == flow::Direction::request;
  const std::uint64_t all = *(request ? flow_->request.body_bytes : flow_->response.body_bytes);
  const std::uint64_t limit = recorder_.context().settings.part_limit;
  std::uint64_t& published = published_[static_cast<int>(direction)];
  if (published >= limit) return;
  flow::Bus& bus = recorder_.context().bus;
  if (published == 0) {
    const flow::Body kept = recording_of(direction).body();
    published = kept.size();
    if (published > 0) bus.publish(flow::BodyPart{flow_->id, direction, 0, kept});
  }
  const std::uint64_t before = all - bytes.size();
  if (published > before) bytes.remove_prefix(published - before);
  bytes = bytes.substr(0, limit - std::min(limit, published));
  if (bytes.empty()) return;
  bus.publish(flow::BodyPart{flow_->id, direction, published, flow::Body{bytes}});
  published += bytes.size();
}

flow::BodyRecorder& Exchange::recording_of(flow::Direction direction) {
  return direction == flow::Direction::request ? request_body_ : response_body_;
}

bool Exchange::is_http2() const {
  return flow_->request.version == "2";
}

/// Nothing of HTTP/2 can wait: a connection that is not read loses its windows as well.
void Exchange::drop_if_exhausted(http::Fields& fields) {
  MemoryAccount& memory = recorder_.context().memory;
  if (keeps_fields_ || fields.empty() || !memory.is_exhausted()) return;
  fields = {};
  fields_dropped_ = true;
  memory.count_drop();
}

/// Shortens method, URL and host to 1 KiB each. False: they were no longer than that.
bool Exchange::cut_request_line() {
  constexpr std::size_t kLongest = 1024;
  bool cut = false;
  flow::Request& request = flow_->request;
  for (std::string* text :
       {&request.method, &request.authority, &request.target, &flow_->url, &flow_->host}) {
    if (text->size() <= kLongest) continue;
    text->resize(kLongest);
    text->shrink_to_fit();
    cut = true;
  }
  return cut;
}

void Exchange::keep_refused(std::string_view bytes) {
  flow_->refused = bytes.substr(0, kRefused);
  hold_head(flow_->refused.capacity());
}

void Exchange::fail(std::string why) {
  if (!has_error()) flow_->error = std::move(why);
}

// What is published.

void Exchange::update_bodies() {
  flow_->request.body = request_body_.body();
  flow_->response.body = response_body_.body();
}

std::shared_ptr<const flow::HttpFlow> Exchange::snapshot() {
  update_bodies();
  return std::make_shared<const flow::HttpFlow>(*flow_);
}

void Exchange::show() {
  if (std::exchange(shown_, true)) return;
  if (recorder_.context().bus.wants<flow::HttpUnderWay>())
    recorder_.context().bus.publish(flow::HttpUnderWay{snapshot()});
}

void Exchange::show_if_slow(Clock::time_point now) {
  if (request_ == Phase::awaited || shown_) return;
  const auto limit = response_ == Phase::awaited ? kWaiting : kSlow;
  if (now - began_ >= limit) return show();
  if (pending_ || now - began_ < kPending) return;
  pending_ = true;
  if (recorder_.context().bus.wants<flow::HttpPending>())
    recorder_.context().bus.publish(flow::HttpPending{snapshot()});
}

void Exchange::publish_end() {
  messages_.settle(*flow_);
  if (fields_dropped_) fail(kNoMemoryForFields);
  update_bodies();
  recorder_.publish_end(std::move(flow_), began_);
}

std::shared_ptr<flow::HttpFlow> Exchange::release() {
  update_bodies();
  return std::move(flow_);
}

}  // namespace mitm::intercept
