// Frames as they come, what of them passes, and flow control. DATA that passes is neither gathered
// nor copied more than once; where a receiver does not allow what its sender was allowed (bodies
// that were changed are longer), it waits in a queue.
#include "mitm/intercept/session/http2_editing.h"

#include <algorithm>
#include <limits>
#include <utility>

#include <nghttp2/nghttp2.h>

#include "mitm/http/http2_frame.h"

namespace mitm::intercept {
namespace {

using flow::Direction;
using http::kFrameHeader;
using http::kStreamBits;
using http::number_at;
using http::put_number;

constexpr std::size_t kSlow = 256 << 10;  ///< said, and not taken
/// Beyond the window of the connection: what both ends may have counted in another way.
constexpr std::int64_t kTolerated = 1 << 20;
constexpr std::size_t kBlock = 1 << 20;         ///< frames of a header block, in bytes
constexpr std::uint8_t kPriorityUpdate = 0x10;  ///< RFC 9218 section 7.1
/// Of a stream whose windows are between its ends.
constexpr Http2Window kUnknown{std::numeric_limits<std::int64_t>::max() / 2,
                               std::numeric_limits<std::int64_t>::max() / 2};

}  // namespace

Http2Editing::Http2Editing(FlowRecorder& recorder, const http::Http2Reader& requests,
                           const http::Http2Reader& responses, std::uint32_t newest, Owner& owner)
    : recorder_(recorder),
      requests_(requests),
      responses_(responses),
      owner_(owner),
      share_(recorder.context().memory),
      before_(newest),
      newest_(newest),
      newest_passed_(newest) {
  for (const Direction direction : {Direction::request, Direction::response}) {
    Lane& in = lane(direction);
    const auto allowed =
        http::Http2Reader::kInitialWindow + reader(opposite(direction)).data_allowed();
    const auto left = static_cast<std::int64_t>(allowed - reader(direction).data_sent());
    in.window = {left, left};
    in.initial_window = reader(direction).initial_window();
    in.begun = reader(direction).has_begun();
    in.table = reader(direction).table_limit();
    in.left = reader(direction).left_of_frame().value_or(0);
    in.frame.type = NGHTTP2_PING;  // what is left of the frame passes, whatever it is
    if (in.left > 0) in.state = State::pass;
  }
}

Http2Editing::~Http2Editing() = default;

bool Http2Editing::feed(Direction direction, std::string_view bytes) {
  Lane& in = lane(direction);
  while (!bytes.empty()) {
    const bool header = in.state == State::header;
    const std::string_view part =
        bytes.substr(0, header ? kFrameHeader - in.gathered.size() : in.left);
    bytes.remove_prefix(part.size());
    if (header) {
      in.gathered.append(part);
      if (in.gathered.size() < kFrameHeader) return true;
      if (!begin_frame(direction)) return false;
    } else if (in.state == State::gather) {
      in.gathered.append(part);
      in.left -= part.size();
    } else {
      if (!owner_.read(direction, part)) return false;
      if (in.state == State::pass) in.out.append(part);
      in.left -= part.size();
    }
    if (in.left == 0 && in.state != State::header && !end_frame(direction)) return false;
  }
  return true;
}

std::string Http2Editing::say(Direction direction) {
  Lane& to = lane(direction);
  if (to.splits.empty()) return std::exchange(to.out, {});
  const std::size_t size = to.splits.front();
  to.splits.pop_front();
  for (std::size_t& split : to.splits) split -= size;
  std::string piece = to.out.substr(0, size);
  to.out.erase(0, size);
  return piece;
}

bool Http2Editing::is_on_hold(Direction direction) const {
  const Lane& back = lane(opposite(direction));
  return back.out.size() + back.behind.size() > kSlow;
}

bool Http2Editing::fail(const char* why) {
  error_ = why;
  return false;
}

bool Http2Editing::speaks_on(Direction direction) const {
  if (!lane(direction).out.empty()) return true;
  return std::ranges::any_of(streams_, [&](const auto& entry) {
    const Half& half = entry.second->halves[static_cast<int>(direction)];
    return half.way == Way::wait || !half.queue.is_empty();
  });
}

// Streams.

Http2Editing::Stream* Http2Editing::find(std::uint32_t number) {
  const auto found = streams_.find(number);
  return found == streams_.end() ? nullptr : found->second.get();
}

const Http2Editing::Stream* Http2Editing::find(std::uint32_t number) const {
  return const_cast<Http2Editing&>(*this).find(number);
}

/// By the number that the sender of a direction has for it.
Http2Editing::Stream* Http2Editing::find(Direction direction, std::uint32_t stream) {
  return find(number(direction, stream));
}

std::uint32_t Http2Editing::number(Direction direction, std::uint32_t stream) const {
  if (direction == Direction::request || is_before(stream)) return stream;
  const auto found = by_server_.find(stream);
  return found == by_server_.end() ? 0 : found->second;
}

Http2Editing::Stream& Http2Editing::begin_stream(std::uint32_t number) {
  auto& stream = streams_[number];
  stream = std::make_unique<Stream>();
  stream->number = number;
  for (const Direction direction : {Direction::request, Direction::response}) {
    const std::int64_t size = lane(direction).initial_window;
    stream->half(direction).window = {size, size};
  }
  return *stream;
}

/// One that passes, but whose DATA must wait now.
Http2Editing::Stream& Http2Editing::carried(std::uint32_t number) {
  Stream& stream = begin_stream(number);
  stream.server = number;
  if (const Exchange* const exchange = owner_.exchange(number)) {
    stream.half(Direction::request).said_whole = exchange->has_request();
    stream.half(Direction::response).said_whole = exchange->has_response();
  }
  for (Half& half : stream.halves) half.window = kUnknown;
  stream.half(Direction::request).began = true;
  return stream;
}

void Http2Editing::forget(std::uint32_t number) {
  Stream* const stream = find(number);
  if (stream == nullptr) return;
  for (const Direction direction : {Direction::request, Direction::response}) {
    Queue& queue = stream->half(direction).queue;
    credit_connection(direction, queue.uncredited);
    set_uncredited(queue, direction, 0);
  }
  share_.take(stream->counted);
  by_server_.erase(stream->server);
  streams_.erase(number);
}

// Frames.

bool Http2Editing::begin_frame(Direction direction) {
  Lane& in = lane(direction);
  in.frame = {number_at(in.gathered, 0, 3), static_cast<std::uint8_t>(in.gathered[3]),
              static_cast<std::uint8_t>(in.gathered[4]), number_at(in.gathered, 5) & kStreamBits};
  in.left = in.frame.length;
  in.body = 0;
  switch (in.frame.type) {
    case NGHTTP2_DATA:
      return begin_data(direction);
    case NGHTTP2_HEADERS:
    case NGHTTP2_PRIORITY:
    case NGHTTP2_RST_STREAM:
    case NGHTTP2_PUSH_PROMISE:
    case NGHTTP2_GOAWAY:
    case NGHTTP2_WINDOW_UPDATE:
    case NGHTTP2_CONTINUATION:
    case kPriorityUpdate:
      if (in.left > http::Http2Reader::kFrameLimit) return begin_other(direction);
      in.state = State::gather;
      return true;
    default:
      return begin_other(direction);
  }
}

/// What means nothing to us, or is too large to mean what it should.
bool Http2Editing::begin_other(Direction direction) {
  Lane& in = lane(direction);
  std::string header = std::exchange(in.gathered, {});
  if (!owner_.read(direction, header)) return false;
  const auto number = receivers_number(direction, in.frame.stream);
  in.state = number ? State::pass : State::keep;
  if (!number) return true;
  put_number(header, kFrameHeader - 4, *number);
  in.out.append(header);
  return true;
}

/// Empty: the receiver knows no such stream.
std::optional<std::uint32_t> Http2Editing::receivers_number(Direction direction,
                                                            std::uint32_t stream) {
  if (is_before(stream)) return stream;
  const Stream* const known = find(direction, stream);
  if (known == nullptr || number_in(direction, *known) == 0) return std::nullopt;
  return number_in(direction, *known);
}

bool Http2Editing::begin_data(Direction direction) {
  Lane& in = lane(direction);
  const auto size = static_cast<std::int64_t>(in.frame.length);
  in.window.sender -= size;
  if (in.window.sender < -kTolerated) return fail("more DATA than the connection's window allows");
  Stream* stream = find(direction, in.frame.stream);
  Half* half = stream ? &stream->half(direction) : nullptr;
  if (half) half->window.sender -= size;
  const bool open = half || is_before(in.frame.stream);
  const bool passes = open && (!half || (half->way == Way::pass && half->queue.is_empty()));
  const bool allowed =
      size == 0 || (in.window.receiver >= size && (!half || half->window.receiver >= size));
  in.state = passes && allowed ? State::pass : State::keep;
  std::string header = std::exchange(in.gathered, {});
  if (in.state == State::pass) {
    in.window.receiver -= size;
    if (half) half->window.receiver -= size;
    if (stream) put_number(header, kFrameHeader - 4, number_in(direction, *stream));
  } else if (passes && !half) {
    carried(in.frame.stream).half(direction).window.sender -= size;
  }
  // The frame as it came is what is read.
  const std::string said = in.state == State::pass ? header : std::string();
  put_number(header, kFrameHeader - 4, in.frame.stream);
  in.out.append(said);
  return owner_.read(direction, header);
}

bool Http2Editing::end_frame(Direction direction) {
  Lane& in = lane(direction);
  const State was = std::exchange(in.state, State::header);
  const bool preface = direction == Direction::request && !reader(direction).has_begun();
  if (!preface) in.begun = true;
  if (was == State::gather) {
    if (!whole_frame(direction, std::exchange(in.gathered, {}))) return false;
    in.out.append(std::exchange(in.behind, {}));
    return true;
  }
  if (in.begun) in.out.append(std::exchange(in.behind, {}));
  if (in.frame.type == NGHTTP2_DATA) end_data(direction, was == State::keep);
  if (in.frame.type == NGHTTP2_SETTINGS && (in.frame.flags & NGHTTP2_FLAG_ACK) != 0)
    settings_agreed(direction);
  return true;
}

void Http2Editing::data(Direction direction, std::uint32_t stream, std::string_view bytes) {
  Lane& in = lane(direction);
  if (in.state != State::keep) return;
  in.body += bytes.size();
  if (Stream* const known = find(stream)) {
    keep_bytes(*known, direction, bytes);
  } else {
    credit_connection(direction, bytes.size());
  }
}

void Http2Editing::end_data(Direction direction, bool kept) {
  Lane& in = lane(direction);
  const bool last = (in.frame.flags & NGHTTP2_FLAG_END_STREAM) != 0;
  Stream* const stream = find(direction, in.frame.stream);
  if (kept) {
    const std::size_t padding = in.frame.length - in.body;
    credit_connection(direction, padding);
    if (stream && !last) credit_stream(direction, *stream, padding);
  }
  if (!stream || !last) return;
  Half& half = stream->half(direction);
  half.came_whole = true;
  if (!kept || half.way == Way::drop) {
    say_whole(*stream, direction);
  } else if (half.way == Way::gather) {
    message_whole(*stream, direction);
  } else if (half.way == Way::pass) {
    half.queue.ends = true;
    in.queued.push_back(stream->number);
    flush(direction);
  }
}

bool Http2Editing::whole_frame(Direction direction, std::string frame) {
  Lane& in = lane(direction);
  const bool begins_block =
      in.frame.type == NGHTTP2_HEADERS || in.frame.type == NGHTTP2_PUSH_PROMISE;
  if (begins_block) in.first = in.frame;
  if (!owner_.read(direction, frame)) return false;
  switch (in.frame.type) {
    case NGHTTP2_RST_STREAM:
      reset_frame(direction, std::move(frame));
      break;
    case NGHTTP2_WINDOW_UPDATE:
      window_frame(direction, std::move(frame));
      break;
    case NGHTTP2_PRIORITY:
      priority_frame(direction, std::move(frame));
      break;
    case kPriorityUpdate:
      priority_update_frame(direction, std::move(frame));
      break;
    case NGHTTP2_GOAWAY:
      goaway_frame(direction, std::move(frame));
      break;
    default:
      in.frames += frame;
      if (in.frames.size() > kBlock) return fail("a header block too large for us");
      if ((in.frame.flags & NGHTTP2_FLAG_END_HEADERS) != 0) block_done(direction);
  }
  return true;
}

void Http2Editing::reset_frame(Direction direction, std::string frame) {
  const std::uint32_t sent = lane(direction).frame.stream;
  const std::uint32_t code = number_at(frame, kFrameHeader);
  Stream* const stream = find(direction, sent);
  if (stream == nullptr) {
    if (is_before(sent)) put(direction, frame);
    return;
  }
  const bool response = direction == Direction::response;
  if (response && code == NGHTTP2_NO_ERROR && keeps_response(stream->number)) {
    stream->reset_after = code;
    return;
  }
  if (const std::uint32_t known = number_in(direction, *stream))
    put_apart(direction, http::http2_reset(known, code));
  forget(stream->number);
}

/// What a receiver allows is passed on as far as its sender has not been allowed it already.
void Http2Editing::window_frame(Direction direction, std::string frame) {
  Lane& in = lane(direction);
  const Direction of = opposite(direction);
  const std::uint32_t increment =
      in.frame.length == 4 ? number_at(frame, kFrameHeader) & kStreamBits : 0;
  if (in.frame.stream == 0 && increment != 0) {
    if (const auto more = absorb(lane(of).window, increment, lane(of).uncredited))
      put(direction, http::http2_window_update(0, more));
    flush(of);
    return;
  }
  Stream* const stream = find(direction, in.frame.stream);
  if (stream == nullptr || increment == 0) {
    if (is_before(in.frame.stream)) put(direction, frame);
    return;
  }
  Half& half = stream->half(of);
  Http2Window& window = half.window;
  if (number_in(direction, *stream) == 0) {  // said when the other side knows the stream
    window.receiver += increment;
    if (!half.queue.is_empty()) flush(of);  // an answer of ours
    return;
  }
  const auto more = absorb(window, increment, half.queue.uncredited);
  const bool wanted = more == increment || !half.came_whole;  // else only what is left of it
  if (more != 0 && wanted)
    put(direction, http::http2_window_update(number_in(direction, *stream), more));
  if (!half.queue.is_empty()) flush(of);
}

/// `at`: where the four bytes are that name another stream of the program's.
void Http2Editing::renumber_dependency(std::string& frame, std::size_t at) {
  if (!renumbered_ || at + 4 > frame.size()) return;
  const std::uint32_t value = number_at(frame, at);
  const auto number = receivers_number(Direction::request, value & kStreamBits);
  put_number(frame, at, (value & ~kStreamBits) | number.value_or(0));
}

void Http2Editing::priority_frame(Direction direction, std::string frame) {
  const std::uint32_t sent = lane(direction).frame.stream;
  const bool idle = sent > newest_ && !renumbered_;  // a place in the tree, for later
  const auto number = idle ? sent : receivers_number(direction, sent);
  if (!number) return;
  put_number(frame, kFrameHeader - 4, *number);
  renumber_dependency(frame, kFrameHeader);
  put(direction, frame);
}

/// The program's; from a server it is an error of which the program knows what to make.
void Http2Editing::priority_update_frame(Direction direction, std::string frame) {
  if (direction == Direction::request && frame.size() >= kFrameHeader + 4) {
    const std::uint32_t of = number_at(frame, kFrameHeader) & kStreamBits;
    const bool idle = of > newest_ && !renumbered_;
    const auto number = idle ? of : receivers_number(Direction::request, of);
    if (!number) return;
    put_number(frame, kFrameHeader, *number);
  }
  put(direction, frame);
}

void Http2Editing::settings_agreed(Direction direction) {
  Lane& in = lane(direction);
  const std::uint32_t window = reader(direction).initial_window();
  const std::int64_t more = static_cast<std::int64_t>(window) - in.initial_window;
  in.initial_window = window;
  const std::uint32_t table = reader(direction).table_limit();
  // What is held was compressed for another table: it must not pass as it came.
  const bool shrinks = std::exchange(in.table, table) > table && in.blocks != in.passed_blocks;
  if (shrinks && !in.compressor) in.compressor = std::make_unique<http::Http2Compressor>(table);
  if (in.compressor) in.compressor->allow(table);
  if (more == 0) return;
  for (const auto& [number, stream] : streams_) {
    stream->half(direction).window.sender += more;
    stream->half(direction).window.receiver += more;
  }
  flush(direction);
}

}  // namespace mitm::intercept
