#include "mitm/format/source_buffer.h"

#include <algorithm>
#include <utility>

namespace mitm::format {

base::Result<bool> SourceBuffer::more() {
  constexpr std::size_t kPiece = 64U << 10U;
  if (ended_) return false;
  if (begin_ > buffer_.size() / 2) {
    dropped_ += begin_;
    buffer_.erase(0, std::exchange(begin_, 0));
  }
  const std::size_t before = buffer_.size();
  buffer_.resize(before + std::max(kPiece, std::min(before, std::size_t{4} << 20U)));
  auto read = source_(std::span<char>(buffer_).subspan(before));
  buffer_.resize(before + (read ? *read : 0));
  if (!read) return read.error();
  ended_ = *read == 0;
  return !ended_;
}

base::Result<> SourceBuffer::fill(std::size_t bytes) {
  while (view().size() < bytes) {
    auto any = more();
    if (!any) return any.error();
    if (!*any) break;
  }
  return {};
}

ByteSource source_of(std::shared_ptr<SourceBuffer> buffer) {
  return [buffer](std::span<char> out) -> base::Result<std::size_t> {
    if (buffer->view().empty()) {
      if (auto more = buffer->more(); !more) return more.error();
    }
    const std::string_view part = buffer->view().substr(0, out.size());
    std::copy(part.begin(), part.end(), out.begin());
    buffer->consume(part.size());
    return part.size();
  };
}

}  // namespace mitm::format
