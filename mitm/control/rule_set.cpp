#include "mitm/control/rule_set.h"

#include <algorithm>
#include <random>

namespace mitm::control {
namespace {

bool collects(const Action& action) {
  return std::holds_alternative<SendCookiesAgain>(action) ||
         std::holds_alternative<SendCredentialsAgain>(action);
}

std::vector<std::vector<std::string>> required_in_urls(const std::vector<Rule>& rules) {
  std::vector<std::vector<std::string>> all;
  for (const Rule& rule : rules) all.push_back(rule.match.required_in_url());
  return all;
}

std::vector<Rule> enabled_of(std::vector<Rule> rules) {
  std::erase_if(rules, [](const Rule& rule) { return !rule.enabled; });
  return rules;
}

std::uint64_t next_number() {
  static std::atomic<std::uint64_t> last = 0;
  return ++last;
}

bool happens(double probability) {
  if (probability >= 1) return true;
  thread_local std::mt19937_64 random{std::random_device{}()};
  return std::uniform_real_distribution<>{}(random) < probability;
}

}  // namespace

RuleSet::RuleSet(std::vector<Rule> rules)
    : rules_(enabled_of(std::move(rules))),
      counters_(std::make_unique<Counter[]>(rules_.size())),
      index_(required_in_urls(rules_)),
      number_(next_number()) {
  for (const Rule& rule : rules_) {
    for (const Step& step : rule.steps)
      if (collects(step.action)) collectors_.push_back(&step.action);
  }
}

std::vector<std::uint32_t> RuleSet::candidates(const flow::HttpFlow& flow) const {
  return index_.candidates(flow.url, flow.host);
}

bool RuleSet::may_match(const std::shared_ptr<const flow::ConnectionRecord>& connection) const {
  if (!collectors_.empty()) return true;
  return std::ranges::any_of(
      rules_, [&](const Rule& rule) { return rule.match.matches_connection(connection) != false; });
}

bool RuleSet::is_used_up(std::uint32_t rule) const {
  const auto& times = rules_[rule].times;
  return times && counters_[rule].hits.load(std::memory_order_relaxed) >= *times;
}

bool RuleSet::chance_allows(std::uint32_t rule) const {
  return happens(rules_[rule].probability);
}

bool RuleSet::take(std::uint32_t rule) const {
  const Rule& one = rules_[rule];
  std::atomic<std::uint64_t>& hits = counters_[rule].hits;
  if (!one.times) {
    hits.fetch_add(1, std::memory_order_relaxed);
    return true;
  }
  std::uint64_t before = hits.load(std::memory_order_relaxed);
  while (before < *one.times) {
    if (hits.compare_exchange_weak(before, before + 1, std::memory_order_relaxed)) return true;
  }
  return false;
}

void Rules::set(std::vector<Rule> rules) {
  auto made = std::make_shared<const RuleSet>(std::move(rules));
  const std::lock_guard lock(mutex_);
  empty_ = made->rules().empty();
  current_ = std::move(made);
}

std::shared_ptr<const RuleSet> Rules::current() const {
  const std::lock_guard lock(mutex_);
  return current_;
}

}  // namespace mitm::control
