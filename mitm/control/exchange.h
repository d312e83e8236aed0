// What the rules make of one exchange.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "mitm/control/apply.h"
#include "mitm/control/rule_set.h"
#include "mitm/intercept/context/gate.h"

namespace mitm::control {

/// For the executor of its connection.
class Exchange {
 public:
  explicit Exchange(std::shared_ptr<const RuleSet> rules) : rules_(std::move(rules)) {}

  struct Result {
    intercept::Decision decision = intercept::Decision::pass;
    std::chrono::milliseconds delay{};
  };
  [[nodiscard]] Result ask(intercept::Stage stage, intercept::Transaction& transaction);

 private:
  using Positions = std::vector<std::uint32_t>;
  struct Head {
    Positions matching;  ///< all that can be said to match without a body
    bool whole = false;  ///< whether a body is needed
  };

  [[nodiscard]] Head judge_head(const intercept::Transaction& transaction,
                                const flow::HttpFlow& flow, flow::Direction direction) const;
  [[nodiscard]] Positions judge_whole(const intercept::Transaction& transaction,
                                      const flow::HttpFlow& flow, flow::Direction direction) const;
  [[nodiscard]] bool takes(std::uint32_t rule);
  void collect(const intercept::Transaction& transaction, flow::Direction direction) const;
  Outcome run(const Positions& rules, Message& message, intercept::Transaction& transaction);
  Result finish(Outcome outcome, Message& message, intercept::Transaction& transaction);
  void answer(Outcome::Answer answer, Outcome& outcome, intercept::Transaction& transaction);

  std::shared_ptr<const RuleSet> rules_;
  std::vector<std::pair<std::uint32_t, bool>> taken_;  ///< what their limits and chance have said
};

/// Whether the rule would have done something with a flow that has ended, its limits aside.
[[nodiscard]] bool would_touch(const Rule& rule, const flow::HttpFlow& flow);

}  // namespace mitm::control
