// The rules that are in force: immutable but for their counters, shared by all threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "mitm/control/rule.h"
#include "mitm/control/url_index.h"

namespace mitm::control {

class RuleSet {
 public:
  explicit RuleSet(std::vector<Rule> rules);
  RuleSet(const RuleSet&) = delete;
  RuleSet& operator=(const RuleSet&) = delete;

  [[nodiscard]] const std::vector<Rule>& rules() const { return rules_; }
  /// Positions of the rules that may match a flow with this URL, in their order.
  [[nodiscard]] std::vector<std::uint32_t> candidates(const flow::HttpFlow& flow) const;
  /// Whether any of them may match a flow of the connection.
  [[nodiscard]] bool may_match(
      const std::shared_ptr<const flow::ConnectionRecord>& connection) const;
  /// Whether its limit is reached.
  [[nodiscard]] bool is_used_up(std::uint32_t rule) const;
  /// Asks chance, by the rule's probability; once for a flow.
  [[nodiscard]] bool chance_allows(std::uint32_t rule) const;
  /// Counts a flow that the rule matches; false: its limit is reached.
  [[nodiscard]] bool take(std::uint32_t rule) const;
  /// Flows that it was applied to.
  [[nodiscard]] std::uint64_t hits(std::uint32_t rule) const { return counters_[rule].hits; }
  /// Actions that look at all flows (SendCookiesAgain, SendCredentialsAgain).
  [[nodiscard]] const std::vector<const Action*>& collectors() const { return collectors_; }
  /// Unique in the process, for those who remember what may_match() has said.
  [[nodiscard]] std::uint64_t number() const { return number_; }

 private:
  struct Counter {
    std::atomic<std::uint64_t> hits = 0;
  };
  std::vector<Rule> rules_;
  std::unique_ptr<Counter[]> counters_;
  UrlIndex index_;
  std::vector<const Action*> collectors_;
  std::uint64_t number_;
};

/// What is in force at the moment. Rules may come and go while connections are carried; an exchange
/// keeps those that it began with.
class Rules {
 public:
  explicit Rules(std::vector<Rule> rules) { set(std::move(rules)); }
  void set(std::vector<Rule> rules);
  [[nodiscard]] std::shared_ptr<const RuleSet> current() const;
  /// Costs nothing: what is asked of each connection again and again.
  [[nodiscard]] bool is_empty() const { return empty_.load(std::memory_order_relaxed); }

 private:
  std::atomic<bool> empty_ = true;
  mutable std::mutex mutex_;  // std::atomic<std::shared_ptr> is not in every library
  std::shared_ptr<const RuleSet> current_;
};

}  // namespace mitm::control
