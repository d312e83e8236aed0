// Frames by RFC 9113 section 4 and 6; header blocks by nghttp2's decompressor. Bodies are never
// gathered, other frames only when they come in pieces.
#include "mitm/http/http2.h"

#include <algorithm>
#include <charconv>

#include <nghttp2/nghttp2.h>

#include "base/base64.h"
#include "mitm/http/http2_frame.h"

namespace mitm::http {
namespace {

std::uint32_t stream_at(std::string_view bytes, std::size_t at) {
  return number_at(bytes, at) & kStreamBits;
}

/// What has to be read whole, of a stream or not.
bool understood(std::uint8_t type) {
  switch (type) {
    case NGHTTP2_HEADERS:
    case NGHTTP2_RST_STREAM:
    case NGHTTP2_SETTINGS:
    case NGHTTP2_PUSH_PROMISE:
    case NGHTTP2_GOAWAY:
    case NGHTTP2_CONTINUATION:
      return true;
    default:
      return false;
  }
}

std::string_view text_of(const std::uint8_t* bytes, std::size_t size) {
  return {reinterpret_cast<const char*>(bytes), size};
}

/// `payload`: whole settings.
Http2Settings parse_settings(std::string_view payload) {
  Http2Settings settings;
  for (std::size_t at = 0; at + 6 <= payload.size(); at += 6) {
    const auto value = number_at(payload, at + 2, 4);
    switch (number_at(payload, at, 2)) {
      case NGHTTP2_SETTINGS_HEADER_TABLE_SIZE:
        settings.table_size = value;
        break;
      case NGHTTP2_SETTINGS_ENABLE_PUSH:
        settings.push = value != 0;
        break;
      case NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE:
        settings.window = value;
        break;
      default:
        break;
    }
  }
  return settings;
}

}  // namespace

Http2Settings parse_upgrade_settings(std::string_view field) {
  return parse_settings(base::from_base64url(field));
}

bool begins_with_settings(std::string_view bytes) {
  constexpr std::size_t kHeader = 9, kSetting = 6, kMany = 64;
  if (bytes.size() < kHeader || bytes[0] != 0) return false;
  const std::size_t length =
      static_cast<unsigned char>(bytes[1]) << 8U | static_cast<unsigned char>(bytes[2]);
  const std::string_view rest = bytes.substr(3, kHeader - 3);
  return length % kSetting == 0 && length <= kMany * kSetting &&
         rest == std::string_view("\x04\0\0\0\0\0", 6);
}

void Http2Reader::FreeInflater::operator()(nghttp2_hd_inflater* inflater) const {
  nghttp2_hd_inflate_del(inflater);
}

Http2Reader::Http2Reader(Side side)
    : side_(side), state_(side == Side::request ? State::preface : State::header) {
  nghttp2_hd_inflater* inflater = nullptr;
  if (nghttp2_hd_inflate_new(&inflater) == 0) inflater_.reset(inflater);
}

Http2Reader::~Http2Reader() = default;

std::size_t Http2Reader::held() const {
  const std::size_t table =
      inflater_ ? nghttp2_hd_inflate_get_dynamic_table_size(inflater_.get()) : 0;
  return table + gathered_.capacity() + head_.fields.memory() + head_.method.capacity() +
         head_.scheme.capacity() + head_.authority.capacity() + head_.path.capacity() +
         head_.protocol.capacity() + unacknowledged_.size() * sizeof(Http2Settings);
}

std::optional<std::size_t> Http2Reader::left_of_frame() const {
  if (in_block_) return std::nullopt;
  switch (state_) {
    case State::preface:
      return kClientPreface.size() - gathered_.size();
    case State::header:
      return gathered_.empty() ? std::optional<std::size_t>(0) : std::nullopt;
    case State::collect:
      // Whoever goes on from here must know all of the others.
      return frame_.type == NGHTTP2_SETTINGS ? std::optional(left_ - gathered_.size())
                                             : std::nullopt;
    default:
      return left_;
  }
}

std::uint32_t Http2Reader::table_limit() const {
  if (!inflater_) return 0;
  return static_cast<std::uint32_t>(nghttp2_hd_inflate_get_max_dynamic_table_size(inflater_.get()));
}

/// WINDOW_UPDATE of the connection only: that of streams is between the two ends.
bool Http2Reader::is_understood() const {
  const bool window =
      frame_.type == NGHTTP2_WINDOW_UPDATE && frame_.stream == 0 && frame_.length == 4;
  return window || understood(frame_.type);
}

bool Http2Reader::fail(const char* why) {
  error_ = why;
  return false;
}

/// Takes from `bytes` until `size` bytes are gathered or it is empty.
void Http2Reader::gather(std::string_view& bytes, std::size_t size) {
  const std::size_t taken = std::min(size - gathered_.size(), bytes.size());
  gathered_.append(bytes.substr(0, taken));
  bytes.remove_prefix(taken);
}

bool Http2Reader::feed(std::string_view bytes, Handler& handler) {
  if (error_) return false;
  const char* const begin = bytes.data();
  frame_at_ = 0;
  quiet_resets_.clear();
  while (!bytes.empty()) {
    switch (state_) {
      case State::preface:
        gather(bytes, kClientPreface.size());
        if (gathered_ != kClientPreface.substr(0, gathered_.size()))
          return fail("no HTTP/2 preface");
        if (gathered_.size() < kClientPreface.size()) return true;
        gathered_.clear();
        state_ = State::header;
        break;
      case State::header:
        if (gathered_.empty()) frame_at_ = static_cast<std::size_t>(bytes.data() - begin);
        gather(bytes, kFrameHeader);
        if (gathered_.size() < kFrameHeader) return true;
        if (!begin_frame(handler)) return false;
        break;
      case State::collect:
        if (gathered_.empty() && bytes.size() >= left_) {
          if (!whole_frame(bytes.substr(0, left_), handler)) return false;
          bytes.remove_prefix(left_);
        } else {
          gather(bytes, left_);
          if (gathered_.size() < left_) return true;
          if (!whole_frame(gathered_, handler)) return false;
          gathered_.clear();
          gathered_.shrink_to_fit();
        }
        state_ = State::header;
        break;
      case State::data:
        if (!pass_data(bytes, handler)) return false;
        break;
      case State::skip: {
        const std::size_t skipped = std::min(left_, bytes.size());
        left_ -= skipped;
        bytes.remove_prefix(skipped);
        if (left_ == 0) state_ = State::header;
        break;
      }
    }
  }
  return true;
}

bool Http2Reader::begin_frame(Handler& handler) {
  frame_ = {number_at(gathered_, 0, 3), static_cast<std::uint8_t>(gathered_[3]),
            static_cast<std::uint8_t>(gathered_[4]), stream_at(gathered_, 5)};
  begun_ = true;
  gathered_.clear();
  left_ = frame_.length;
  if (in_block_ && (frame_.type != NGHTTP2_CONTINUATION || frame_.stream != block_stream_))
    return fail("another frame in the middle of a header block");
  if (frame_.type == NGHTTP2_DATA) return begin_data(handler);
  if (!is_understood()) {
    state_ = left_ > 0 ? State::skip : State::header;
    return true;
  }
  if (left_ > kFrameLimit) return fail("a frame too large for us");
  if (left_ > 0) {
    state_ = State::collect;
    return true;
  }
  return whole_frame({}, handler);
}

// Bodies.

bool Http2Reader::begin_data(Handler& handler) {
  if (frame_.stream == 0) return fail("DATA without a stream");
  data_sent_ += frame_.length;
  padding_ = 0;
  pad_length_due_ = (frame_.flags & NGHTTP2_FLAG_PADDED) != 0;
  if (pad_length_due_ && left_ == 0) return fail("a padded frame without padding length");
  state_ = State::data;
  if (left_ > 0) return true;
  state_ = State::header;
  handler.data(frame_.stream, {}, (frame_.flags & NGHTTP2_FLAG_END_STREAM) != 0);
  return true;
}

bool Http2Reader::pass_data(std::string_view& bytes, Handler& handler) {
  if (pad_length_due_) {
    padding_ = static_cast<unsigned char>(bytes.front());
    bytes.remove_prefix(1);
    --left_;
    pad_length_due_ = false;
    if (padding_ > left_) return fail("more padding than frame");
  }
  const std::size_t here = std::min(left_, bytes.size());
  const std::size_t body = std::min(here, left_ - padding_);
  const bool last = here == left_;
  const bool ends = last && (frame_.flags & NGHTTP2_FLAG_END_STREAM) != 0;
  if (body > 0 || ends) handler.data(frame_.stream, bytes.substr(0, body), ends);
  padding_ -= here - body;
  left_ -= here;
  bytes.remove_prefix(here);
  if (last) state_ = State::header;
  return true;
}

// Everything else.

bool Http2Reader::whole_frame(std::string_view payload, Handler& handler) {
  state_ = State::header;
  switch (frame_.type) {
    case NGHTTP2_RST_STREAM:
      if (payload.size() != 4 || frame_.stream == 0) return fail("a malformed RST_STREAM");
      if (number_at(payload, 0, 4) == NGHTTP2_NO_ERROR) quiet_resets_.push_back(frame_at_);
      handler.reset(frame_.stream, number_at(payload, 0, 4));
      return true;
    case NGHTTP2_GOAWAY:
      if (payload.size() < 8) return fail("a malformed GOAWAY");
      handler.goaway(number_at(payload, 4, 4));
      return true;
    case NGHTTP2_SETTINGS:
      return settings(payload, handler);
    case NGHTTP2_WINDOW_UPDATE:
      data_allowed_ += stream_at(payload, 0);
      return true;
    default:
      return header_block(payload, handler);
  }
}

bool Http2Reader::settings(std::string_view payload, Handler& handler) {
  if (frame_.stream != 0) return fail("SETTINGS of a stream");
  if ((frame_.flags & NGHTTP2_FLAG_ACK) != 0) {
    if (unacknowledged_.empty()) return fail("an acknowledgement of SETTINGS that were not sent");
    const Http2Settings settings = unacknowledged_.front();
    unacknowledged_.pop_front();
    return settings_agreed(settings);
  }
  if (payload.size() % 6 != 0) return fail("malformed SETTINGS");
  handler.settings(parse_settings(payload));
  return true;
}

bool Http2Reader::within_limits(const Http2Settings& settings) {
  return settings.table_size.value_or(0) <= kTableLimit ||
         fail("a compression table too large for us");
}

bool Http2Reader::settings_sent(const Http2Settings& settings) {
  if (unacknowledged_.size() >= kUnacknowledged)
    return fail("too many SETTINGS without an acknowledgement");
  if (!within_limits(settings)) return false;
  unacknowledged_.push_back(settings);
  return true;
}

bool Http2Reader::settings_agreed(const Http2Settings& settings) {
  if (!within_limits(settings)) return false;
  push_ = settings.push.value_or(push_);
  initial_window_ = settings.window.value_or(initial_window_);
  if (settings.table_size &&
      nghttp2_hd_inflate_change_table_size(inflater_.get(), *settings.table_size) != 0)
    return fail("SETTINGS in the middle of a header block");
  return true;
}

/// HEADERS, PUSH_PROMISE or CONTINUATION.
bool Http2Reader::header_block(std::string_view payload, Handler& handler) {
  if (frame_.stream == 0) return fail("headers without a stream");
  const bool last = (frame_.flags & NGHTTP2_FLAG_END_HEADERS) != 0;
  if (frame_.type == NGHTTP2_CONTINUATION) {
    if (!in_block_) return fail("CONTINUATION of nothing");
    if (++block_frames_ > kBlockFrames) return fail("a header block of too many frames");
    return fragment(payload, last, handler);
  }
  if (frame_.type == NGHTTP2_PUSH_PROMISE && (side_ == Side::request || !push_))
    return fail("a push that is not allowed");
  const bool padded = (frame_.flags & NGHTTP2_FLAG_PADDED) != 0;
  const std::size_t padding =
      padded && !payload.empty() ? static_cast<unsigned char>(payload[0]) : 0;
  const bool priority =
      frame_.type == NGHTTP2_HEADERS && (frame_.flags & NGHTTP2_FLAG_PRIORITY) != 0;
  const std::size_t ahead =
      (padded ? 1U : 0U) + (priority ? 5U : 0U) + (frame_.type == NGHTTP2_PUSH_PROMISE ? 4U : 0U);
  if (ahead + padding > payload.size()) return fail("more padding than frame");
  promised_ = frame_.type == NGHTTP2_PUSH_PROMISE ? stream_at(payload, padded ? 1 : 0) : 0;
  in_block_ = true;
  block_stream_ = frame_.stream;
  block_ends_stream_ =
      frame_.type == NGHTTP2_HEADERS && (frame_.flags & NGHTTP2_FLAG_END_STREAM) != 0;
  block_frames_ = 1;
  return fragment(payload.substr(ahead, payload.size() - ahead - padding), last, handler);
}

bool Http2Reader::fragment(std::string_view bytes, bool last, Handler& handler) {
  if (!inflater_) return fail("out of memory");
  const auto* at = reinterpret_cast<const std::uint8_t*>(bytes.data());
  std::size_t left = bytes.size();
  for (;;) {
    nghttp2_nv nv;
    int flags = 0;
    const auto used = nghttp2_hd_inflate_hd2(inflater_.get(), &nv, &flags, at, left, last ? 1 : 0);
    if (used < 0) return fail("a header block that cannot be decompressed");
    at += used;
    left -= static_cast<std::size_t>(used);
    if ((flags & NGHTTP2_HD_INFLATE_EMIT) != 0) {
      if (!field(text_of(nv.name, nv.namelen), text_of(nv.value, nv.valuelen))) return false;
      if ((nv.flags & NGHTTP2_NV_FLAG_NO_INDEX) != 0) head_.never_indexed.push_back(fields_);
      ++fields_;
      continue;
    }
    if ((flags & NGHTTP2_HD_INFLATE_FINAL) != 0 || left == 0) break;
  }
  if (!last) return true;
  nghttp2_hd_inflate_end_headers(inflater_.get());
  in_block_ = false;
  if (promised_ != 0) {
    handler.promise(block_stream_, promised_, head_);
  } else {
    handler.headers(block_stream_, head_, block_ends_stream_);
  }
  head_ = {};
  fields_ = 0;
  return true;
}

bool Http2Reader::field(std::string_view name, std::string_view value) {
  if (head_.fields.bytes() + name.size() + value.size() > kFieldsLimit ||
      fields_ > kFieldsLimit / 32)
    return fail("header fields too large for us");
  if (name.starts_with(':')) return pseudo_field(name, value);
  head_.fields.add(name, value);
  return true;
}

/// An unknown one is malformed (RFC 9113 section 8.3), as both ends know.
bool Http2Reader::pseudo_field(std::string_view name, std::string_view value) {
  struct Known {
    std::string_view name;
    std::string Http2Head::*value;
    char letter;
  };
  static constexpr Known kKnown[] = {{":method", &Http2Head::method, 'm'},
                                     {":scheme", &Http2Head::scheme, 's'},
                                     {":authority", &Http2Head::authority, 'a'},
                                     {":path", &Http2Head::path, 'p'},
                                     {":protocol", &Http2Head::protocol, 'o'}};
  for (const Known& known : kKnown) {
    if (name != known.name) continue;
    head_.*known.value = value;
    head_.order += known.letter;
    return true;
  }
  head_.order += name == ":status" ? 't' : '?';
  if (name != ":status") return true;
  if (value.size() == 3) std::from_chars(value.data(), value.data() + value.size(), head_.status);
  return true;
}

}  // namespace mitm::http
