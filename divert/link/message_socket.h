// Messages between two processes of ours: each arrives whole, in order, and the death of the other
// end is an end of file.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include <sys/types.h>

#include "base/error.h"
#include "base/fd.h"

namespace divert {

/// One end. On Linux a SOCK_SEQPACKET socket; on macOS and FreeBSD a stream, with the length of
/// each message in front. Sending and receiving may be done by two threads; each of them by one at
/// a time.
class MessageSocket {
 public:
  struct Pair;
  /// close-on-exec and blocking.
  [[nodiscard]] static base::Result<Pair> make_pair();

  MessageSocket() = default;
  explicit MessageSocket(base::UniqueFd socket) : socket_(std::move(socket)) {}

  [[nodiscard]] int descriptor() const { return socket_.get(); }

  enum class Wait : bool { no, yes };
  /// 0: taken; EAGAIN: no room for it now (also with Wait::yes, when the descriptor is
  /// non-blocking); else errno of a lasting failure. `message` is not empty, and has at most
  /// kMaxMessage bytes. `with`: a copy of this descriptor goes along (Linux only).
  [[nodiscard]] int send(std::string_view message, Wait wait, int with = -1);
  /// Bytes of a message that is now in `buffer`; 0: the other end is gone; -1: errno (EAGAIN: none
  /// there yet). `buffer` has room for kMaxMessage bytes. `with`: a descriptor that came along,
  /// close-on-exec; null: none is taken.
  [[nodiscard]] ssize_t receive(std::span<char> buffer, Wait wait, base::UniqueFd* with = nullptr);

  /// True: the end of a message that was taken is still here. It leaves by flush(), once the
  /// descriptor is writable, or before the next message.
  [[nodiscard]] bool pending() const { return !unsent_.empty(); }
  void flush();

 private:
  base::UniqueFd socket_;
  std::string unsent_;
  std::string arriving_;  ///< a message's length and beginning
};

struct MessageSocket::Pair {
  MessageSocket ours;
  MessageSocket theirs;
};

}  // namespace divert
