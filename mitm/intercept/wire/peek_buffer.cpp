// Unread bytes first, then those from below.
#include "mitm/intercept/wire/peek_buffer.h"

#include <algorithm>
#include <cstring>

namespace mitm::intercept {

void PeekBuffer::set_below(ByteStream& below) {
  below_ = &below;
  received_ = false;
}

IoResult PeekBuffer::try_read(std::span<char> into) {
  if (unread_.empty()) return read_below(into);
  const auto given = std::min(unread_.size(), into.size());
  std::memcpy(into.data(), unread_.data(), given);
  unread_.erase(0, given);
  if (unread_.empty()) unread_.shrink_to_fit();
  return {IoResult::Status::ok, given};
}

IoResult PeekBuffer::read_below(std::span<char> into) {
  if (!read_end_.ok()) return read_end_;
  const IoResult result = below_->try_read(into);
  received_ = received_ || result.bytes > 0;
  if (!result.ok() && !result.blocked()) {
    read_end_ = result;
    ended_at_ = Clock::now();
  }
  return result;
}

PeekBuffer::Look PeekBuffer::look(std::span<char> scratch) {
  const IoResult result = read_below(scratch);
  unread_.append(scratch.data(), result.bytes);
  return {result, unread_};
}

}  // namespace mitm::intercept
