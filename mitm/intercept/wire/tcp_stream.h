// A TCP socket as a stream of bytes.
#pragma once

#include <utility>

#include <boost/asio/ip/tcp.hpp>

#include "mitm/intercept/wire/byte_stream.h"

namespace mitm::intercept {

/// Owns the socket, which from now on ends with a reset when it is closed, however this process
/// ends, unless shutdown_write() or end_on_close() was called.
class TcpStream final : public ByteStream {
 public:
  using Socket = boost::asio::ip::tcp::socket;

  explicit TcpStream(Socket socket);
  /// Another socket from here on; the present one is closed.
  void replace(Socket socket);
  /// The socket without us.
  [[nodiscard]] Socket release() { return std::move(socket_); }
  [[nodiscard]] Socket& socket() { return socket_; }
  [[nodiscard]] int fd() const { return const_cast<Socket&>(socket_).native_handle(); }

  /// Like try_read(), but the bytes stay in the kernel, so that the socket can still be handed on.
  [[nodiscard]] IoResult peek(std::span<char> into);
  /// Whether the peer has sent its FIN, behind what is yet to be read.
  [[nodiscard]] bool has_end() const;
  /// Waits for reading end when `bytes` are unread (SO_RCVLOWAT), not at the first one; 1 is
  /// normal.
  void set_low_watermark(std::size_t bytes);
  /// Closing is an end in order: what was written last is still delivered.
  void end_on_close();

  /// Notes the errno of a system call that has failed.
  IoResult fail(int code);
  /// Notes the failure of what runs on the socket.
  void set_failure(StreamFailure failure) { failure_ = std::move(failure); }

  IoResult try_read(std::span<char> into) override;
  IoResult try_write(std::string_view bytes) override;
  boost::asio::awaitable<bool> wait(IoResult last, Clock::time_point limit) override;
  boost::asio::awaitable<void> wait_until_failed() override;
  boost::asio::awaitable<void> wait_until_acknowledged() override;
  void cancel() override;
  void shutdown_write(bool notify) override;
  void reset() override;
  [[nodiscard]] bool is_open() const override { return socket_.is_open(); }
  [[nodiscard]] bool has_unsent() const override;
  [[nodiscard]] const StreamFailure& failure() const override { return failure_; }
  [[nodiscard]] boost::asio::any_io_executor get_executor() override {
    return socket_.get_executor();
  }

 private:
  void prepare();
  IoResult received(ssize_t got, std::size_t room);

  Socket socket_;
  StreamFailure failure_;
};

/// Whether a system call with this errno is to be made again once the socket is ready.
[[nodiscard]] bool would_block(int code);

}  // namespace mitm::intercept
