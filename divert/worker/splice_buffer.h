// What relaying does in each system's own way: bytes from socket to socket, and hearing of a failed
// socket that is not being read.
#pragma once

#include <cerrno>
#include <cstddef>
#include <vector>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>

#include "base/fd.h"

namespace divert {

/// What a call on a socket did: bytes (0: end of the stream) or errno.
struct Moved {
  std::size_t bytes = 0;
  int error = 0;

  [[nodiscard]] bool must_wait() const { return error == EAGAIN || error == EWOULDBLOCK; }
};

/// Sockets are non-blocking. The bytes of one direction that are on their way: in a pipe, where
/// splice(2) moves them, or in a buffer.
class Transit {
 public:
  Transit() = default;
  Transit(const Transit&) = delete;
  Transit& operator=(const Transit&) = delete;
  ~Transit() { release(); }

  /// Takes what `source` has; nothing may be held.
  Moved fill(int source);
  /// The same through memory: splice(2) stops for ever in front of urgent data, recv(2) does not.
  Moved copy(int source);
  /// Gives `sink` what it takes of held().
  Moved drain(int sink);
  [[nodiscard]] std::size_t held() const { return held_; }
  /// To be called before any wait for more: an idle direction has no pipe and no buffer.
  void release();

 private:
  Moved unspliced(int sink);

  base::Pipe pipe_;
  std::vector<char> buffer_;
  std::size_t held_ = 0;
  std::size_t begin_ = 0;  ///< of the held bytes in buffer_
  bool in_buffer_ = false;
  bool copies_ = false;  ///< a socket that splice(2) refused
};

/// Once per thread that relays.
void prepare_thread();

/// errno of each side that has failed, or whose wait has ended otherwise.
struct Failures {
  int source = 0;
  int sink = 0;
};

/// Until `sink` has room. A `source` that is reset meanwhile is noticed, though it is not read
/// now.
boost::asio::awaitable<Failures> until_room(boost::asio::ip::tcp::socket& sink,
                                            boost::asio::ip::tcp::socket& source);

/// Until `socket`, which is not being read, has failed, or is closed, or tells something else that
/// is no failure (0).
boost::asio::awaitable<int> until_failed(boost::asio::ip::tcp::socket& socket);

}  // namespace divert
