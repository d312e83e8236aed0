// One exchange that rules are asked about, without connections.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "mitm/control/exchange.h"
#include "mitm/control/rule_list.h"

namespace test {

/// Rules in the form of the configuration.
std::vector<mitm::control::Rule> rules_of(std::string_view list);
/// What is wrong with one rule, a line for each thing: "match: ...".
std::string rule_problems(std::string_view rule);

class Play {
 public:
  using Decision = mitm::intercept::Decision;
  using Stage = mitm::intercept::Stage;

  explicit Play(std::vector<mitm::control::Rule> rules);
  explicit Play(std::string_view list) : Play(rules_of(list)) {}

  /// "GET http://a.test/p?q=1", with fields "Name: value" and a body.
  Play& request(std::string_view line, const std::vector<std::string>& fields = {},
                std::string_view body = {});
  Play& response(int status, const std::vector<std::string>& fields = {},
                 std::string_view body = {});
  /// The head, and the whole message where that is wanted. Returns the last decision.
  Decision ask_request();
  Decision ask_response();
  /// Another exchange, with the same rules.
  void begin();

  /// What is passed on: "GET /p HTTP", then the fields, an empty line, the body; "same" if it is
  /// what came.
  [[nodiscard]] std::string sent() const;
  [[nodiscard]] std::string answered() const;
  [[nodiscard]] std::string by() const;  ///< joined by ", "
  [[nodiscard]] bool asked_for_whole() const { return whole_; }
  void forget_whole() { whole_ = false; }
  [[nodiscard]] std::chrono::milliseconds delay() const { return delay_; }
  [[nodiscard]] const mitm::control::RuleSet& rules() const { return *rules_; }

 private:
  Decision ask(Stage head, Stage whole, std::string_view body);

  std::shared_ptr<const mitm::control::RuleSet> rules_;
  std::shared_ptr<mitm::flow::HttpFlow> flow_;
  std::unique_ptr<mitm::intercept::Transaction> transaction_;
  std::unique_ptr<mitm::control::Exchange> exchange_;
  std::string bodies_[2];
  bool whole_ = false;
  std::chrono::milliseconds delay_{};
};

}  // namespace test
