// Messages as the gate sees them, and the header blocks that are said for them.
#include <utility>

#include <nghttp2/nghttp2.h>

#include "mitm/http/http2_frame.h"
#include "mitm/intercept/session/http2_editing.h"

namespace mitm::intercept {
namespace {

using flow::Direction;
using http::Http2Head;
using http::kFrameHeader;

constexpr std::size_t kPrioritySize = 5;  ///< in HEADERS

/// Where the priority is in the first frame of a header block.
std::size_t priority_place(std::uint8_t flags) {
  return kFrameHeader + ((flags & NGHTTP2_FLAG_PADDED) != 0 ? 1 : 0);
}

Http2Head interim(int status) {
  Http2Head head;
  head.status = status;
  head.order = "t";
  return head;
}

}  // namespace

// Header blocks.

void Http2Editing::head(const Http2Head& head) {
  head_ = head;
  if (head.status == 0 || head.interim()) return;
  const std::uint32_t of = number(Direction::response, lanes_[1].first.stream);
  const Stream* const stream = find(of);
  if (stream && stream->editing && !stream->halves[1].began) undecided_ = of;
}

void Http2Editing::promise(std::uint32_t promised, const Http2Head& head) {
  promised_ = promised;
  head_ = head;
}

void Http2Editing::block_done(Direction direction) {
  Lane& in = lane(direction);
  Block block;
  block.place = in.blocks++;
  block.raw = std::exchange(in.frames, {});
  block.ends_stream = (in.first.flags & NGHTTP2_FLAG_END_STREAM) != 0;
  if (head_) block.head = std::move(*head_);
  head_.reset();
  undecided_ = 0;
  if (in.first.type == NGHTTP2_PUSH_PROMISE) {
    say_promise(std::move(block));
    return;
  }
  if ((in.first.flags & NGHTTP2_FLAG_PRIORITY) != 0) {
    renumber_dependency(block.raw, priority_place(in.first.flags));
    block.priority = block.raw.substr(priority_place(in.first.flags), kPrioritySize);
  }
  direction == Direction::request ? program_block(std::move(block))
                                  : server_block(std::move(block));
}

void Http2Editing::program_block(Block block) {
  const std::uint32_t number = lane(Direction::request).first.stream;
  if (Stream* const stream = find(number)) {
    trailers(*stream, Direction::request, std::move(block));
  } else if (is_before(number)) {
    say_block(Direction::request, number, std::move(block));
  } else if (number > newest_) {
    open(number, std::move(block));
  }  // else of a stream that has ended
}

void Http2Editing::server_block(Block block) {
  const std::uint32_t sent = lane(Direction::response).first.stream;
  Stream* const stream = find(Direction::response, sent);
  if (stream == nullptr) {
    if (is_before(sent)) say_block(Direction::response, sent, std::move(block));
    return;
  }
  Half& half = stream->half(Direction::response);
  const bool queued = !stream->editing && !half.queue.is_empty();  // then the head has passed
  if (half.began || queued) {
    trailers(*stream, Direction::response, std::move(block));
  } else if (block.head.interim()) {
    const bool again = block.head.status == 100 && std::exchange(stream->continued, false);
    if (!again) say_block(Direction::response, stream->number, std::move(block));
  } else {
    half.began = true;
    half.came_whole = block.ends_stream;
    half.head = std::move(block);
    if (stream->editing) {
      ask(*stream, Stage::response_head);
    } else {
      pass_on(*stream, Direction::response);
    }
  }
}

void Http2Editing::open(std::uint32_t number, Block block) {
  newest_ = number;
  Stream& stream = begin_stream(number);
  Half& half = stream.half(Direction::request);
  half.began = true;
  half.came_whole = block.ends_stream;
  half.head = std::move(block);
  Exchange* const exchange = owner_.exchange(number);
  Gate& gate = recorder_.context().gate;
  if (exchange == nullptr || !gate.is_interested(recorder_.record())) {
    pass_on(stream, Direction::request);
    return;
  }
  stream.editing = std::make_shared<Editing>(
      gate, exchange->shared_flow(), recorder_.context().memory,
      [this, number](Stage stage, Decision decision) { resumed(number, stage, decision); });
  ask(stream, Stage::request_head);
}

void Http2Editing::trailers(Stream& stream, Direction direction, Block block) {
  Half& half = stream.half(direction);
  half.came_whole = true;
  switch (half.way) {
    case Way::pass:
      half.queue.ends = true;
      if (half.queue.said < half.queue.body.size()) {
        half.queue.trailers = std::move(block);
      } else {
        say_block(direction, number_in(direction, stream), std::move(block));
        say_whole(stream, direction);
      }
      break;
    case Way::wait:
      half.trailers = std::move(block);
      break;
    case Way::gather:
      half.trailers = std::move(block);
      message_whole(stream, direction);
      break;
    case Way::drop:
      say_whole(stream, direction);
      break;
  }
}

/// Whether the receiver's decompressor reads it as the sender's compressor meant it: all that came
/// before it has been passed on before it, as it came.
bool Http2Editing::passes_raw(Direction direction, const Block& block) {
  Lane& to = lane(direction);
  if (to.compressor || block.place != to.passed_blocks) return false;
  ++to.passed_blocks;
  return true;
}

std::string Http2Editing::compressed(Direction direction, const Http2Head& head) {
  Lane& to = lane(direction);
  if (!to.compressor)
    to.compressor = std::make_unique<http::Http2Compressor>(reader(direction).table_limit());
  return to.compressor->compress(head);
}

/// `stream`: as the receiver has it. `changed`: it is not what came.
void Http2Editing::say_block(Direction direction, std::uint32_t stream, Block block, bool changed) {
  if (!changed && passes_raw(direction, block)) {
    http::http2_renumber(block.raw, stream);
    put(direction, block.raw);
    return;
  }
  put(direction, http::http2_headers(stream, compressed(direction, block.head), block.ends_stream,
                                     block.priority));
}

void Http2Editing::say_promise(Block block) {
  const std::uint32_t sent = lane(Direction::response).first.stream;
  const std::uint32_t of = number(Direction::response, sent);
  if (of == 0) return;
  if (passes_raw(Direction::response, block)) {
    http::http2_renumber(block.raw, of);
    put(Direction::response, block.raw);
    return;
  }
  put(Direction::response,
      http::http2_promise(of, promised_, compressed(Direction::response, block.head)));
}

// What the gate says.

void Http2Editing::ask(Stream& stream, Stage stage) {
  stream.half(direction_of(stage)).way = Way::wait;
  if (const auto decision = stream.editing->ask(stage)) act(stream, stage, *decision);
}

void Http2Editing::resumed(std::uint32_t number, Stage stage, Decision decision) {
  Stream* const stream = find(number);
  if (stream == nullptr) return;
  act(*stream, stage, decision);
  owner_.speak();
}

void Http2Editing::act(Stream& stream, Stage stage, Decision decision) {
  const std::uint32_t number = stream.number;
  const Direction direction = direction_of(stage);
  const bool head = stage == Stage::request_head || stage == Stage::response_head;
  const std::shared_ptr<Editing> editing = stream.editing;  // the stream may go
  editing->half(direction).way = Way::pass;                 // it is not waited for any longer
  if (decision == Decision::reset) {
    reset_by_gate(stream);
  } else if (decision == Decision::answer && direction == Direction::request) {
    answer(stream);
  } else if (decision == Decision::whole && head) {
    gather(stream, direction);
  } else {
    pass_on(stream, direction);
  }
  owner_.decided(number, editing->transaction().edits());
}

void Http2Editing::gather(Stream& stream, Direction direction) {
  Half& half = stream.half(direction);
  half.way = Way::gather;
  const flow::HttpFlow& flow = stream.editing->transaction().flow();
  if (direction == Direction::request && !half.came_whole &&
      http::iequals(flow.request.fields.find("expect"), "100-continue")) {
    stream.continued = true;
    say_block(Direction::response, stream.number, {.head = interim(100)}, true);
  }
  if (half.came_whole) {
    message_whole(stream, direction);
  } else {
    credit_stream(direction, stream, half.body.size());
  }
}

void Http2Editing::message_whole(Stream& stream, Direction direction) {
  Half& half = stream.half(direction);
  half.gathered = true;
  stream.editing->transaction().set_received_body(direction, std::exchange(half.body, {}));
  ask(stream, direction == Direction::request ? Stage::request : Stage::response);
}

/// What is longer than is held passes, as the gate has its head.
void Http2Editing::message_cut(Stream& stream, Direction direction) {
  stream.editing->transaction().set_cut(direction);
  ask(stream, direction == Direction::request ? Stage::request : Stage::response);
}

/// In the order in which their heads are passed on (RFC 9113 section 5.1.1), and as the program has
/// them as long as that is its own order.
void Http2Editing::number_for_server(Stream& stream) {
  const bool in_order = stream.number > newest_passed_;
  stream.server = in_order ? stream.number : newest_passed_ + 2;
  if (stream.server != stream.number) renumbered_ = true;
  newest_passed_ = stream.server;
  by_server_[stream.server] = stream.number;
}

/// All of a message that has come, as the gate has it.
void Http2Editing::pass_on(Stream& stream, Direction direction) {
  Half& half = stream.half(direction);
  const bool request = direction == Direction::request;
  if (request && takes_no_more_) {
    refuse_unsent(stream.number);
    return;
  }
  half.way = Way::pass;
  Block head = std::move(*half.head);
  half.head.reset();
  half.queue.trailers = std::exchange(half.trailers, {});
  half.queue.body = std::exchange(half.body, {});
  const bool changed = apply_edits(stream, direction, head);
  if (request) number_for_server(stream);
  const std::uint32_t number = number_in(direction, stream);
  const bool drops = half.way == Way::drop;
  const bool ended = head.ends_stream;
  const bool empty = half.queue.body.empty() && !half.queue.trailers;
  head.ends_stream = drops || (half.came_whole && empty && (ended || changed));
  const bool whole = head.ends_stream;
  say_block(direction, number, std::move(head), changed);
  if (request) say_held_window(stream);
  half.queue.ends = half.came_whole && !whole;
  account(stream);
  if (whole && half.came_whole) {
    say_whole(stream, direction);
  } else if (!half.queue.is_empty()) {
    lane(direction).queued.push_back(stream.number);
    flush(direction);
  }
}

/// What the program has allowed before the server knew the stream.
void Http2Editing::say_held_window(Stream& stream) {
  Http2Window& window = stream.half(Direction::response).window;
  const auto more = window.receiver - window.sender;
  if (more <= 0) return;
  window.sender += more;
  put(Direction::request,
      http::http2_window_update(stream.server, static_cast<std::uint32_t>(more)));
}

void Http2Editing::reset_by_gate(Stream& stream) {
  const std::uint32_t number = stream.number;
  const auto edits = stream.editing->transaction().edits();
  put_apart(Direction::response, http::http2_reset(number, NGHTTP2_INTERNAL_ERROR));
  if (stream.server != 0) put(Direction::request, http::http2_reset(stream.server, NGHTTP2_CANCEL));
  owner_.end(number, "reset by " + (edits && !edits->by.empty() ? edits->by.back() : "a rule"));
  forget(number);
}

bool Http2Editing::is_undecided(std::uint32_t stream) const {
  if (stream == undecided_) return true;
  const Stream* const known = find(stream);
  if (known == nullptr || !known->editing) return false;
  const Way way = known->halves[1].way;
  return way == Way::wait || way == Way::gather;
}

bool Http2Editing::keeps_response(std::uint32_t stream) const {
  const Stream* const known = find(stream);
  if (known == nullptr) return false;
  const Half& half = known->halves[1];
  return half.came_whole && !half.said_whole;
}

std::shared_ptr<const flow::Edits> Http2Editing::end_exchange(std::uint32_t stream) {
  Stream* const known = find(stream);
  if (known == nullptr || !known->editing) return nullptr;
  auto edits = known->editing->transaction().edits();
  known->editing.reset();
  return edits;
}

}  // namespace mitm::intercept
