// Rules as the gate of the connections of one io_context.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/steady_timer.hpp>

#include "mitm/control/rule_set.h"
#include "mitm/intercept/context/gate.h"

namespace mitm::control {

/// For the executor of its context.
class RulesGate final : public intercept::Gate {
 public:
  RulesGate(std::shared_ptr<const Rules> rules, boost::asio::any_io_executor executor)
      : rules_(std::move(rules)), executor_(std::move(executor)) {}

  [[nodiscard]] bool is_interested(const flow::ConnectionRecord& connection) override;
  [[nodiscard]] std::optional<intercept::Decision> ask(intercept::Stage stage,
                                                       intercept::Transaction& transaction,
                                                       Resume resume) override;
  /// Ends its delay, whose resume is not called.
  void withdrawn(intercept::Transaction& transaction) override;

 private:
  using Timer = boost::asio::steady_timer;
  void resume_after(std::chrono::milliseconds delay, intercept::Decision decision,
                    const intercept::Transaction& transaction, Resume resume);
  /// What has been said of a connection: it is asked of before each message.
  struct Said {
    std::uint64_t rules = 0;
    std::uint64_t connection = 0;
    const void* record = nullptr;  ///< it may be known better later
    bool interested = false;
  };

  std::shared_ptr<const Rules> rules_;
  boost::asio::any_io_executor executor_;
  std::array<Said, 256> said_{};
  std::map<const intercept::Transaction*, std::unique_ptr<Timer>> delays_;
};

}  // namespace mitm::control
