// Filters are judged on the flow as it came, whatever the rules before have changed. Where one of
// them needs a body, all of them wait for it, so that their order stays.
#include "mitm/control/exchange.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "base/ascii.h"
#include "mitm/control/sticky.h"
#include "mitm/http/http1_head.h"

namespace mitm::control {
namespace {

using flow::Direction;
using intercept::Decision;
using intercept::Stage;
using intercept::Transaction;

constexpr const char* kTooLong = "it is longer than 16 MiB";

/// The flow, for a filter; it must not outlive `flow`.
flow::Flow asked(const flow::HttpFlow& flow) {
  return {.record = std::shared_ptr<const flow::HttpFlow>(std::shared_ptr<void>(), &flow),
          .state = flow::Flow::State::live};
}

bool starts_with(std::string_view text, std::string_view prefix) {
  return base::iequals(text.substr(0, prefix.size()), prefix);
}

/// Whether the message may be waited for as a whole: what lasts, is not HTTP or is too long passes.
const char* why_not_whole(const flow::HttpFlow& flow, Direction direction) {
  const bool request = direction == Direction::request;
  const http::Fields& fields = request ? flow.request.fields : flow.response.fields;
  if (flow.request.method == "CONNECT" || flow.response.status == 101)
    return "it is no message of HTTP";
  const std::string_view type = fields.find("content-type");
  if (starts_with(type, "text/event-stream") || starts_with(type, "multipart/x-mixed-replace") ||
      starts_with(type, "application/grpc"))
    return "it is a stream";
  const std::string_view length = fields.find("content-length");
  std::uint64_t bytes = 0;
  std::from_chars(length.data(), length.data() + length.size(), bytes);
  return bytes > kLargestBody ? kTooLong : nullptr;
}

bool has_no_body(const flow::HttpFlow& flow, Direction direction) {
  return direction == Direction::response &&
         (flow.request.method == "HEAD" || http::has_no_body(flow.response.status));
}

bool acts_on(const Rule& rule, Direction direction) {
  return std::ranges::any_of(rule.steps, [&](const Step& step) { return step.is_for(direction); });
}

bool needs_body_of(const Rule& rule, Direction direction) {
  return std::ranges::any_of(rule.steps, [&](const Step& step) {
    return step.is_for(direction) && needs_body(step.action);
  });
}

bool ends_request(const Rule& rule) {
  return std::ranges::any_of(rule.steps, [](const Step& step) {
    return step.is_for(Direction::request) && ends_request(step.action);
  });
}

/// Bodies that are known when the head of a message is there: no response has one before that.
std::uint8_t bodies_before(Direction direction) {
  return direction == Direction::request ? query::kResponseBody : query::kRequestBody;
}

bool reads_request(const Rule& rule) {
  return (rule.match.bodies() & query::kRequestBody) != 0;
}

/// Whether a rule for responses may match by the body of the request.
bool wants_request(const Rule& rule, const flow::Flow& flow) {
  return reads_request(rule) && rule.match.will_match(flow) != false;
}

/// The same flow with the bodies that the transaction has.
flow::HttpFlow with_bodies(const flow::HttpFlow& flow, const Transaction& transaction) {
  flow::HttpFlow whole = flow;
  if (const auto& body = transaction.body(Direction::request); !body.empty())
    whole.request.body = flow::Body(body);
  if (const auto& body = transaction.body(Direction::response); !body.empty())
    whole.response.body = flow::Body(body);
  return whole;
}

/// As it was before the response came.
flow::HttpFlow before_response(const flow::HttpFlow& flow) {
  flow::HttpFlow begun = flow;
  begun.response = {};
  return begun;
}

/// MapLocal looks at the URL as well.
bool has_action_for(const Rule& rule, const flow::HttpFlow& flow, Direction direction) {
  return std::ranges::any_of(rule.steps, [&](const Step& step) {
    const auto* const map = std::get_if<MapLocal>(&step.action);
    return step.is_for(direction) && (map == nullptr || is_mapped(*map, flow.url));
  });
}

}  // namespace

bool would_touch(const Rule& rule, const flow::HttpFlow& flow) {
  if (has_action_for(rule, flow, Direction::request) &&
      rule.match.matches(asked(before_response(flow))))
    return true;
  return flow.response.status != 0 && has_action_for(rule, flow, Direction::response) &&
         rule.match.matches(asked(flow));
}

Exchange::Head Exchange::judge_head(const Transaction& transaction, const flow::HttpFlow& flow,
                                    Direction direction) const {
  Head head;
  std::optional<flow::HttpFlow> whole;  // made for the first that looks at the request's body
  const flow::Flow judged = asked(flow);
  for (const std::uint32_t i : rules_->candidates(flow)) {
    const Rule& rule = rules_->rules()[i];
    if (!acts_on(rule, direction)) {
      head.whole = head.whole || (direction == Direction::request && wants_request(rule, judged));
      continue;
    }
    const bool reads = direction == Direction::response && reads_request(rule);
    if (reads && !whole) whole = with_bodies(flow, transaction);
    const auto matches =
        rule.match.matches_so_far(reads ? asked(*whole) : judged, bodies_before(direction));
    if (matches == false) continue;
    head.whole = head.whole || !matches || needs_body_of(rule, direction);
    if (matches) head.matching.push_back(i);
    const bool is_last = matches && direction == Direction::request && ends_request(rule) &&
                         !rule.times && rule.probability >= 1;
    if (is_last) break;
  }
  return head;
}

Exchange::Positions Exchange::judge_whole(const Transaction& transaction,
                                          const flow::HttpFlow& flow, Direction direction) const {
  Positions matching;
  const flow::Flow heads = asked(flow);
  std::optional<flow::HttpFlow> whole;  // made for the first that looks at bodies
  for (const std::uint32_t i : rules_->candidates(flow)) {
    const Rule& rule = rules_->rules()[i];
    if (!acts_on(rule, direction)) continue;
    const bool bodies = rule.match.bodies() != query::kNoBody;
    if (bodies && !whole) whole = with_bodies(flow, transaction);
    if (rule.match.matches(bodies ? asked(*whole) : heads)) matching.push_back(i);
  }
  return matching;
}

/// Once for each exchange, whatever the number of its messages.
bool Exchange::takes(std::uint32_t rule) {
  const auto known = std::ranges::find(taken_, rule, &std::pair<std::uint32_t, bool>::first);
  if (known != taken_.end()) return known->second;
  return taken_.emplace_back(rule, rules_->take(rule)).second;
}

/// What is sent again was seen in flows that no filter of its rule concerns.
void Exchange::collect(const Transaction& transaction, Direction direction) const {
  const flow::HttpFlow& flow = transaction.flow();
  for (const Action* const action : rules_->collectors()) {
    const auto* const cookies = std::get_if<SendCookiesAgain>(action);
    if (cookies != nullptr && direction == Direction::response)
      cookies->jar->keep(flow, std::chrono::system_clock::now());
    const auto* const credentials = std::get_if<SendCredentialsAgain>(action);
    const std::string_view value = flow.request.fields.find("authorization");
    if (credentials != nullptr && direction == Direction::request && !value.empty())
      credentials->known->keep(host_of(flow), value);
  }
}

Outcome Exchange::run(const Positions& rules, Message& message, Transaction& transaction) {
  Outcome outcome;
  for (const std::uint32_t i : rules) {
    const Rule& rule = rules_->rules()[i];
    if (!takes(i)) continue;
    bool acted = false;
    for (const Step& step : rule.steps) {
      if (!step.is_for(message.direction()) || outcome.is_final()) continue;
      if (needs_body(step.action) &&
          (message.is_bodyless() || (step.side == Side::both && message.has_empty_body())))
        continue;
      const auto delay = outcome.delay;
      const auto done = apply(step.action, message, outcome);
      if (!done) transaction.note(fmt::format("{} (not done: {})", rule.name, done.error().text));
      acted = acted || outcome.is_final() || outcome.delay != delay;
    }
    if (message.take_changed() || acted) transaction.note(rule.name);
    if (outcome.is_final()) break;
  }
  return outcome;
}

/// An answer of ours is changed as one of the server's would be.
void Exchange::answer(Outcome::Answer answer, Outcome& outcome, Transaction& transaction) {
  flow::HttpFlow answered = with_bodies(transaction.flow(), transaction);
  answered.response.status = answer.status;
  answered.response.fields = answer.fields;
  answered.response.body = flow::Body(answer.body);
  Positions matching;
  for (const std::uint32_t i : rules_->candidates(answered)) {
    const Rule& rule = rules_->rules()[i];
    if (acts_on(rule, Direction::response) && rule.match.matches(asked(answered)))
      matching.push_back(i);
  }
  auto& response = transaction.response();
  response.status = answer.status;
  response.reason = std::move(answer.reason);
  response.fields = std::move(answer.fields);
  Message message(transaction, std::move(answer.body));
  const Outcome further = run(matching, message, transaction);
  message.finish();
  outcome.reset = further.reset;
  outcome.delay += further.delay;
}

Exchange::Result Exchange::finish(Outcome outcome, Message& message, Transaction& transaction) {
  if (message.is_request() && outcome.not_found && !outcome.is_final())
    outcome.answer =
        Outcome::Answer{.status = 404, .reason = "Not Found", .fields = {}, .body = {}};
  if (message.is_request() && outcome.answer)
    answer(std::move(*outcome.answer), outcome, transaction);
  message.finish();
  if (outcome.reset) return {Decision::reset, outcome.delay};
  return {message.is_request() && outcome.answer ? Decision::answer : Decision::pass,
          outcome.delay};
}

Exchange::Result Exchange::ask(Stage stage, Transaction& transaction) {
  const bool is_head = stage == Stage::request_head || stage == Stage::response_head;
  const auto direction = stage == Stage::request_head || stage == Stage::request
                             ? Direction::request
                             : Direction::response;
  const flow::HttpFlow& flow = transaction.flow();
  if (is_head) collect(transaction, direction);
  if (!is_head) {
    Message message = transaction.is_cut(direction) ? Message(transaction, direction, kTooLong)
                                                    : Message(transaction, direction);
    return finish(run(judge_whole(transaction, flow, direction), message, transaction), message,
                  transaction);
  }
  const Head head = judge_head(transaction, flow, direction);
  const bool bodyless = has_no_body(flow, direction);
  const char* const why_not = head.whole && !bodyless ? why_not_whole(flow, direction) : nullptr;
  if (head.whole && !bodyless && why_not == nullptr) return {Decision::whole, {}};
  Message message(transaction, direction, why_not);
  return finish(run(head.matching, message, transaction), message, transaction);
}

}  // namespace mitm::control
