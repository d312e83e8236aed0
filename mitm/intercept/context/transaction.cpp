#include "mitm/intercept/context/transaction.h"

#include <algorithm>

namespace mitm::intercept {

flow::Edits& Transaction::edit() {
  if (!edits_) edits_ = std::make_shared<flow::Edits>();
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
  if (!edits_) return;
  if (direction == flow::Direction::request && edits_->request)
    edits_->request->trailers = flow_->request.trailers;
  if (direction == flow::Direction::response && edits_->response)
    edits_->response->trailers = flow_->response.trailers;
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

void Transaction::set_answered() {
  edit().answered = true;
  edits_->response.reset();
}

const flow::Request* Transaction::changed_request() const {
  return edits_ && edits_->request ? &*edits_->request : nullptr;
}

const flow::Response* Transaction::changed_response() const {
  return edits_ && edits_->response ? &*edits_->response : nullptr;
}

}  // namespace mitm::intercept
