#include "mitm/http/http2_writer.h"

#include <algorithm>
#include <utility>

#include <nghttp2/nghttp2.h>

#include "base/ascii.h"
#include "mitm/http/http2_frame.h"

namespace mitm::http {
namespace {

/// SETTINGS_MAX_FRAME_SIZE that holds without being said (RFC 9113 section 6.5.2).
constexpr std::size_t kFrame = 16 << 10;
/// What a table of ours occupies at most: the size that holds without being said.
constexpr std::uint32_t kTable = 4096;

void put_word(std::string& into, std::uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) into.push_back(static_cast<char>(value >> shift));
}

/// A block in as many frames as it takes. `ahead`: of the first one's payload, in front of it.
std::string block_frames(std::uint8_t type, std::uint8_t flags, std::uint32_t stream,
                         std::string_view ahead, std::string_view block) {
  std::string frames;
  do {
    const std::string_view part = block.substr(0, kFrame - ahead.size());
    block.remove_prefix(part.size());
    if (block.empty()) flags |= NGHTTP2_FLAG_END_HEADERS;
    frames += http2_frame_header(ahead.size() + part.size(), type, flags, stream);
    frames.append(ahead).append(part);
    type = NGHTTP2_CONTINUATION;
    flags = 0;
    ahead = {};
  } while (!block.empty());
  return frames;
}

std::uint8_t* octets(std::string& text) {
  return reinterpret_cast<std::uint8_t*>(text.data());
}

std::string_view pseudo_name(char letter) {
  switch (letter) {
    case 'm':
      return ":method";
    case 's':
      return ":scheme";
    case 'a':
      return ":authority";
    case 'p':
      return ":path";
    case 'o':
      return ":protocol";
    case 't':
      return ":status";
    default:
      return {};
  }
}

std::string_view pseudo_value(const Http2Head& head, char letter, std::string_view status) {
  switch (letter) {
    case 'm':
      return head.method;
    case 's':
      return head.scheme;
    case 'a':
      return head.authority;
    case 'p':
      return head.path;
    case 'o':
      return head.protocol;
    default:
      return status;
  }
}

}  // namespace

Http2Fields block_of(const Http2Head& head, std::string& status) {
  Http2Fields fields;
  fields.reserve(head.order.size() + head.fields.size());
  if (head.status != 0) status = std::to_string(head.status);
  for (const char letter : head.order)
    fields.push_back({pseudo_name(letter), pseudo_value(head, letter, status)});
  for (std::size_t i = 0; i < head.fields.size(); ++i)
    fields.push_back({head.fields[i].first, head.fields[i].second});
  for (const std::uint16_t place : head.never_indexed) {
    if (place < fields.size()) fields[place].never_indexed = true;
  }
  std::erase_if(fields, [](const Http2Field& field) { return field.name.empty(); });
  return fields;
}

Fields as_http2(const Fields& fields) {
  static constexpr std::string_view kOfConnection[] = {
      "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade"};
  Fields fit;
  fit.reserve(fields.size(), fields.bytes());
  for (std::size_t i = 0; i < fields.size(); ++i) {
    const std::string name = base::lowercase(fields[i].first);
    if (std::ranges::find(kOfConnection, name) == std::end(kOfConnection))
      fit.add(name, fields[i].second);
  }
  return fit;
}

void Http2Compressor::Free::operator()(nghttp2_hd_deflater* deflater) const {
  nghttp2_hd_deflate_del(deflater);
}

Http2Compressor::Http2Compressor(std::uint32_t table) : table_(std::min(table, kTable)) {
  nghttp2_hd_deflater* deflater = nullptr;
  if (nghttp2_hd_deflate_new(&deflater, kTable) == 0) deflater_.reset(deflater);
  if (!deflater_) return;
  // Both are told in front of the first block.
  nghttp2_hd_deflate_change_table_size(deflater_.get(), 0);
  nghttp2_hd_deflate_change_table_size(deflater_.get(), table_);
}

Http2Compressor::~Http2Compressor() = default;

void Http2Compressor::allow(std::uint32_t table) {
  const std::uint32_t allowed = std::min(table, kTable);
  if (std::exchange(table_, allowed) == allowed) return;
  if (deflater_) nghttp2_hd_deflate_change_table_size(deflater_.get(), table_);
}

std::string Http2Compressor::compress(const Http2Fields& fields) {
  if (!deflater_) return {};
  std::vector<nghttp2_nv> list;
  list.reserve(fields.size());
  for (const Http2Field& field : fields) {
    const auto text = [](std::string_view of) {
      return const_cast<std::uint8_t*>(reinterpret_cast<const std::uint8_t*>(of.data()));
    };
    const auto flags =
        static_cast<std::uint8_t>(field.never_indexed ? NGHTTP2_NV_FLAG_NO_INDEX : 0);
    list.push_back(
        {text(field.name), text(field.value), field.name.size(), field.value.size(), flags});
  }
  std::string block(nghttp2_hd_deflate_bound(deflater_.get(), list.data(), list.size()), '\0');
  const auto size =
      nghttp2_hd_deflate_hd(deflater_.get(), octets(block), block.size(), list.data(), list.size());
  if (size < 0) return {};
  block.resize(static_cast<std::size_t>(size));
  return block;
}

std::string Http2Compressor::compress(const Http2Head& head) {
  std::string status;
  return compress(block_of(head, status));
}

std::string http2_frame_header(std::size_t length, std::uint8_t type, std::uint8_t flags,
                               std::uint32_t stream) {
  std::string header;
  put_word(header, static_cast<std::uint32_t>(length) << 8 | type);
  header.push_back(static_cast<char>(flags));
  put_word(header, stream);
  return header;
}

std::string http2_headers(std::uint32_t stream, std::string_view block, bool ends_stream,
                          std::string_view priority) {
  std::uint8_t flags = ends_stream ? NGHTTP2_FLAG_END_STREAM : 0;
  if (!priority.empty()) flags |= NGHTTP2_FLAG_PRIORITY;
  return block_frames(NGHTTP2_HEADERS, flags, stream, priority, block);
}

std::string http2_promise(std::uint32_t stream, std::uint32_t promised, std::string_view block) {
  std::string ahead;
  put_word(ahead, promised);
  return block_frames(NGHTTP2_PUSH_PROMISE, 0, stream, ahead, block);
}

void http2_renumber(std::string& frames, std::uint32_t stream) {
  for (std::size_t at = 0; at + kFrameHeader <= frames.size();) {
    put_number(frames, at + kFrameHeader - 4, stream);
    at += kFrameHeader + number_at(frames, at, 3);
  }
}

std::string http2_reset(std::uint32_t stream, std::uint32_t code) {
  std::string frame = http2_frame_header(4, NGHTTP2_RST_STREAM, 0, stream);
  put_word(frame, code);
  return frame;
}

std::string http2_window_update(std::uint32_t stream, std::uint32_t increment) {
  std::string frame = http2_frame_header(4, NGHTTP2_WINDOW_UPDATE, 0, stream);
  put_word(frame, increment);
  return frame;
}

}  // namespace mitm::http
