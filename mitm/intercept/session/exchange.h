// One request and its response, whatever version of HTTP carries them: what is known, what is
// recorded, what is published.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "mitm/http/http1_head.h"
#include "mitm/http/http2.h"
#include "mitm/intercept/context/flow_recorder.h"
#include "mitm/intercept/session/messages.h"

namespace mitm::intercept {

/// Why an exchange is incomplete, by who was the first to end the connection: what the other side
/// did then (ending it too, mostly) is the consequence.
inline constexpr const char* kProgramLeft =
    "the program closed its side of the connection before the answer was complete";
inline constexpr const char* kServerLeft =
    "the server closed the connection before the answer was complete";

/// Bytes that are kept of what is refused.
inline constexpr std::size_t kRefused = 16 << 10;

/// Memory that the exchanges of one session hold, in bytes. It must outlive them.
class HeldBytes {
 public:
  explicit HeldBytes(MemoryAccount& account) : share_(account) {}
  /// Heads, trailers and what was refused; captured bodies.
  [[nodiscard]] std::size_t heads() const { return heads_; }
  [[nodiscard]] std::size_t all() const { return heads_ + bodies_; }

 private:
  friend class Exchange;
  void add(std::size_t heads, std::size_t bodies) {
    heads_ += heads;
    bodies_ += bodies;
    share_.set(all());
  }
  void remove(std::size_t heads, std::size_t bodies) {
    heads_ -= heads;
    bodies_ -= bodies;
    share_.set(all());
  }

  MemoryShare share_;
  std::size_t heads_ = 0;
  std::size_t bodies_ = 0;
};

/// Each half goes through its phases in order; what is told out of order is a bug of the session.
class Exchange final : public OpenFlow {
 public:
  using Clock = std::chrono::steady_clock;
  enum class Phase : std::uint8_t {
    awaited,  ///< the head has not come
    body,     ///< the head has, the end has not
    ended,
  };

  /// A new flow. `first_byte`: when that of its request came.
  Exchange(FlowRecorder& recorder, HeldBytes& held, Clock::time_point first_byte = Clock::now());
  /// A flow that another session has begun: its request has ended. `shown`: an event has said that
  /// it is under way.
  Exchange(FlowRecorder& recorder, HeldBytes& held, std::shared_ptr<flow::HttpFlow> flow,
           Clock::time_point began, bool shown);
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;
  ~Exchange();

  [[nodiscard]] const flow::HttpFlow& flow() const { return *flow_; }
  [[nodiscard]] std::shared_ptr<const flow::HttpFlow> shared_flow() const { return flow_; }
  [[nodiscard]] Clock::time_point began() const { return began_; }
  [[nodiscard]] Phase request() const { return request_; }
  [[nodiscard]] Phase response() const { return response_; }
  /// Whether all of it has come.
  [[nodiscard]] bool has_request() const { return request_ == Phase::ended; }
  [[nodiscard]] bool has_response() const { return response_ == Phase::ended; }
  [[nodiscard]] bool has_ended() const { return has_request() && has_response(); }
  /// Whether the request had come before the head of its response.
  [[nodiscard]] bool request_ended_first() const { return request_ended_first_; }
  /// False: its flow has been published, or released.
  [[nodiscard]] bool is_open() const { return flow_ != nullptr; }

  /// Its fields go out again: they are kept whatever the memory of all is.
  void keep_fields() { keeps_fields_ = true; }
  void request_head(http::Head& head, std::string_view scheme);
  /// Of HTTP/2, where nothing can wait: fields are dropped when the memory of all is used up.
  void request_head(http::Http2Head& head);
  void request_body(std::string_view bytes);
  void request_end();
  /// Behind the body, or, HTTP/2, in place of one. Once: a second block of HTTP/2 is an error.
  void request_trailers(http::Fields& trailers);

  /// The first byte of a head has come.
  void response_byte();
  void interim_response(int status, http::Fields& fields);
  void response_head(http::Head& head);
  void response_head(http::Http2Head& head);
  void response_body(std::string_view bytes);
  void response_end();
  void response_trailers(http::Fields& trailers);
  /// With a page of ours, in place of the server's answer.
  void answered_by_us(int status);
  /// Frames of a WebSocket, read along and counted.
  void websocket_bytes(flow::Direction direction, std::string_view bytes);

  /// What was passed on instead of what is told here.
  void set_edits(std::shared_ptr<const flow::Edits> edits) { flow_->edits = std::move(edits); }

  /// From here on both directions carry frames of a WebSocket.
  void websocket_began();
  /// How many bytes of a body should be told at once.
  [[nodiscard]] std::size_t step(flow::Direction direction) const {
    return messages_.step(direction);
  }
  /// Bytes of the response's body as announced by Content-Length have all come: a program that
  /// counts them need not wait for an end that comes in a frame of its own.
  [[nodiscard]] bool is_counted_whole() const;

  [[nodiscard]] bool has_error() const { return !flow_->error.empty(); }
  /// The first error stays.
  void fail(std::string why);
  /// Instead of what was said before.
  void replace_error(std::string why) { flow_->error = std::move(why); }
  /// What a side has said that is not passed on.
  void keep_refused(std::string_view bytes);

  /// Publishes that it is under way, once.
  void show();
  void show_if_slow(Clock::time_point now) override;
  /// Publishes the end. Nothing follows.
  void publish_end();
  /// The flow goes on in another session, which publishes its end.
  [[nodiscard]] std::shared_ptr<flow::HttpFlow> release();

 private:
  [[nodiscard]] std::chrono::microseconds age() const;
  void request_begun();
  void response_begun(bool made_of_messages);
  void capture(flow::Direction direction, std::string_view bytes);
  void keep(flow::BodyRecorder& recording, std::string_view bytes, std::size_t limit);
  void publish_part(flow::Direction direction, std::string_view bytes);
  [[nodiscard]] flow::BodyRecorder& recording_of(flow::Direction direction);
  void hold_head(std::size_t bytes);
  void put_trailers(http::Fields& into, http::Fields& trailers);
  [[nodiscard]] bool is_http2() const;
  void drop_if_exhausted(http::Fields& fields);
  [[nodiscard]] bool cut_request_line();
  [[nodiscard]] std::shared_ptr<const flow::HttpFlow> snapshot();
  void update_bodies();

  FlowRecorder& recorder_;
  HeldBytes& held_;
  std::shared_ptr<flow::HttpFlow> flow_;
  Messages messages_;
  flow::BodyRecorder request_body_;
  flow::BodyRecorder response_body_;
  Clock::time_point began_;
  std::uint64_t published_[2] = {0, 0};  ///< bytes of bodies, as parts; by Direction
  std::size_t held_head_ = 0;            ///< its part of held_
  std::size_t held_bodies_ = 0;          ///< likewise
  Phase request_ = Phase::awaited;
  Phase response_ = Phase::awaited;
  bool pending_ = false;  ///< an event has said so
  bool shown_ = false;
  bool keeps_fields_ = false;
  bool fields_dropped_ = false;
  bool request_ended_first_ = false;
  std::optional<std::uint64_t> announced_;  ///< Content-Length of the response (HTTP/2)
};

}  // namespace mitm::intercept
