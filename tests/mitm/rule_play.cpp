#include "tests/mitm/rule_play.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "mitm/query/url_parts.h"
#include "tests/test.h"

namespace test {

using mitm::control::Rule;
using mitm::flow::Direction;
using nlohmann::json;

std::vector<Rule> rules_of(std::string_view list) {
  std::vector<Rule> rules;
  const json data = json::parse(list);
  for (const json& one : data) {
    const auto complain = [](std::string_view key, const std::string& why) {
      FAIL(fmt::format("{}: {}", key, why));
    };
    rules.push_back(
        mitm::control::read_rule(one, fmt::format("rules[{}]", rules.size()), {}, complain));
  }
  return rules;
}

std::string rule_problems(std::string_view rule) {
  std::string lines;
  const auto complain = [&](std::string_view key, const std::string& why) {
    lines += fmt::format("{}{}: {}", lines.empty() ? "" : "\n", key, why);
  };
  (void)mitm::control::read_rule(json::parse(rule), "rule", {}, complain);
  return lines;
}

Play::Play(std::vector<Rule> rules)
    : rules_(std::make_shared<const mitm::control::RuleSet>(std::move(rules))) {
  begin();
}

void Play::begin() {
  flow_ = std::make_shared<mitm::flow::HttpFlow>();
  transaction_ = std::make_unique<mitm::intercept::Transaction>(flow_);
  exchange_ = std::make_unique<mitm::control::Exchange>(rules_);
  whole_ = false;
  delay_ = {};
}

namespace {

void add(mitm::http::Fields& to, const std::vector<std::string>& fields) {
  for (const std::string& field : fields) {
    const auto colon = field.find(": ");
    to.add(field.substr(0, colon), field.substr(colon + 2));
  }
}

std::string lines_of(const mitm::http::Fields& fields) {
  std::string text;
  for (std::size_t i = 0; i < fields.size(); ++i)
    text += fmt::format("{}: {}\n", fields[i].first, fields[i].second);
  return text;
}

}  // namespace

Play& Play::request(std::string_view line, const std::vector<std::string>& fields,
                    std::string_view body) {
  flow_->request.method = line.substr(0, line.find(' '));
  flow_->url = line.substr(line.find(' ') + 1);
  const auto parts = mitm::query::url_parts(flow_->url);
  flow_->host = parts.host;
  flow_->request.scheme = parts.scheme;
  flow_->request.authority = parts.host;
  flow_->request.target = parts.path;
  if (parts.has_query) flow_->request.target.append("?").append(parts.query);
  flow_->request.version = "1.1";
  add(flow_->request.fields, fields);
  bodies_[0] = body;
  return *this;
}

Play& Play::response(int status, const std::vector<std::string>& fields, std::string_view body) {
  flow_->response.status = status;
  flow_->response.reason = "As it was";
  add(flow_->response.fields, fields);
  bodies_[1] = body;
  return *this;
}

Play::Decision Play::ask(Stage head, Stage whole, std::string_view body) {
  auto result = exchange_->ask(head, *transaction_);
  if (result.decision == Decision::whole) {
    whole_ = true;
    transaction_->set_received_body(
        mitm::intercept::Stage::request == whole ? Direction::request : Direction::response,
        std::string(body));
    result = exchange_->ask(whole, *transaction_);
  }
  delay_ += result.delay;
  return result.decision;
}

Play::Decision Play::ask_request() {
  return ask(Stage::request_head, Stage::request, bodies_[0]);
}

Play::Decision Play::ask_response() {
  return ask(Stage::response_head, Stage::response, bodies_[1]);
}

std::string Play::sent() const {
  const auto* const request = transaction_->changed_request();
  if (request == nullptr) return "same";
  const auto& body = transaction_->new_body(Direction::request);
  return fmt::format("{} {}\n{}{}", request->method, request->target, lines_of(request->fields),
                     body ? "\n" + *body : "");
}

std::string Play::answered() const {
  const auto* const response = transaction_->changed_response();
  if (response == nullptr) return "same";
  const auto& body = transaction_->new_body(Direction::response);
  return fmt::format("{} {}\n{}{}", response->status, response->reason, lines_of(response->fields),
                     body ? "\n" + *body : "");
}

std::string Play::by() const {
  const auto edits = transaction_->edits();
  return edits ? fmt::format("{}", fmt::join(edits->by, ", ")) : "";
}

}  // namespace test
