#include "mitm/control/rules_gate.h"

#include "mitm/control/exchange.h"

namespace mitm::control {
bool RulesGate::is_interested(const flow::ConnectionRecord& connection) {
  if (rules_->is_empty()) return false;
  const auto rules = rules_->current();
  Said& said = said_[connection.id % said_.size()];
  if (said.rules == rules->number() && said.connection == connection.id &&
      said.record == &connection)
    return said.interested;
  const std::shared_ptr<const flow::ConnectionRecord> asked(std::shared_ptr<void>(), &connection);
  said = {rules->number(), connection.id, &connection, rules->may_match(asked)};
  return said.interested;
}

std::optional<intercept::Decision> RulesGate::ask(intercept::Stage stage,
                                                  intercept::Transaction& transaction,
                                                  Resume resume) {
  auto& kept = transaction.of_gate();
  if (!kept) kept = std::make_shared<Exchange>(rules_->current());
  const auto result = static_cast<Exchange*>(kept.get())->ask(stage, transaction);
  if (result.delay == result.delay.zero()) return result.decision;
  resume_after(result.delay, result.decision, transaction, std::move(resume));
  return std::nullopt;
}

void RulesGate::resume_after(std::chrono::milliseconds delay, intercept::Decision decision,
                             const intercept::Transaction& transaction, Resume resume) {
  auto timer = std::make_unique<Timer>(executor_, delay);
  Timer& waiting = *timer;
  delays_[&transaction] = std::move(timer);
  waiting.async_wait([this, key = &transaction, timer = &waiting, decision,
                      resume = std::move(resume)](const boost::system::error_code& error) {
    if (error) return;
    // It may have ended just before it was withdrawn.
    const auto known = delays_.find(key);
    if (known == delays_.end() || known->second.get() != timer) return;
    delays_.erase(known);
    resume(decision);
  });
}

void RulesGate::withdrawn(intercept::Transaction& transaction) {
  delays_.erase(&transaction);
}

}  // namespace mitm::control
