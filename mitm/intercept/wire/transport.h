// One end of a connection of which nothing has been read yet.
#pragma once

#include <span>

#include <boost/asio/ip/tcp.hpp>

#include "divert/worker/connection.h"
#include "mitm/intercept/wire/byte_stream.h"

namespace mitm::intercept {

/// What carries a side's bytes, below TLS: a socket, or memory. First bytes can be looked at and
/// left where they are, so that others may still carry them.
class Transport : public ByteStream {
 public:
  using Socket = boost::asio::ip::tcp::socket;

  /// Another socket from here on; the present one is closed.
  virtual void replace(Socket socket) = 0;
  /// The socket without us.
  [[nodiscard]] virtual Socket release() = 0;
  /// Carries bytes between this one, the client's, and `server` until both directions have ended,
  /// and looks at none of them. Both are used up.
  virtual boost::asio::awaitable<divert::Outcome> relay_to(Transport& server) = 0;

  /// Like try_read(), but the bytes stay where they are.
  [[nodiscard]] virtual IoResult peek(std::span<char> into) = 0;
  /// Whether the peer has sent its FIN, behind what is yet to be read.
  [[nodiscard]] virtual bool has_end() const = 0;
  /// Waits for reading end when `bytes` are unread (SO_RCVLOWAT), not at the first one; 1 is
  /// normal.
  virtual void set_low_watermark(std::size_t bytes) = 0;
  /// Closing is an end in order: what was written last is still delivered.
  virtual void end_on_close() = 0;
  /// Notes the failure of what runs on it.
  virtual void set_failure(StreamFailure failure) = 0;
};

}  // namespace mitm::intercept
