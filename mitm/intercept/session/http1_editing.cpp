// What a gate makes of the messages of an HTTP/1 connection. A message that it wants is taken off
// the bytes that pass; what is passed on of it is said by the session.
#include "mitm/http/http1_writer.h"
#include "mitm/intercept/session/http1_session.h"

namespace mitm::intercept {
namespace {

using flow::Direction;
using Way = Editing::Way;

constexpr const char* kServerLeftMeanwhile =
    "the server closed the connection while the request was held";
constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";

/// A body as a chunk of its own, with what follows it.
std::string chunked(std::string_view body, const http::Fields& trailers) {
  std::string text;
  if (!body.empty()) text = fmt::format("{:x}\r\n{}\r\n", body.size(), body);
  return text + "0\r\n" + http::field_lines(trailers);
}

/// The fields and the body, which they delimit from now on; in chunks only where something follows
/// it.
std::string with_body(http::Fields& fields, std::string_view body, const http::Fields& trailers) {
  if (trailers.empty()) {
    http::delimit_by_length(fields, body.size());
    return http::field_lines(fields).append(body);
  }
  fields.remove("content-length");
  fields.set("Transfer-Encoding", "chunked");
  return http::field_lines(fields) + chunked(body, trailers);
}

/// What of the message was withheld behind its head, as it came.
std::string_view rest_of(const Editing::Half& half) {
  return std::string_view(half.raw).substr(half.head);
}

/// What the server gets instead of `half`.
std::string request_text(Transaction& transaction, const Editing::Half& half) {
  if (transaction.changed_request() == nullptr) return half.raw;
  const flow::Request& came = transaction.flow().request;
  flow::Request& request = transaction.request();
  const std::string line = http::request_line(request.method, request.target, came.version);
  const auto& body = transaction.new_body(Direction::request);
  if (body && !transaction.is_cut(Direction::request))
    return line + with_body(request.fields, *body, request.trailers);
  http::delimit_as(came.fields, request.fields);
  return line + http::field_lines(request.fields).append(rest_of(half));
}

/// Whether a response to the request has a body in no case but that of an error.
bool is_bare(const Transaction& transaction, int status) {
  return http::has_no_body(status) || transaction.flow().request.method == "HEAD";
}

/// Whether the body that the server sends is nothing that may stand behind the new status.
bool drops_body(const Transaction& transaction) {
  const flow::Response* const changed = transaction.changed_response();
  return changed != nullptr && http::has_no_body(changed->status) &&
         !is_bare(transaction, transaction.flow().response.status);
}

/// What the program gets instead of `half`.
std::string response_text(Transaction& transaction, const Editing::Half& half, bool hides_alt_svc) {
  if (transaction.changed_response() == nullptr) return half.raw;
  const flow::Response& came = transaction.flow().response;
  flow::Response& response = transaction.response();
  if (hides_alt_svc) response.fields.remove("alt-svc");
  const bool old = half.raw.starts_with("HTTP/1.0");
  const std::string line = http::status_line(response.status, response.reason, old ? "1.0" : "1.1");
  if (drops_body(transaction)) {
    response.fields.remove("content-length");
    response.fields.remove("transfer-encoding");
    return line + http::field_lines(response.fields);
  }
  const bool bare = is_bare(transaction, response.status);
  const bool had_none = is_bare(transaction, came.status);
  const bool whole = !transaction.is_cut(Direction::response);
  auto body = transaction.new_body(Direction::response);
  if (had_none && !bare && !body) body.emplace();  // nothing delimits what was none
  if (body && !bare && whole) return line + with_body(response.fields, *body, response.trailers);
  http::delimit_as(came.fields, response.fields);
  return line + http::field_lines(response.fields).append(rest_of(half));
}

bool wants_end(const flow::Request& request) {
  const std::string_view connection = request.fields.find("connection");
  return http::iequals(connection, "close") ||
         (request.version == "1.0" && !http::iequals(connection, "keep-alive"));
}

}  // namespace

/// The exchange that the bytes of a direction belong to, inside a message.
const Http1Session::Http1Exchange* Http1Session::current(Direction direction) const {
  if (exchanges_.empty()) return nullptr;
  return direction == Direction::request ? &exchanges_.back() : &exchanges_.front();
}

Http1Session::Http1Exchange* Http1Session::current(Direction direction) {
  return const_cast<Http1Exchange*>(std::as_const(*this).current(direction));
}

/// Whether what comes now may not simply be passed on.
bool Http1Session::is_apart(Direction direction) const {
  if (direction == Direction::request && requests_.between_messages())
    return recorder_.context().gate.is_interested(recorder_.record());
  const Http1Exchange* const asked = current(direction);
  if (asked == nullptr || !asked->editing) return false;
  if (direction == Direction::response && responses_.between_messages()) return true;
  return asked->editing->way(direction) != Way::pass;
}

bool Http1Session::is_waiting(Direction direction) const {
  const Http1Exchange* const asked = current(direction);
  return asked != nullptr && asked->editing && asked->editing->is_waiting(direction);
}

/// Whether nothing of the request has been passed on that is to be answered next.
bool Http1Session::is_withheld() const {
  if (exchanges_.empty() || !exchanges_.front().editing) return false;
  const Way way = exchanges_.front().editing->way(Direction::request);
  return way == Way::wait || way == Way::gather;
}

/// `raw` is a head, whose exchange has been told.
void Http1Session::edit_head(Direction direction, std::string_view raw) {
  Http1Exchange* const asked = current(direction);
  if (asked == nullptr || pump_.has_stopped() || must_refuse()) return;
  if (direction == Direction::response && responses_.head().interim()) {
    const bool again = responses_.head().status == 100 && std::exchange(asked->continued, false);
    if (!again) said_[1].append(raw);
    return;
  }
  if (!asked->editing) {
    asked->editing = std::make_shared<Editing>(
        recorder_.context().gate, asked->exchange.shared_flow(), recorder_.context().memory,
        [this, asked](Stage stage, Decision decision) { resumed(*asked, stage, decision); });
  }
  if (raw.empty()) return;  // the answer is not HTTP
  auto& half = asked->editing->half(direction);
  half.raw = raw;
  half.head = raw.size();
  ask(*asked, direction == Direction::request ? Stage::request_head : Stage::response_head);
}

/// `raw` is part of a body, which says `body`.
void Http1Session::edit_bytes(Direction direction, std::string_view raw, std::string_view body) {
  auto& half = current(direction)->editing->half(direction);
  if (half.way == Way::pass) {
    said_[static_cast<int>(direction)].append(raw);
  } else if (half.way == Way::gather) {
    half.raw.append(raw);
    half.body.append(body);
    current(direction)->editing->account();
    const bool fits = half.raw.size() <= 2 * Editing::kLargest &&
                      half.body.size() <= Editing::kLargest &&
                      recorder_.context().memory.has_room_for_payload(raw.size());
    if (fits) return;
    current(direction)->editing->transaction().set_cut(direction);
    ask(*current(direction), direction == Direction::request ? Stage::request : Stage::response);
  }
}

/// The message is there as a whole, and its exchange has been told.
void Http1Session::edit_end(Direction direction) {
  Http1Exchange* const asked = current(direction);
  if (asked == nullptr || !asked->editing) return;
  auto& half = asked->editing->half(direction);
  if (half.way != Way::gather) return;
  asked->editing->transaction().set_received_body(direction, std::move(half.body));
  ask(*asked, direction == Direction::request ? Stage::request : Stage::response);
}

/// The program has left in the middle of a request of which the server has got nothing.
void Http1Session::withdraw_last() {
  Http1Exchange& last = exchanges_.back();
  if (!last.editing || last.editing->way(Direction::request) == Way::pass) return;
  last.exchange.set_edits(last.editing->transaction().edits());
  last.editing.reset();
}

/// What is gathered and will not be whole passes as far as it has come.
void Http1Session::cut_response(Http1Exchange& front) {
  if (!front.editing || front.editing->way(Direction::response) != Way::gather) return;
  front.editing->transaction().set_cut(Direction::response);
  ask(front, Stage::response);
}

void Http1Session::ask(Http1Exchange& asked, Stage stage) {
  if (const auto decision = asked.editing->ask(stage)) act(asked, stage, *decision);
}

void Http1Session::resumed(Http1Exchange& asked, Stage stage, Decision decision) {
  act(asked, stage, decision);
  if (pump_.has_stopped()) return;
  const Direction direction = direction_of(stage);
  if (direction == Direction::response) finish_front();
  pump_.speak(Direction::request);
  pump_.speak(Direction::response);
}

void Http1Session::act(Http1Exchange& asked, Stage stage, Decision decision) {
  const Direction direction = direction_of(stage);
  auto& half = asked.editing->half(direction);
  const bool request = direction == Direction::request;
  const bool head = stage == Stage::request_head || stage == Stage::response_head;
  if (decision == Decision::reset) {
    half.way = Way::drop;  // it is not waited for any longer
    end_by_gate(asked);
  } else if (decision == Decision::answer && request) {
    half = {.way = Way::drop};
    asked.answered = true;
    if (&asked == &exchanges_.front()) answer_front();
  } else if (decision == Decision::whole && head) {
    half.way = Way::gather;
    const bool front = &asked == &exchanges_.front();
    const auto& fields = asked.exchange.flow().request.fields;
    if (request && front && http::iequals(fields.find("expect"), "100-continue")) {
      said_[1].append(kContinue);
      asked.continued = true;
      pump_.speak(Direction::response);
    }
    if (request ? asked.exchange.has_request() : asked.exchange.has_response()) edit_end(direction);
  } else {
    pass_on(asked, stage);
  }
}

void Http1Session::pass_on(Http1Exchange& asked, Stage stage) {
  const Direction direction = direction_of(stage);
  auto& half = asked.editing->half(direction);
  Transaction& transaction = asked.editing->transaction();
  if (direction == Direction::request && responses_over_) {
    half.way = Way::drop;
    asked.exchange.replace_error(kServerLeftMeanwhile);
    asked.refusal = 502;
    pump_.stop();
    return;
  }
  said_[static_cast<int>(direction)] +=
      direction == Direction::request
          ? request_text(transaction, half)
          : response_text(transaction, half, recorder_.context().settings.hide_alt_svc);
  half = {};
  if (direction == Direction::response && drops_body(transaction)) half.way = Way::drop;
  asked.editing->account();
}

/// The gate's answer, in its turn.
void Http1Session::answer_front() {
  Http1Exchange& front = exchanges_.front();
  Transaction& transaction = front.editing->transaction();
  flow::Response answer = transaction.response();
  const std::string body = transaction.new_body(Direction::response).value_or(std::string());
  const bool bare = http::has_no_body(answer.status) || front.answers == http::Answers::head;
  const bool ends = wants_end(front.exchange.flow().request);
  if (ends) answer.fields.set("Connection", "close");
  if (bare) {
    said_[1] +=
        http::status_line(answer.status, answer.reason, "1.1") + http::field_lines(answer.fields);
  } else {
    said_[1] += http::status_line(answer.status, answer.reason, "1.1") +
                with_body(answer.fields, body, answer.trailers);
  }
  front.answered = false;
  transaction.set_answered();
  http::Head head;
  head.status = answer.status;
  head.reason = answer.reason;
  head.fields = std::move(answer.fields);
  front.exchange.response_byte();
  front.exchange.response_head(head);
  if (!bare && !body.empty()) front.exchange.response_body(body);
  front.exchange.response_end();
  pump_.speak(Direction::response);
  if (ends || responses_over_) pump_.finish(Direction::response);
  finish_front();
}

void Http1Session::end_by_gate(Http1Exchange& asked) {
  const auto edits = asked.editing->transaction().edits();
  const std::string who = edits && !edits->by.empty() ? edits->by.back() : "a rule";
  asked.exchange.set_edits(edits);
  asked.exchange.replace_error("reset by " + who);
  asked.editing.reset();
  fail_all("the connection was ended because of another message: reset by " + who);
  client_.reset();
  server_.reset();
  pump_.stop();
}

std::string Http1Session::say(Direction direction) {
  std::string said = std::exchange(said_[static_cast<int>(direction)], {});
  if (!said.empty()) recorder_.data(direction, said);
  return said;
}

/// While the server has gone, the gate may still answer.
bool Http1Session::speaks_on(Direction direction) const {
  return direction == Direction::response &&
         (is_withheld() || is_waiting(direction) || !said_[1].empty());
}

}  // namespace mitm::intercept
