// One side of an intercepted connection: a socket, and TLS on it once it has been agreed on.
#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>

#include "mitm/tls/openssl.h"

namespace mitm::intercept {

/// Alert of RFC 9849, for which OpenSSL 3.0 has no name.
inline constexpr int kEchRequired = 121;

/// What came of an attempt to move bytes.
struct IoResult {
  enum class Status : std::uint8_t {
    ok,          ///< `bytes` were moved
    want_read,   ///< the socket must become readable first
    want_write,  ///< the socket must become writable first
    end,         ///< the peer has ended its direction (TLS: with close_notify)
    truncated,   ///< TLS only: FIN without close_notify
    failed,      ///< reset, TLS error, time limit, cancelled: see Channel::failure()
  };
  Status status = Status::ok;
  std::size_t bytes = 0;  ///< of a write also when it is blocked now

  [[nodiscard]] bool ok() const { return status == Status::ok; }
  [[nodiscard]] bool blocked() const {
    return status == Status::want_read || status == Status::want_write;
  }
  [[nodiscard]] bool ended() const { return status == Status::end || status == Status::truncated; }
};

/// Owns the socket, which from now on ends with a reset when it is closed, however this process
/// ends, unless shutdown_write() or end_on_close() was called. Holds no buffer while nothing is
/// pending. Not movable: OpenSSL points into it. try_* return at once; the awaitables suspend only
/// when the socket is not ready. One coroutine reads, one writes.
class Channel {
 public:
  using Socket = boost::asio::ip::tcp::socket;

  explicit Channel(Socket socket);
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;
  ~Channel();

  /// Closed until now, or no longer needed: another one from here on. Plain channels only.
  void replace(Socket socket);

  /// From now on bytes go through `ssl`, whose client or server state the caller has set. What was
  /// pushed back is read by TLS first.
  void start_tls(tls::SslPtr ssl);
  [[nodiscard]] SSL* ssl() const { return ssl_.get(); }

  /// Bytes that the next reads give before anything from the peer.
  void push_back(std::string_view bytes);
  [[nodiscard]] bool has_pushed_back() const { return !unread_.empty(); }
  /// What was pushed back, for somebody else to pass on; release() may follow.
  [[nodiscard]] std::string take_pushed_back() { return std::exchange(unread_, {}); }

  /// All that is unread, without consuming it.
  struct Look {
    IoResult result;         ///< of the attempt to see more
    std::string_view bytes;  ///< valid until the next call
  };
  /// `leave`: the bytes stay in the kernel (plain channels; at most `scratch`.size() of them are
  /// seen), so that the socket can still be handed on. Else they are read and pushed back.
  [[nodiscard]] Look look(std::span<char> scratch, bool leave);

  /// Fills as much of `into` as is there now; with TLS perhaps less, when it comes in small
  /// records.
  [[nodiscard]] IoResult try_read(std::span<char> into);
  /// Whether the last try_read took all there was: waiting comes before the next one.
  [[nodiscard]] bool drained() const { return drained_; }
  /// ok when all of `bytes` is written; when blocked, the next write must begin with the rest.
  [[nodiscard]] IoResult try_write(std::string_view bytes);

  /// False: cancelled or closed. True: ready, or an error that the next try_* reports.
  boost::asio::awaitable<bool> wait_readable();
  boost::asio::awaitable<bool> wait_writable();
  /// Until a read or write that was `blocked` can go on.
  boost::asio::awaitable<bool> wait(IoResult blocked);
  /// As above; false also when `when` has come.
  boost::asio::awaitable<bool> wait_until(IoResult blocked,
                                          std::chrono::steady_clock::time_point when);

  boost::asio::awaitable<IoResult> handshake(std::chrono::steady_clock::duration limit);
  /// When `other` (where the bytes come from, which nobody reads meanwhile) is reset, they are
  /// still written as long as this side takes any: failed, with other.failure() set, once it has
  /// taken none for some seconds.
  boost::asio::awaitable<IoResult> write_all(std::string_view bytes, Channel* other = nullptr);
  /// Ends our direction in order and reads off what still comes, so that the kernel does not answer
  /// it with a reset that would destroy what we sent last.
  boost::asio::awaitable<void> finish(std::span<char> scratch,
                                      std::chrono::steady_clock::duration limit);

