#include "mitm/control/judged_flow.h"

namespace mitm::control {

using flow::Direction;

flow::Flow asked(const flow::HttpFlow& flow) {
  return {.record = std::shared_ptr<const flow::HttpFlow>(std::shared_ptr<void>(), &flow),
          .state = flow::Flow::State::live};
}

flow::HttpFlow with_bodies(const flow::HttpFlow& flow, const intercept::Transaction& transaction) {
  flow::HttpFlow whole = flow;
  whole.request.body = flow::Body(transaction.body(Direction::request));
  whole.response.body = flow::Body(transaction.body(Direction::response));
  return whole;
}

JudgedFlow::JudgedFlow(const flow::HttpFlow& flow, const intercept::Transaction* transaction)
    : flow_(flow), transaction_(transaction), heads_(asked(flow)), of_heads_(heads_) {}

/// A flow without bodies is as good as its copy.
bool JudgedFlow::needs_copy() const {
  if (transaction_ == nullptr) return false;
  return !transaction_->body(Direction::request).empty() ||
         !transaction_->body(Direction::response).empty() || !flow_.request.body.empty() ||
         !flow_.response.body.empty();
}

query::Subject& JudgedFlow::subject_for(const query::Filter& filter) {
  if (filter.bodies() == query::kNoBody) return of_heads_;
  if (of_whole_) return *of_whole_;
  if (!needs_copy()) return of_heads_;
  copy_ = with_bodies(flow_, *transaction_);
  whole_ = asked(*copy_);
  return of_whole_.emplace(whole_);
}

std::optional<bool> JudgedFlow::matches(const query::Filter& filter, std::uint8_t known) {
  return filter.matches_so_far(subject_for(filter), known);
}

std::optional<bool> JudgedFlow::will_match(const query::Filter& filter) {
  return filter.will_match(subject_for(filter));
}

}  // namespace mitm::control
