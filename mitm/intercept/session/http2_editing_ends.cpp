// What becomes of streams when a side takes no more of them, or leaves.
#include <algorithm>
#include <utility>
#include <vector>

#include <nghttp2/nghttp2.h>

#include "mitm/http/http2_frame.h"
#include "mitm/intercept/session/http2_editing.h"

namespace mitm::intercept {
namespace {

using flow::Direction;
using http::kFrameHeader;
using http::kStreamBits;
using http::number_at;
using http::put_number;

constexpr const char* kNoMoreStreams =
    "the server takes no more requests on this connection, and has not got this one";

}  // namespace

/// Of the program's streams the server names the last that it may have answered. Those that it has
/// not, although their numbers are smaller for the program, are refused one by one.
void Http2Editing::goaway_frame(Direction direction, std::string frame) {
  const std::uint32_t last = number_at(frame, kFrameHeader) & kStreamBits;
  if (direction == Direction::request || last == kStreamBits) {
    put(direction, frame);
    return;
  }
  std::uint32_t newest = last;
  if (renumbered_) {
    newest = std::min(last, before_);
    for (const auto& [server, number] : by_server_) {
      if (server <= last) newest = std::max(newest, number);
    }
    put_number(frame, kFrameHeader, newest);
  }
  put(direction, frame);
  std::vector<std::uint32_t> refused;
  for (const auto& [server, number] : by_server_) {
    if (server > last && number <= newest) refused.push_back(number);
  }
  for (const std::uint32_t number : refused) {
    put(direction, http::http2_reset(number, NGHTTP2_REFUSED_STREAM));
    owner_.end(number, kNoMoreStreams);
    forget(number);
  }
  refuse_unsent(newest);
}

/// What the server has not been sent, it will not take: a program may send it again elsewhere. That
/// holds without a word for streams behind `newest`, the last that it was told of.
void Http2Editing::refuse_unsent(std::uint32_t newest) {
  takes_no_more_ = true;
  std::vector<std::uint32_t> unsent;
  for (const auto& [number, stream] : streams_) {
    if (stream->server == 0 && stream->half(Direction::request).way != Way::drop)
      unsent.push_back(number);
  }
  for (const std::uint32_t number : unsent) {
    if (number <= newest)
      put(Direction::response, http::http2_reset(number, NGHTTP2_REFUSED_STREAM));
    owner_.end(number, kNoMoreStreams);
    forget(number);
  }
}

/// What is gathered and will not be whole passes as far as it has come.
void Http2Editing::cut_responses() {
  std::vector<std::uint32_t> cut;
  for (const auto& [number, stream] : streams_) {
    if (stream->half(Direction::response).way == Way::gather) cut.push_back(number);
  }
  for (const std::uint32_t number : cut) {
    if (Stream* const stream = find(number)) message_cut(*stream, Direction::response);
  }
}

/// The half of a connection is not used (RFC 9113 has no word about it): a program that ends its
/// own has gone.
void Http2Editing::sender_left(Direction direction) {
  has_left_[static_cast<int>(direction)] = true;
  flush(opposite(direction));
  if (direction == Direction::response) {
    refuse_unsent(kStreamBits);
    cut_responses();
    owner_.speak();
    return;
  }
  std::vector<std::uint32_t> unfinished;  // by us; windows will not open any more
  for (const auto& [number, stream] : streams_) {
    const Half& response = stream->half(Direction::response);
    const bool waits = stream->half(Direction::request).way == Way::wait ||
                       response.way == Way::wait || !response.queue.is_empty();
    if (waits) unfinished.push_back(number);
  }
  for (const std::uint32_t number : unfinished) {
    owner_.end(number, kProgramLeft);
    forget(number);
  }
  owner_.speak();
}

}  // namespace mitm::intercept
