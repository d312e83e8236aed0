// Messages for a context of the worker that does not take them at once.
#pragma once

#include <cstddef>
#include <deque>
#include <string>

#include "base/fd.h"
#include "divert/link/message_socket.h"

namespace divert {

/// Bounded: a worker that does not read costs no more memory than this.
class LinkQueue {
 public:
  static constexpr std::size_t kMaxBytes = 8 << 20;
  /// Messages from which on those that may be lost are.
  static constexpr std::size_t kMaxLossy = 1000;

  enum class Kind : bool {
    needed,  ///< a connection waits for it
    lossy,   ///< only to be shown
  };
  /// Descriptors that may wait. One beyond them is closed, and its message goes without: the worker
  /// asks again.
  static constexpr std::size_t kMaxDescriptors = 256;
  /// False: there is no room, and it is dropped. `with` goes along.
  [[nodiscard]] bool push(std::string message, Kind kind, base::UniqueFd with = {});
  /// Sends as many as `socket` takes, and what it still has of an earlier one. True: at least one
  /// has gone.
  bool flush(MessageSocket& socket);

  /// Whether a descriptor would find room now: not worth making one otherwise.
  [[nodiscard]] bool takes_descriptor() const { return descriptors_ < kMaxDescriptors; }
  [[nodiscard]] bool empty() const { return messages_.empty(); }
  [[nodiscard]] std::size_t bytes() const { return bytes_; }

 private:
  struct Waiting {
    std::string message;
    base::UniqueFd with;
  };
  std::deque<Waiting> messages_;
  std::size_t descriptors_ = 0;
  std::size_t bytes_ = 0;
};

}  // namespace divert
