// What is said in place of what has come, as far as the windows of its receiver allow (RFC 9113
// section 5.2).
#include <algorithm>
#include <utility>

#include <nghttp2/nghttp2.h>

#include "mitm/intercept/session/http2_editing.h"

namespace mitm::intercept {
namespace {

using flow::Direction;

constexpr std::size_t kFrame = 16 << 10;  ///< payload of our frames, at most
constexpr const char* kLeft = "a side left before it had taken the body";

}  // namespace

/// For the end of the frame that is being passed on, or that has to be the first.
bool Http2Editing::must_wait(Direction direction) const {
  const Lane& to = lane(direction);
  return !to.begun || (to.state == State::pass && to.left > 0);
}

void Http2Editing::put(Direction direction, std::string_view frames) {
  (must_wait(direction) ? lane(direction).behind : lane(direction).out).append(frames);
}

/// In a write of its own: see Http2Session::write_boundaries().
void Http2Editing::put_apart(Direction direction, std::string_view frame) {
  Lane& to = lane(direction);
  if (direction == Direction::response && !must_wait(direction) && !to.out.empty())
    to.splits.push_back(to.out.size());
  put(direction, frame);
}

void Http2Editing::credit(Direction direction, std::uint32_t stream, Http2Window& window,
                          std::size_t bytes) {
  if (bytes == 0) return;
  window.sender += static_cast<std::int64_t>(bytes);
  put(opposite(direction), http::http2_window_update(stream, static_cast<std::uint32_t>(bytes)));
}

void Http2Editing::credit_connection(Direction direction, std::size_t bytes) {
  credit(direction, 0, lane(direction).window, bytes);
}

void Http2Editing::credit_stream(Direction direction, Stream& stream, std::size_t bytes) {
  const bool request = direction == Direction::request;
  credit(direction, request ? stream.number : stream.server, stream.half(direction).window, bytes);
}

/// What of an increment the sender is told. `uncredited`: bytes that the receiver's window still
/// has to pay for.
std::uint32_t Http2Editing::absorb(Http2Window& window, std::uint32_t increment,
                                   std::size_t uncredited) {
  const auto queued = static_cast<std::int64_t>(uncredited);
  const std::int64_t ahead = std::max<std::int64_t>(0, window.sender - window.receiver + queued);
  const std::int64_t more = std::max<std::int64_t>(0, increment - ahead);
  window.receiver += increment;
  window.sender += more;
  return static_cast<std::uint32_t>(more);
}

void Http2Editing::set_uncredited(Queue& queue, Direction direction, std::size_t bytes) {
  lane(direction).uncredited += bytes - queue.uncredited;
  queue.uncredited = bytes;
}

void Http2Editing::account(Stream& stream) {
  std::size_t bytes = 0;
  for (const Direction direction : {Direction::request, Direction::response}) {
    const Half& half = stream.half(direction);
    bytes += half.body.capacity() + half.queue.body.capacity();
    if (stream.editing) bytes += stream.editing->transaction().body(direction).capacity();
  }
  share_.set(share_.bytes() - std::exchange(stream.counted, bytes) + bytes);
}

void Http2Editing::keep_bytes(Stream& stream, Direction direction, std::string_view bytes) {
  Half& half = stream.half(direction);
  if (half.way == Way::pass) {
    half.queue.body.append(bytes);
    set_uncredited(half.queue, direction, half.queue.uncredited + bytes.size());
    lane(direction).queued.push_back(stream.number);
  } else {
    // What a head that is held lets pile up is bounded by its stream's window and by this.
    const bool much = half.way == Way::wait && half.body.size() > Editing::kLargest;
    if (!much) credit_connection(direction, bytes.size());
    const bool ends = (lane(direction).frame.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (half.way != Way::wait && !ends) credit_stream(direction, stream, bytes.size());
    if (half.way != Way::drop) half.body.append(bytes);
    const bool fits = half.body.size() <= Editing::kLargest &&
                      recorder_.context().memory.has_room_for_payload(bytes.size());
    const std::uint32_t number = stream.number;
    if (half.way == Way::gather && !fits) message_cut(stream, direction);
    if (find(number) == nullptr) return;  // the gate has ended it
  }
  account(stream);
  if (half.way == Way::pass) flush(direction);
}

void Http2Editing::flush(Direction direction) {
  auto queued = std::exchange(lane(direction).queued, {});
  std::ranges::sort(queued);
  const auto repeated = std::ranges::unique(queued);
  queued.erase(repeated.begin(), repeated.end());
  for (const std::uint32_t number : queued) {
    Stream* const stream = find(number);
    if (stream == nullptr || flush(*stream, direction)) continue;
    if (has_left_[static_cast<int>(opposite(direction))]) {  // it gives no more windows
      owner_.end(number, kLeft);
      forget(number);
    } else {
      lane(direction).queued.push_back(number);
    }
  }
}

/// True: nothing is left. The stream may be gone.
bool Http2Editing::flush(Stream& stream, Direction direction) {
  Queue& queue = stream.half(direction).queue;
  say_body(stream, direction);
  if (queue.said < queue.body.size()) return false;
  queue.body.clear();
  queue.body.shrink_to_fit();
  queue.said = 0;
  account(stream);
  if (!queue.ends) return true;
  if (queue.trailers) {
    queue.trailers->ends_stream = true;
    say_block(direction, number_in(direction, stream), std::move(*queue.trailers));
  } else {
    put(direction, http::http2_frame_header(0, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM,
                                            number_in(direction, stream)));
  }
  queue.trailers.reset();
  say_whole(stream, direction);
  return true;
}

void Http2Editing::say_body(Stream& stream, Direction direction) {
  Half& half = stream.half(direction);
  Queue& queue = half.queue;
  Http2Window& connection = lane(direction).window;
  for (;;) {
    const auto left = static_cast<std::int64_t>(queue.body.size() - queue.said);
    const std::int64_t most = std::min(connection.receiver, half.window.receiver);
    const std::int64_t size = std::min({left, most, static_cast<std::int64_t>(kFrame)});
    if (size <= 0) break;
    const auto bytes = static_cast<std::size_t>(size);
    put(direction, http::http2_frame_header(bytes, NGHTTP2_DATA, 0, number_in(direction, stream)));
    put(direction, std::string_view(queue.body).substr(queue.said, bytes));
    queue.said += bytes;
    connection.receiver -= size;
    half.window.receiver -= size;
  }
  const std::size_t left = queue.body.size() - queue.said;
  set_uncredited(queue, direction, std::min(queue.uncredited, left));
}

void Http2Editing::say_whole(Stream& stream, Direction direction) {
  stream.half(direction).said_whole = true;
  stream.half(direction).queue.ends = false;
  if (direction == Direction::response && stream.reset_after)
    put_apart(direction, http::http2_reset(stream.number, *stream.reset_after));
  const bool over = stream.halves[0].said_whole && stream.halves[1].said_whole;
  if (over || (direction == Direction::response && stream.reset_after)) forget(stream.number);
}

}  // namespace mitm::intercept
