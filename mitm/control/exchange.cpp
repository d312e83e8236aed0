// Filters are judged on the flow as it came, whatever the rules before have changed. Where one of
// them needs a body, all of them wait for it, so that their order stays.
#include "mitm/control/exchange.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "base/ascii.h"
#include "mitm/control/judged_flow.h"
#include "mitm/control/sticky.h"
#include "mitm/http/http1_head.h"

namespace mitm::control {
namespace {

using flow::Direction;
using intercept::Decision;
using intercept::Stage;
using intercept::Transaction;

constexpr const char* kTooLong = "it is longer than 16 MiB";
constexpr const char* kNotHeld = "it is longer than 16 MiB, or than memory allows";

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

std::uint8_t body_of(Direction direction) {
  return direction == Direction::request ? query::kRequestBody : query::kResponseBody;
}

/// Whether a rule for responses may match by the body of the request.
bool wants_request(const Rule& rule, JudgedFlow& flow) {
  return acts_on(rule, Direction::response) && (rule.match.bodies() & query::kRequestBody) != 0 &&
         flow.will_match(rule.match) != false;
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

/// Of one that ends the request those behind it are asked only whether they need its body: they
/// may change the answer.
Exchange::Judgement Exchange::judge(JudgedFlow& flow, Direction direction, std::uint8_t known) {
  Judgement judgement;
  bool has_ended = false;
  for (const std::uint32_t i : rules_->candidates(flow.flow())) {
    const Rule& rule = rules_->rules()[i];
    if (rests(i)) continue;
    if (direction == Direction::request && wants_request(rule, flow)) judgement.whole = true;
    if (has_ended || !acts_on(rule, direction)) continue;
    const auto matches = flow.matches(rule.match, known);
    if (matches == false) continue;
    const bool waits = !matches && (rule.match.bodies() & body_of(direction) & ~known) != 0;
    if (waits || (matches && needs_body_of(rule, direction))) judgement.whole = true;
    (matches ? judgement.matching : judgement.undecided).push_back(i);
    has_ended = matches && direction == Direction::request && ends_request(rule) && !rule.times;
  }
  return judgement;
}

void Exchange::note_undecided(const Positions& rules, Direction direction,
                              Transaction& transaction) const {
  const char* own = why_absent(direction);
  const char* const why = own != nullptr ? own : why_absent(Direction::request);
  if (why == nullptr) return;
  for (const std::uint32_t i : rules)
    transaction.note(fmt::format("{} (not judged: {})", rules_->rules()[i].name, why));
}

std::uint8_t Exchange::known_bodies() const {
  std::uint8_t known = query::kBothBodies;
  for (const auto direction : {Direction::request, Direction::response})
    if (why_absent(direction) != nullptr) known &= static_cast<std::uint8_t>(~body_of(direction));
  return known;
}

/// What chance has said holds for all messages of the exchange.
bool Exchange::rests(std::uint32_t rule) {
  const Rule& one = rules_->rules()[rule];
  if (!one.times && one.probability >= 1) return false;
  const auto known = std::ranges::find(lots_, rule, &std::pair<std::uint32_t, Lot>::first);
  if (known != lots_.end()) return known->second == Lot::rests;
  const bool out = rules_->is_used_up(rule) || !rules_->chance_allows(rule);
  return lots_.emplace_back(rule, out ? Lot::rests : Lot::open).second == Lot::rests;
}

/// Once for each exchange, whatever the number of its messages.
bool Exchange::takes(std::uint32_t rule) {
  auto known = std::ranges::find(lots_, rule, &std::pair<std::uint32_t, Lot>::first);
  if (known == lots_.end()) known = lots_.insert(lots_.end(), {rule, Lot::open});
  if (known->second == Lot::open) known->second = rules_->take(rule) ? Lot::taken : Lot::rests;
  return known->second == Lot::taken;
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
      const bool missed = outcome.not_found;
      const auto done = apply(step.action, message, outcome);
      if (!done) transaction.note(fmt::format("{} (not done: {})", rule.name, done.error().text));
      if (!missed && outcome.not_found) outcome.not_found_by = rule.name;
      acted = acted || (done && outcome.is_final()) || outcome.delay != delay;
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
  JudgedFlow judged(answered, nullptr);
  const Judgement judgement = judge(judged, Direction::response, known_bodies());
  note_undecided(judgement.undecided, Direction::response, transaction);
  auto& response = transaction.response();
  response.status = answer.status;
  response.reason = std::move(answer.reason);
  response.fields = std::move(answer.fields);
  Message message(transaction, std::move(answer.body));
  const Outcome further = run(judgement.matching, message, transaction);
  message.finish();
  outcome.reset = further.reset;
  outcome.delay += further.delay;
}

Exchange::Result Exchange::finish(Outcome outcome, Message& message, Transaction& transaction) {
  if (message.is_request() && outcome.not_found && !outcome.is_final()) {
    outcome.answer = empty_answer(404);
    transaction.note(outcome.not_found_by);
  }
  if (message.is_request() && outcome.answer)
    answer(std::move(*outcome.answer), outcome, transaction);
  message.finish();
  if (outcome.reset) return {Decision::reset, outcome.delay};
  return {message.is_request() && outcome.answer ? Decision::answer : Decision::pass,
          outcome.delay};
}

Exchange::Result Exchange::ask_whole(Direction direction, Transaction& transaction) {
  if (transaction.is_cut(direction)) why_absent_[index(direction)] = kNotHeld;
  JudgedFlow flow(transaction.flow(), &transaction);
  const Judgement judgement = judge(flow, direction, known_bodies());
  note_undecided(judgement.undecided, direction, transaction);
  Message message = transaction.is_cut(direction) ? Message(transaction, direction, kNotHeld)
                                                  : Message(transaction, direction);
  return finish(run(judgement.matching, message, transaction), message, transaction);
}

Exchange::Result Exchange::ask_head(Direction direction, Transaction& transaction) {
  collect(transaction, direction);
  JudgedFlow flow(transaction.flow(), &transaction);
  const bool bodyless = has_no_body(flow.flow(), direction);
  const auto own = bodyless ? std::uint8_t{query::kNoBody} : body_of(direction);
  const Judgement judgement =
      judge(flow, direction, known_bodies() & static_cast<std::uint8_t>(~own));
  const char* why_not = nullptr;
  if (judgement.whole && !bodyless) {
    why_not = why_not_whole(flow.flow(), direction);
    if (why_not == nullptr) return {Decision::whole, {}};
    why_absent_[index(direction)] = why_not;
  }
  note_undecided(judgement.undecided, direction, transaction);
  Message message(transaction, direction, why_not);
  return finish(run(judgement.matching, message, transaction), message, transaction);
}

Exchange::Result Exchange::ask(Stage stage, Transaction& transaction) {
  const auto direction = stage == Stage::request_head || stage == Stage::request
                             ? Direction::request
                             : Direction::response;
  const bool is_head = stage == Stage::request_head || stage == Stage::response_head;
  return is_head ? ask_head(direction, transaction) : ask_whole(direction, transaction);
}

}  // namespace mitm::control
