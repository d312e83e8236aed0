#include "mitm/intercept/context/transaction.h"

#include <algorithm>
#include <utility>

namespace mitm::intercept {

flow::Edits& Transaction::edit() {
  if (!edits_) {
    edits_ = std::make_shared<flow::Edits>();
  } else if (std::exchange(handed_, false)) {
    edits_ = std::make_shared<flow::Edits>(*edits_);
  }
  return *edits_;
}

flow::Request& Transaction::request() {
  auto& changed = edit().request;
  if (!changed) changed = flow_->request;
  return *changed;
}

flow::Response& Transaction::response() {
  auto& changed = edit().response;
  if (!changed) changed = flow_->response;
  return *changed;
}

/// What was changed when the trailers had not come yet has them now.
void Transaction::set_received_body(flow::Direction direction, std::string body) {
  bodies_[index(direction)] = std::move(body);
  if (direction == flow::Direction::request && changed_request() != nullptr)
    edit().request->trailers = flow_->request.trailers;
  if (direction == flow::Direction::response && changed_response() != nullptr)
    edit().response->trailers = flow_->response.trailers;
}

void Transaction::set_body(flow::Direction direction, std::string body) {
  if (direction == flow::Direction::request) {
    request().fields.remove("content-encoding");
    request().body = flow::Body(body);
  } else {
    response().fields.remove("content-encoding");
    response().body = flow::Body(body);
  }
  new_bodies_[index(direction)] = std::move(body);
}

void Transaction::note(std::string_view who) {
  auto& by = edit().by;
  if (std::ranges::find(by, who) == by.end()) by.emplace_back(who);
}

/// The server gets nothing, and the program what the flow has.
void Transaction::set_answered() {
  edit().answered = true;
  edits_->request.reset();
  edits_->response.reset();
}

std::size_t Transaction::held(flow::Direction direction) const {
  const auto& changed = new_bodies_[index(direction)];
  return bodies_[index(direction)].capacity() + (changed ? changed->capacity() : 0);
}

const flow::Request* Transaction::changed_request() const {
  return edits_ && edits_->request ? &*edits_->request : nullptr;
}

const flow::Response* Transaction::changed_response() const {
  return edits_ && edits_->response ? &*edits_->response : nullptr;
}

}  // namespace mitm::intercept
