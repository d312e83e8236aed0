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

class JudgedFlow;

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
  struct Judgement {
    Positions matching;
    Positions undecided;  ///< a body that is not there decides
    bool whole = false;   ///< whether the message is needed as a whole
  };
  /// What the limits and the chance of a rule have said.
  enum class Lot : std::uint8_t { open, taken, rests };

  /// `known`: query::Bodies that are there, be it empty.
  [[nodiscard]] Judgement judge(JudgedFlow& flow, flow::Direction direction, std::uint8_t known);
  void note_undecided(const Positions& rules, flow::Direction direction,
                      intercept::Transaction& transaction) const;
  [[nodiscard]] std::uint8_t known_bodies() const;
  /// Why the body that was needed is not there; null: it is, or was not needed.
  [[nodiscard]] const char* why_absent(flow::Direction direction) const {
    return why_absent_[index(direction)];
  }
  [[nodiscard]] static std::size_t index(flow::Direction direction) {
    return static_cast<std::size_t>(direction);
  }
  [[nodiscard]] bool rests(std::uint32_t rule);
  [[nodiscard]] bool takes(std::uint32_t rule);
  Result ask_head(flow::Direction direction, intercept::Transaction& transaction);
  Result ask_whole(flow::Direction direction, intercept::Transaction& transaction);
  void collect(const intercept::Transaction& transaction, flow::Direction direction) const;
  Outcome run(const Positions& rules, Message& message, intercept::Transaction& transaction);
  Result finish(Outcome outcome, Message& message, intercept::Transaction& transaction);
  void answer(Outcome::Answer answer, Outcome& outcome, intercept::Transaction& transaction);

  std::shared_ptr<const RuleSet> rules_;
  std::vector<std::pair<std::uint32_t, Lot>> lots_;
  const char* why_absent_[2] = {nullptr, nullptr};  ///< by Direction
};

/// Whether the rule would have done something with a flow that has ended, its limits aside.
[[nodiscard]] bool would_touch(const Rule& rule, const flow::HttpFlow& flow);

}  // namespace mitm::control
