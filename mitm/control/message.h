// One message of a transaction while the actions of rules work on it.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "base/error.h"
#include "mitm/intercept/context/transaction.h"

namespace mitm::control {

/// What no action changes is not touched: it is passed on byte for byte.
class Message {
 public:
  /// The whole of it is there.
  Message(intercept::Transaction& transaction, flow::Direction direction);
  /// Only its head is there. `why_no_body`: why the body cannot be changed; null: it has none.
  Message(intercept::Transaction& transaction, flow::Direction direction, const char* why_no_body);
  /// An answer of ours, whose head the transaction has.
  Message(intercept::Transaction& transaction, std::string body);

  [[nodiscard]] flow::Direction direction() const { return direction_; }
  [[nodiscard]] bool is_request() const { return direction_ == flow::Direction::request; }
  [[nodiscard]] bool is_bodyless() const { return !whole_ && why_no_body_ == nullptr; }
  /// There is one, of no bytes.
  [[nodiscard]] bool has_empty_body() const;
  /// Error: why not.
  [[nodiscard]] base::Result<> check_whole() const;
  /// As it came.
  [[nodiscard]] const flow::HttpFlow& flow() const { return transaction_.flow(); }

  /// As it is now, and as it shall be. What is set to what it is already remains unchanged.
  [[nodiscard]] const http::Fields& fields() const;
  void set_fields(http::Fields fields);
  [[nodiscard]] const flow::Request& request() const;
  void set_method(const std::string& method);
  void set_target(const std::string& target);
  void set_status(int status, const std::string& reason);
  /// Without its content coding. Error: why it cannot be changed.
  [[nodiscard]] base::Result<const std::string*> body();
  void set_body(std::string body);

  /// Whether anything has changed since the last call.
  [[nodiscard]] bool take_changed() { return std::exchange(changed_, false); }
  /// Hands the new body to the transaction.
  void finish();

 private:
  [[nodiscard]] const flow::Response& response() const;
  [[nodiscard]] base::Result<std::string> decoded() const;

  intercept::Transaction& transaction_;
  flow::Direction direction_;
  bool whole_ = true;
  const char* why_no_body_ = nullptr;
  bool changed_ = false;
  bool body_changed_ = false;
  std::optional<std::string> body_;
};

}  // namespace mitm::control
