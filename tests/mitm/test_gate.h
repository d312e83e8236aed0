// A gate that does what a test says.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "mitm/intercept/context/gate.h"

namespace test {

class TestGate final : public mitm::intercept::Gate {
 public:
  using Decision = mitm::intercept::Decision;
  using Stage = mitm::intercept::Stage;
  using Transaction = mitm::intercept::Transaction;
  struct Held {
    Transaction* transaction;
    Resume resume;
  };

  bool is_interested(const mitm::flow::ConnectionRecord&) override { return interested; }
  std::optional<Decision> ask(Stage stage, Transaction& transaction, Resume resume) override {
    asked.push_back(stage);
    if (holds == stage) {
      held.push_back({&transaction, std::move(resume)});
      return std::nullopt;
    }
    const bool head = stage == Stage::request_head || stage == Stage::response_head;
    if (head && heads == Decision::whole) return heads;
    return act ? act(stage, transaction) : Decision::pass;
  }
  void withdrawn(Transaction&) override { ++withdrawals; }

  /// Of the exchange that has been held longest.
  void resume(Decision decision) {
    const Held first = std::move(held.front());
    held.erase(held.begin());
    first.resume(decision);
  }

  bool interested = true;
  Decision heads = Decision::pass;  ///< `whole`: act() is asked about whole messages only
  std::optional<Stage> holds;
  std::function<Decision(Stage, Transaction&)> act;
  std::vector<Stage> asked;
  std::vector<Held> held;
  int withdrawals = 0;
};

}  // namespace test
