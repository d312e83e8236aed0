#include "mitm/control/rules_gate.h"

#include <boost/asio/steady_timer.hpp>

#include "mitm/control/exchange.h"

namespace mitm::control {
namespace {

/// Resumes later, if anyone still waits then.
void resume_after(std::chrono::milliseconds delay, const boost::asio::any_io_executor& executor,
                  intercept::Decision decision, intercept::Gate::Resume resume) {
  auto timer = std::make_shared<boost::asio::steady_timer>(executor, delay);
  timer->async_wait(
      [timer, decision, resume = std::move(resume)](const boost::system::error_code& error) {
        if (!error) resume(decision);
      });
}

}  // namespace

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
  resume_after(result.delay, executor_, result.decision, std::move(resume));
  return std::nullopt;
}

}  // namespace mitm::control
