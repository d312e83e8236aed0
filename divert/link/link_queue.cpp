#include "divert/link/link_queue.h"

#include <cerrno>
#include <utility>

namespace divert {

bool LinkQueue::push(std::string message, Kind kind, base::UniqueFd with) {
  if (kind == Kind::lossy && messages_.size() >= kMaxLossy) return false;
  if (bytes_ + message.size() > kMaxBytes) return false;
  bytes_ += message.size();
  if (descriptors_ >= kMaxDescriptors) with.reset();
  if (with) ++descriptors_;
  messages_.push_back({std::move(message), std::move(with)});
  return true;
}

bool LinkQueue::flush(MessageSocket& socket) {
  bool any = false;
  socket.flush();
  while (!messages_.empty()) {
    // A lasting failure: the worker has gone, and so may what was meant for it.
    const auto& [message, with] = messages_.front();
    const int error = socket.send(message, MessageSocket::Wait::no, with.get());
    if (error == EAGAIN) break;
    any = any || error == 0;
    bytes_ -= message.size();
    if (with) --descriptors_;
    messages_.pop_front();
  }
  return any;
}

}  // namespace divert
