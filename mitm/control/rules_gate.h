// Rules as the gate of the connections of one io_context.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include <boost/asio/any_io_executor.hpp>

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
  /// A delay that goes on resumes what is not there any more.
  void withdrawn(intercept::Transaction& /*transaction*/) override {}

 private:
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
};

}  // namespace mitm::control