  /// Ends our direction: close_notify (if `notify` and TLS) and FIN. Never waits.
  void shutdown_write(bool notify);
  /// Closing is an end in order: what was written last is still delivered.
  void end_on_close();
  /// Whether the other end has ended its direction (FIN), behind whatever is yet to be read.
  [[nodiscard]] bool has_end() const;
  /// Wakes whoever waits, with false. The socket stays open.
  void cancel();
  /// Until the other end's kernel has what was written, or has taken none of it for some seconds: a
  /// reset, or closing with something unread, takes back what it has not.
  boost::asio::awaitable<void> wait_until_acknowledged();
  /// Whether the other end is slower than we write.
  [[nodiscard]] bool has_unsent();
  /// Closes with RST.
  void reset();
  /// The socket without us. Plain channels only, with nothing pushed back.
  [[nodiscard]] Socket release() { return std::move(socket_); }

  /// Whether a read or a write has failed, or a reset was noticed otherwise. What had come before
  /// can still be read; then reads fail.
  [[nodiscard]] bool lost() const { return lost_; }
  /// Why a call failed: "connection reset by peer", "alert unknown ca". Empty: none did.
  [[nodiscard]] const std::string& failure() const { return failure_; }
  /// OpenSSL's reason code of the failure (SSL_R_...), 0 when it was not TLS that failed.
  [[nodiscard]] int tls_reason() const { return tls_reason_; }
  /// errno of the system call that a TLS call failed with, 0: none did.
  [[nodiscard]] int os_error() const { return wire_error_; }
  /// Whether a read has given anything yet (with TLS: inside it), and when reading was over; max():
  /// it is not.
  [[nodiscard]] bool heard() const { return heard_; }
  [[nodiscard]] std::chrono::steady_clock::time_point ended_at() const { return ended_at_; }
  /// The first bytes (at most 16) that came once TLS had been started: TLS or not.
  [[nodiscard]] std::string_view first_heard() const { return first_heard_; }
  /// What to add to failure() when TLS fails from now on.
  void set_hint(std::string hint) { hint_ = std::move(hint); }
  [[nodiscard]] Socket& socket() { return socket_; }
  /// Waits for reading end when `bytes` are unread (SO_RCVLOWAT), not at the first one; 1 is
  /// normal.
  void set_low_watermark(std::size_t bytes);

 private:
  friend struct WireBio;
  using Status = IoResult::Status;

  void prepare();
  [[nodiscard]] int wire_read(char* into, int size);
  [[nodiscard]] int wire_write(const char* bytes, int size);
  [[nodiscard]] IoResult read_peer(std::span<char> into);
  [[nodiscard]] IoResult read_tls(std::span<char> into);
  [[nodiscard]] IoResult write_tls(std::string_view bytes);
  [[nodiscard]] IoResult tls_result(int returned);
  [[nodiscard]] IoResult system_result(int code, Status when_blocked);
  void end_reading(IoResult how);
  void begin_tls_call();
  boost::asio::awaitable<bool> wait_writable_watching(Channel& other);
  IoResult lose(IoResult result);

  Socket socket_;
  tls::SslPtr ssl_;
  std::string unread_;  ///< read before anything else
  std::string wire_;    ///< read by TLS before the socket
  std::string failure_;
  std::string hint_;
  std::string first_heard_;
  bool heard_ = false;
  bool lost_ = false;
  std::chrono::steady_clock::time_point ended_at_ = std::chrono::steady_clock::time_point::max();
  IoResult read_end_;  ///< once reading is over: what every further read says
  int tls_reason_ = 0;
  int wire_error_ = 0;                ///< errno of the last system call made for TLS
  Status wire_blocked_ = Status::ok;  ///< want_*: the last TLS call met a socket that was not ready
  std::size_t wire_left_ = 0;         ///< bytes that the TLS call may still read
  bool wire_ended_ = false;
  bool drained_ = false;
};

}  // namespace mitm::intercept
