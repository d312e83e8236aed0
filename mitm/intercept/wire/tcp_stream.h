// A TCP socket as a stream of bytes.
#pragma once

#include <utility>

#include "mitm/intercept/wire/transport.h"

namespace mitm::intercept {

/// Owns the socket, which from now on ends with a reset when it is closed, however this process
/// ends, unless shutdown_write() or end_on_close() was called.
class TcpStream final : public Transport {
 public:
  explicit TcpStream(Socket socket);

  void replace(Socket socket) override;
  [[nodiscard]] Socket release() override { return std::move(socket_); }
  boost::asio::awaitable<divert::Outcome> relay_to(Transport& server) override;
  /// With MSG_PEEK: the bytes stay in the kernel.
  [[nodiscard]] IoResult peek(std::span<char> into) override;
  [[nodiscard]] bool has_end() const override;
  void set_low_watermark(std::size_t bytes) override;
  void end_on_close() override;
  void set_failure(StreamFailure failure) override { failure_ = std::move(failure); }

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
  [[nodiscard]] int fd() const { return const_cast<Socket&>(socket_).native_handle(); }
  void prepare();
  boost::asio::awaitable<bool> wait_for(Socket::wait_type type);
  boost::asio::awaitable<bool> wait_until(Socket::wait_type type, Clock::time_point limit);
  IoResult fail(int code);
  IoResult received(ssize_t got, std::size_t room);

  Socket socket_;
  StreamFailure failure_;
};

}  // namespace mitm::intercept
