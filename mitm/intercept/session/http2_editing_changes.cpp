// What goes out of a message in HTTP/2 that a gate has changed, or has answered itself.
#include <set>
#include <utility>

#include "mitm/intercept/session/http2_editing.h"

namespace mitm::intercept {
namespace {

using flow::Direction;
using http::Fields;
using http::Http2Head;

constexpr auto kNowhere = ~std::uint64_t{0};  ///< the place of a block that has not come

/// Fields of `changed` that were never to be indexed in `original` still are not.
void keep_never_indexed(const Http2Head& original, Http2Head& changed) {
  std::set<std::string_view> names;
  changed.never_indexed.clear();
  const std::size_t ahead = original.order.size();
  for (const std::uint16_t place : original.never_indexed) {
    if (place < ahead) {
      changed.never_indexed.push_back(place);
      continue;
    }
    if (place - ahead >= original.fields.size()) continue;
    names.insert(original.fields[place - ahead].first);
  }
  for (std::size_t i = 0; i < changed.fields.size(); ++i) {
    if (names.contains(changed.fields[i].first))
      changed.never_indexed.push_back(static_cast<std::uint16_t>(changed.order.size() + i));
  }
}

/// As it was, or of the body that goes out instead.
void put_length_right(const Fields& original, const std::optional<std::string>& body,
                      Fields& fields) {
  const std::string_view length = original.find("content-length");
  if (length.empty()) {
    fields.remove("content-length");
  } else {
    fields.set("content-length", body ? std::to_string(body->size()) : std::string(length));
  }
}

/// `block` as the server is to get it.
Http2Head edited(const Http2Head& came, const flow::Request& request,
                 const std::optional<std::string>& body) {
  Http2Head head = came;
  head.method = request.method;
  head.scheme = request.scheme;
  if (head.order.find('p') != head.order.npos) head.path = request.target;
  head.fields = http::as_http2(request.fields);
  const std::string_view host = head.fields.find("host");
  if (head.order.find('a') != head.order.npos) {
    head.authority = request.authority;
    if (!host.empty() && came.fields.find("host").empty()) {  // what a rule calls Host
      head.authority = host;
      head.fields.remove("host");
    }
  } else if (!request.authority.empty() && request.authority != came.fields.find("host")) {
    head.fields.set("host", request.authority);
  }
  put_length_right(came.fields, body, head.fields);
  keep_never_indexed(came, head);
  return head;
}

Http2Head edited(const Http2Head& came, const flow::Response& response,
                 const std::optional<std::string>& body) {
  Http2Head head = came;
  head.status = response.status;
  head.fields = http::as_http2(response.fields);
  put_length_right(came.fields, body, head.fields);
  keep_never_indexed(came, head);
  return head;
}

bool has_no_body(int status, std::string_view method) {
  return http::has_no_body(status) || method == "HEAD";
}

}  // namespace

/// Puts what the gate has made of the message in place of what has come. False: nothing.
bool Http2Editing::apply_edits(Stream& stream, Direction direction, Block& head) {
  if (!stream.editing) return false;
  Half& half = stream.half(direction);
  Transaction& transaction = stream.editing->transaction();
  auto body = half.gathered ? transaction.new_body(direction) : std::nullopt;
  if (half.gathered) half.queue.body = transaction.body(direction);
  if (direction == Direction::request) {
    if (transaction.changed_request() == nullptr) return false;
    flow::Request& request = transaction.request();
    head.head = edited(head.head, request, body);
    request.authority = head.head.authority.empty() ? request.authority : head.head.authority;
    request.fields = head.head.fields;
    if (half.gathered) replace_trailers(half, request.trailers);
  } else {
    if (transaction.changed_response() == nullptr) return false;
    flow::Response& response = transaction.response();
    const std::string& method = transaction.flow().request.method;
    const bool had_none = has_no_body(transaction.flow().response.status, method);
    const bool has_none = has_no_body(response.status, method);
    if (has_none) body.reset();
    if (had_none && !has_none && !body) body.emplace();
    head.head = edited(head.head, response, body);
    if (had_none != has_none)
      has_none ? head.head.fields.remove("content-length")
               : head.head.fields.set("content-length", std::to_string(body->size()));
    response.fields = head.head.fields;
    if (half.gathered) replace_trailers(half, response.trailers);
    if (has_none && !had_none) leave_out_body(half);
  }
  if (body) half.queue.body = std::move(*body);
  return true;
}

void Http2Editing::replace_trailers(Half& half, const Fields& trailers) {
  half.queue.trailers.reset();
  if (trailers.empty()) return;
  Block block;
  block.place = kNowhere;
  block.head.fields = http::as_http2(trailers);
  half.queue.trailers = std::move(block);
}

/// Behind a status that has none.
void Http2Editing::leave_out_body(Half& half) {
  half.queue.body.clear();
  half.queue.trailers.reset();
  half.way = half.came_whole ? Way::pass : Way::drop;
}

/// In place of the server, which gets nothing.
void Http2Editing::answer(Stream& stream) {
  Half& asked = stream.half(Direction::request);
  Half& half = stream.half(Direction::response);
  asked.way = Way::drop;
  asked.head.reset();
  Transaction& transaction = stream.editing->transaction();
  const bool credited = asked.came_whole || transaction.is_cut(Direction::request);
  credit_stream(Direction::request, stream, credited ? 0 : asked.body.size());
  asked.body.clear();
  const flow::Response& response = transaction.response();
  const bool bare = has_no_body(response.status, transaction.flow().request.method);
  Block block;
  block.head.status = response.status;
  block.head.order = "t";
  block.head.fields = http::as_http2(response.fields);
  const std::string body =
      bare ? std::string() : transaction.new_body(Direction::response).value_or(std::string());
  if (!bare) block.head.fields.set("content-length", std::to_string(body.size()));
  half.began = half.came_whole = true;
  block.ends_stream = body.empty();
  half.queue.body = body;
  half.queue.ends = !body.empty();
  transaction.set_answered();
  if (Exchange* const exchange = owner_.exchange(stream.number)) {
    Http2Head head = block.head;
    exchange->response_head(head);
    if (!body.empty()) exchange->response_body(body);
    exchange->response_end();
  }
  say_block(Direction::response, stream.number, std::move(block), true);
  if (asked.came_whole) asked.said_whole = true;
  if (body.empty()) {
    say_whole(stream, Direction::response);
  } else {
    lane(Direction::response).queued.push_back(stream.number);
    flush(Direction::response);
  }
}

}  // namespace mitm::intercept
