// Server-sent events (WHATWG HTML, section "Server-sent events"): the events of a body of
// text/event-stream.
#pragma once

#include "mitm/http/message.h"

namespace mitm::http {

[[nodiscard]] bool is_event_stream(std::string_view content_type);

class EventStreamReader final : public MessageReader {
 public:
  /// Bytes of an event's type and id that are kept.
  static constexpr std::size_t kWord = 256;

  explicit EventStreamReader(std::size_t limit) : MessageReader(limit) {}

  /// Comments, and events without data, are passed over as programs pass over them.
  void feed(std::string_view bytes, Handler& handler) override;
  void keep_nothing() override {
    limit_ = next_limit_ = 0;
    drop_payload(message_);
  }
  [[nodiscard]] std::size_t held() const override { return message_.payload.capacity(); }

 private:
  enum class State : std::uint8_t { name, space, value };

  void take(std::string_view part);
  void take_name(std::string_view part);
  void take_value(std::string_view part);
  void begin_value();
  void end_line(Handler& handler);
  void end_event(Handler& handler);

  State state_ = State::name;
  std::string name_;  ///< of the line's field, as far as it may be one that we know
  bool line_empty_ = true;
  bool after_cr_ = false;
  bool first_line_ = true;
  bool has_data_ = false;
  std::uint64_t wire_bytes_ = 0;  ///< since the last event
  Message message_;
};

}  // namespace mitm::http
