// The flow of an exchange while filters of many rules are asked of it.
#pragma once

#include <optional>

#include "mitm/intercept/context/transaction.h"
#include "mitm/query/filter.h"
#include "mitm/query/subject.h"

namespace mitm::control {

/// The flow, for a filter; it must not outlive `flow`.
[[nodiscard]] flow::Flow asked(const flow::HttpFlow& flow);

/// The same flow with the bodies that the transaction has, in place of what was recorded of them.
[[nodiscard]] flow::HttpFlow with_bodies(const flow::HttpFlow& flow,
                                         const intercept::Transaction& transaction);

/// What one filter has decoded of a body is there for the next. It must not outlive its arguments.
class JudgedFlow {
 public:
  /// With the bodies of `transaction`; null: with those that `flow` has itself.
  JudgedFlow(const flow::HttpFlow& flow, const intercept::Transaction* transaction);
  JudgedFlow(const JudgedFlow&) = delete;
  JudgedFlow& operator=(const JudgedFlow&) = delete;

  [[nodiscard]] const flow::HttpFlow& flow() const { return flow_; }
  /// `known`: query::Bodies that are there, be it empty. Empty: another one decides.
  [[nodiscard]] std::optional<bool> matches(const query::Filter& filter, std::uint8_t known);
  /// Whether it will match when the flow has ended. Empty: what is yet to come decides.
  [[nodiscard]] std::optional<bool> will_match(const query::Filter& filter);

 private:
  [[nodiscard]] query::Subject& subject_for(const query::Filter& filter);
  [[nodiscard]] bool needs_copy() const;

  const flow::HttpFlow& flow_;
  const intercept::Transaction* transaction_;
  flow::Flow heads_;
  query::Subject of_heads_;
  /// Made for the first filter that looks at bodies.
  std::optional<flow::HttpFlow> copy_;
  flow::Flow whole_{};
  std::optional<query::Subject> of_whole_;
};

}  // namespace mitm::control
