// TLS on a transport, as its client or its server.
#pragma once

#include <string>
#include <string_view>

#include "mitm/intercept/wire/transport.h"
#include "mitm/tls/openssl.h"

namespace mitm::intercept {

/// Alert of RFC 9849, for which OpenSSL 3.0 has no name.
inline constexpr int kEchRequired = 121;

/// Not movable: OpenSSL points into it.
class TlsStream final : public ByteStream {
 public:
  /// `ssl` has its client or server state; `first`: bytes of the peer that have been read from
  /// `tcp`, which must outlive this.
  TlsStream(Transport& tcp, tls::SslPtr ssl, std::string first);
  ~TlsStream() override;

  boost::asio::awaitable<IoResult> handshake(Clock::duration limit);
  [[nodiscard]] SSL* ssl() const { return ssl_.get(); }

  /// The first bytes (at most 16) that came: TLS or not.
  [[nodiscard]] std::string_view first_bytes() const { return first_bytes_; }
  /// What to add to the text of failures from now on.
  void set_hint(std::string hint) { hint_ = std::move(hint); }

  IoResult try_read(std::span<char> into) override;
  IoResult try_write(std::string_view bytes) override;
  boost::asio::awaitable<bool> wait(IoResult last, Clock::time_point limit = kNoLimit) override {
    return tcp_.wait(last, limit);
  }
  boost::asio::awaitable<void> wait_until_failed() override { return tcp_.wait_until_failed(); }
  boost::asio::awaitable<void> wait_until_acknowledged() override {
    return tcp_.wait_until_acknowledged();
  }
  void cancel() override { tcp_.cancel(); }
  void shutdown_write(bool notify) override;
  void reset() override { tcp_.reset(); }
  [[nodiscard]] bool is_open() const override { return tcp_.is_open(); }
  [[nodiscard]] bool has_unsent() const override { return tcp_.has_unsent(); }
  [[nodiscard]] const StreamFailure& failure() const override { return tcp_.failure(); }
  [[nodiscard]] boost::asio::any_io_executor get_executor() override { return tcp_.get_executor(); }

 private:
  friend struct WireBio;
  using Status = IoResult::Status;

  [[nodiscard]] int wire_read(char* into, int size);
  [[nodiscard]] int wire_write(const char* bytes, int size);
  void begin_call();
  [[nodiscard]] IoResult result_of(int returned);
  [[nodiscard]] IoResult read_records(std::span<char> into);
  IoResult fail(std::string text, int reason);
  void release_write_buffer();

  Transport& tcp_;
  tls::SslPtr ssl_;
  std::string first_;  ///< read before the transport
  std::string first_bytes_;
  std::string hint_;
  const SSL_SESSION* session_ = nullptr;  ///< when the write buffer was released; for comparing
  IoResult read_end_;                 ///< met behind bytes that have been given: the next result
  Status wire_blocked_ = Status::ok;  ///< want_*: the last TLS call met a wire that was not ready
  std::size_t wire_left_ = 0;         ///< bytes that the TLS call may still read
  bool wire_ended_ = false;
  bool wire_failed_ = false;   ///< in the last TLS call
  bool wire_drained_ = false;  ///< the wire has nothing more until it is waited for
  bool wire_full_ = false;     ///< likewise it takes nothing more
  bool write_pending_ =
      false;  ///< the last write was blocked, and the next one goes on with it, or it failed
};

}  // namespace mitm::intercept
