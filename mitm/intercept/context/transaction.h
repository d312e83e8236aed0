// One exchange as a gate sees it: what came, and what is passed on instead.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "mitm/flow/records.h"

namespace mitm::intercept {

/// For the executor of its connection.
class Transaction {
 public:
  explicit Transaction(std::shared_ptr<const flow::HttpFlow> flow) : flow_(std::move(flow)) {}

  /// As it came so far. Its bodies are what was recorded, which may be less than body().
  [[nodiscard]] const flow::HttpFlow& flow() const { return *flow_; }
  /// The body of a whole message, without chunk framing, its content coding kept.
  [[nodiscard]] const std::string& body(flow::Direction direction) const {
    return bodies_[index(direction)];
  }

  /// The message is longer than is held: its body is not there, and cannot be changed.
  [[nodiscard]] bool is_cut(flow::Direction direction) const { return cut_[index(direction)]; }

  /// What is passed on instead: a copy of what came, to be changed. Of the members, method, scheme,
  /// authority, target, fields and trailers count, or status, reason, fields and trailers. What
  /// delimits the body (Content-Length, Transfer-Encoding) is put right behind the gate, whatever
  /// it makes of those fields.
  [[nodiscard]] flow::Request& request();
  [[nodiscard]] flow::Response& response();
  /// Of a whole message or an answer. It has no content coding; the field that names one goes.
  void set_body(flow::Direction direction, std::string body);
  /// For the flow: the name of a rule, "held". Each is kept once.
  void note(std::string_view who);
  /// What the gate wants to remember of the exchange; gone when the exchange is. Null at first.
  [[nodiscard]] std::shared_ptr<void>& of_gate() { return of_gate_; }

  /// For sessions.
  void set_cut(flow::Direction direction) { cut_[index(direction)] = true; }
  /// For sessions: the message is there as a whole.
  void set_received_body(flow::Direction direction, std::string body);
  /// Null: that message is passed on as it came.
  [[nodiscard]] const flow::Request* changed_request() const;
  [[nodiscard]] const flow::Response* changed_response() const;
  /// Empty: the body is passed on as it came.
  [[nodiscard]] const std::optional<std::string>& new_body(flow::Direction direction) const {
    return new_bodies_[index(direction)];
  }
  /// The answer is what the flow has as its response.
  void set_answered();
  /// For the record of the flow; null: nothing was changed.
  [[nodiscard]] std::shared_ptr<const flow::Edits> edits() {
    handed_ = edits_ != nullptr;
    return edits_;
  }
  /// Bytes of memory that it holds of the bodies of a direction.
  [[nodiscard]] std::size_t held(flow::Direction direction) const;

 private:
  [[nodiscard]] static std::size_t index(flow::Direction direction) {
    return static_cast<std::size_t>(direction);
  }
  [[nodiscard]] flow::Edits& edit();

  std::shared_ptr<const flow::HttpFlow> flow_;
  std::string bodies_[2];  ///< by Direction
  bool cut_[2] = {false, false};
  std::optional<std::string> new_bodies_[2];
  std::shared_ptr<flow::Edits> edits_;
  bool handed_ = false;  ///< others have it: it must not change any more
  std::shared_ptr<void> of_gate_;
};

}  // namespace mitm::intercept
