#include "divert/link_queue.h"

#include <cerrno>
#include <utility>

namespace divert {

bool LinkQueue::push(std::string message, Kind kind) {
  if (kind == Kind::lossy && messages_.size() >= kMaxLossy) return false;
  if (bytes_ + message.size() > kMaxBytes) return false;
  bytes_ += message.size();
  messages_.push_back(std::move(message));
  return true;
}

bool LinkQueue::flush(MessageSocket& socket) {
  bool any = false;
  socket.flush();
  while (!messages_.empty()) {
    // A lasting failure: the worker has gone, and so may what was meant for it.
    const int error = socket.send(messages_.front(), MessageSocket::Wait::no);
    if (error == EAGAIN) break;
    any = any || error == 0;
    bytes_ -= messages_.front().size();
    messages_.pop_front();
  }
  return any;
}

}  // namespace divert
