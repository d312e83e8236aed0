#include "mitm/control/message.h"

#include "mitm/control/text.h"
#include "mitm/http/content_coding.h"

namespace mitm::control {
namespace {

/// What all fields of that name say, as one list.
std::string content_codings(const http::Fields& fields) {
  std::string list;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    const auto [name, value] = fields[i];
    if (!http::iequals(name, "content-encoding")) continue;
    list.append(list.empty() ? "" : ", ").append(value);
  }
  return list;
}

}  // namespace

Message::Message(intercept::Transaction& transaction, flow::Direction direction)
    : transaction_(transaction), direction_(direction) {}

Message::Message(intercept::Transaction& transaction, flow::Direction direction,
                 const char* why_no_body)
    : transaction_(transaction), direction_(direction), whole_(false), why_no_body_(why_no_body) {}

Message::Message(intercept::Transaction& transaction, std::string body)
    : transaction_(transaction), direction_(flow::Direction::response), body_(std::move(body)) {
  body_changed_ = true;
}

const flow::Request& Message::request() const {
  const auto* const changed = transaction_.changed_request();
  return changed != nullptr ? *changed : transaction_.flow().request;
}

const flow::Response& Message::response() const {
  const auto* const changed = transaction_.changed_response();
  return changed != nullptr ? *changed : transaction_.flow().response;
}

const http::Fields& Message::fields() const {
  return is_request() ? request().fields : response().fields;
}

void Message::set_fields(http::Fields fields) {
  if (fields == this->fields()) return;
  changed_ = true;
  if (is_request()) {
    transaction_.request().fields = std::move(fields);
  } else {
    transaction_.response().fields = std::move(fields);
  }
}

void Message::set_method(const std::string& method) {
  if (method == request().method) return;
  changed_ = true;
  transaction_.request().method = method;
}

void Message::set_target(const std::string& target) {
  if (target == request().target) return;
  changed_ = true;
  transaction_.request().target = target;
}

void Message::set_status(int status, const std::string& reason) {
  if (status == response().status && reason == response().reason) return;
  changed_ = true;
  auto& response = transaction_.response();
  response.status = status;
  response.reason = reason;
}

base::Result<std::string> Message::decoded() const {
  const std::string& coded = transaction_.body(direction_);
  if (coded.size() > kLargestBody)
    return base::failure("it is longer than {} MiB", kLargestBody >> 20);
  const auto& came = is_request() ? flow().request.fields : flow().response.fields;
  const std::string coding = content_codings(came);
  if (coding.empty() || coded.empty()) return coded;
  auto decoded = http::decode_content(coding, coded, kLargestBody);
  if (!decoded || decoded->damaged)
    return base::failure("its coding ({}) cannot be undone", coding.substr(0, 40));
  if (!decoded->whole) return base::failure("it is longer than {} MiB", kLargestBody >> 20);
  return std::move(decoded->bytes);
}

bool Message::has_empty_body() const {
  return body_ ? body_->empty() : whole_ && transaction_.body(direction_).empty();
}

base::Result<> Message::check_whole() const {
  if (whole_) return {};
  return base::failure("{}", why_no_body_ == nullptr ? "there is no body" : why_no_body_);
}

base::Result<const std::string*> Message::body() {
  if (body_) return &*body_;
  if (const auto whole = check_whole(); !whole) return whole.error();
  auto bytes = decoded();
  if (!bytes) return bytes.error();
  body_ = std::move(*bytes);
  return &*body_;
}

void Message::set_body(std::string body) {
  if (body_ && *body_ == body) return;
  body_ = std::move(body);
  changed_ = body_changed_ = true;
}

void Message::finish() {
  if (body_changed_) transaction_.set_body(direction_, std::move(*body_));
  body_changed_ = false;
}

}  // namespace mitm::control
