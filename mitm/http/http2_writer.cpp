#include "mitm/http/http2_writer.h"

#include <algorithm>
#include <utility>

#include <nghttp2/nghttp2.h>

namespace mitm::http {
namespace {

/// SETTINGS_MAX_FRAME_SIZE that holds without being said (RFC 9113 section 6.5.2).
constexpr std::size_t kFrame = 16 << 10;
/// What a table of ours occupies at most: the size that holds without being said.
constexpr std::uint32_t kTable = 4096;

void put_word(std::string& into, std::uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) into.push_back(static_cast<char>(value >> shift));
}

std::uint8_t* octets(std::string& text) {
  return reinterpret_cast<std::uint8_t*>(text.data());
}

}  // namespace

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
    const auto text = [](const std::string& of) {
      return const_cast<std::uint8_t*>(reinterpret_cast<const std::uint8_t*>(of.data()));
    };
    const auto flags =
        static_cast<std::uint8_t>(field.never_indexed ? NGHTTP2_NV_FLAG_NO_INDEX : 0);
    list.push_back({text(field.name), text(field.value), field.name.size(), field.value.size(),
                    flags});
  }
  std::string block(nghttp2_hd_deflate_bound(deflater_.get(), list.data(), list.size()), '\0');
  const auto size = nghttp2_hd_deflate_hd(deflater_.get(), octets(block), block.size(), list.data(),
                                          list.size());
  if (size < 0) return {};
  block.resize(static_cast<std::size_t>(size));
  return block;
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
  std::string frames;
  std::uint8_t type = NGHTTP2_HEADERS;
  std::size_t room = kFrame - priority.size();
  do {
    const std::string_view part = block.substr(0, room);
    block.remove_prefix(part.size());
    std::uint8_t flags = block.empty() ? NGHTTP2_FLAG_END_HEADERS : 0;
    if (type == NGHTTP2_HEADERS && ends_stream) flags |= NGHTTP2_FLAG_END_STREAM;
    if (!priority.empty()) flags |= NGHTTP2_FLAG_PRIORITY;
    frames += http2_frame_header(priority.size() + part.size(), type, flags, stream);
    frames.append(priority).append(part);
    priority = {};
    type = NGHTTP2_CONTINUATION;
    room = kFrame;
  } while (!block.empty());
  return frames;
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
