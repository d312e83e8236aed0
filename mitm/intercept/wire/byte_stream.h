// Bytes in both directions between us and one other end: a socket, TLS on it, or memory.
#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

namespace mitm::intercept {

/// What came of an attempt to move bytes.
struct IoResult {
  enum class Status : std::uint8_t {
    ok,          ///< `bytes` were moved
    want_read,   ///< the stream must become readable first
    want_write,  ///< the stream must become writable first
    end,         ///< the peer has ended its direction (TLS: with close_notify)
    truncated,   ///< TLS only: FIN without close_notify
    failed,      ///< reset, TLS error, time limit, cancelled: see ByteStream::failure()
  };
  Status status = Status::ok;
  std::size_t bytes = 0;  ///< of a write also when it is blocked now
  bool drained = false;  ///< of a read: it took all there was, so waiting comes before the next one

  [[nodiscard]] bool ok() const { return status == Status::ok; }
  [[nodiscard]] bool blocked() const {
    return status == Status::want_read || status == Status::want_write;
  }
  [[nodiscard]] bool ended() const { return status == Status::end || status == Status::truncated; }
};

/// Why a stream has failed.
struct StreamFailure {
  /// A read or a write has failed, or a reset was noticed otherwise. What had come before can still
  /// be read; then reads fail.
  bool lost = false;
  std::string text;  ///< "connection reset by peer", "alert unknown ca"; empty: nothing has failed
  int tls_reason = 0;  ///< OpenSSL's reason code (SSL_R_...); 0: it was not TLS that failed
  int os_error = 0;    ///< errno of the system call that failed; 0: none did
};

/// try_* return at once. wait() lets the others of its io_context have their turn also when the
/// stream is ready. One coroutine reads, one writes.
class ByteStream {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr Clock::time_point kNoLimit = Clock::time_point::max();

  ByteStream() = default;
  ByteStream(const ByteStream&) = delete;
  ByteStream& operator=(const ByteStream&) = delete;
  virtual ~ByteStream() = default;

  /// Fills as much of `into` as is there now; with TLS perhaps less, when it comes in small
  /// records. An end or a failure stays what it is for all further reads.
  [[nodiscard]] virtual IoResult try_read(std::span<char> into) = 0;
  /// ok when all of `bytes` is written; when blocked, the next write must begin with the rest.
  [[nodiscard]] virtual IoResult try_write(std::string_view bytes) = 0;

  /// Until a read or write that ended as `last` can go on. False: cancelled, closed, or `limit` has
  /// come. True: ready, or an error that the next try_* reports.
  virtual boost::asio::awaitable<bool> wait(IoResult last, Clock::time_point limit = kNoLimit) = 0;
  /// Until the peer has reset the connection, which failure() then says; also returns without that
  /// (cancelled, closed, urgent data). For a stream that nothing reads from meanwhile.
  virtual boost::asio::awaitable<void> wait_until_failed() = 0;
  /// Until the other end's kernel has what was written, or has taken none of it for some seconds: a
  /// reset, or closing with something unread, takes back what it has not.
  virtual boost::asio::awaitable<void> wait_until_acknowledged() = 0;
  /// Ends all waits, with false. The stream stays open.
  virtual void cancel() = 0;

  /// Ends our direction: close_notify (if `notify` and TLS) and FIN. Never waits.
  virtual void shutdown_write(bool notify) = 0;
  /// Closes with RST.
  virtual void reset() = 0;

  [[nodiscard]] virtual bool is_open() const = 0;
  /// Whether the other end is slower than we write.
  [[nodiscard]] virtual bool has_unsent() const = 0;
  [[nodiscard]] virtual const StreamFailure& failure() const = 0;
  [[nodiscard]] virtual boost::asio::any_io_executor get_executor() = 0;
};

/// Until all is written; failed when it is not, also when a wait was cancelled.
boost::asio::awaitable<IoResult> write_all(ByteStream& to, std::string_view bytes);

/// Ends our direction in order and discards what still comes, so that the kernel does not answer it
/// with a reset that would destroy what we sent last.
boost::asio::awaitable<void> finish(ByteStream& stream, std::span<char> scratch,
                                    std::chrono::steady_clock::duration limit);

}  // namespace mitm::intercept
