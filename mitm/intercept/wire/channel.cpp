// Sockets and OpenSSL without anything in between: TLS reads and writes the descriptor itself
// through a BIO of our own. Asio's ssl::stream would keep two buffers of 17 KiB per side and copy
// every byte twice more.
#include "mitm/intercept/wire/channel.h"

#include <cerrno>
#include <cstring>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/experimental/parallel_group.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <openssl/err.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "divert/worker/relay.h"
#include "divert/worker/send_queue.h"
#include "divert/worker/splice_buffer.h"

namespace mitm::intercept {
namespace {

namespace asio = boost::asio;
using asio::awaitable;
using Clock = std::chrono::steady_clock;
constexpr std::size_t kFinishBytes = 1 << 20;
/// What one TLS call may read of the wire beyond what it gives. OpenSSL itself goes on as long as
/// there are records that carry nothing for us (KeyUpdate of 27 bytes, tickets), each of which
/// costs it ten microseconds or more, and a record of one byte costs as much as one of 64. One
/// record of full size must fit.
constexpr std::size_t kWireBytes = 24 << 10;
constexpr std::size_t kFirstHeard = 16;
constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);

bool would_block(int code) {
  return code == EAGAIN || code == EWOULDBLOCK;
}

/// "tlsv1 alert unknown ca" is "alert unknown ca" to whoever reads it.
std::string readable_reason(unsigned long code) {
  const char* reason = ERR_reason_error_string(code);
  const int number = ERR_GET_REASON(code) - SSL_AD_REASON_OFFSET;
  if (number == kEchRequired)
    return "alert ech_required: its ClientHello was encrypted (ECH), which osproxy cannot "
           "decrypt; programs connect again without ECH then";
  if (reason == nullptr && number >= 0 && number < 256)
    return fmt::format("alert number {}", number);
  if (reason == nullptr) return fmt::format("TLS error {:#x}", code);
  const char* alert = std::strstr(reason, "alert ");
  if (alert != nullptr) return alert;
  // "tlsv1 unrecognized name" is an alert as well.
  const char* space = number >= 0 && number < 256 ? std::strchr(reason, ' ') : nullptr;
  return space != nullptr ? fmt::format("alert{}", space) : reason;
}

}  // namespace

/// The BIO's callbacks. Its data is the channel.
struct WireBio {
  static Channel& channel(BIO* bio) { return *static_cast<Channel*>(BIO_get_data(bio)); }

  static int read(BIO* bio, char* into, int size) {
    BIO_clear_retry_flags(bio);
    const int got = channel(bio).wire_read(into, size);
    if (got < 0 && channel(bio).wire_blocked_ != IoResult::Status::ok) BIO_set_retry_read(bio);
    return got;
  }
  static int write(BIO* bio, const char* bytes, int size) {
    BIO_clear_retry_flags(bio);
    const int put = channel(bio).wire_write(bytes, size);
    if (put < 0 && channel(bio).wire_blocked_ != IoResult::Status::ok) BIO_set_retry_write(bio);
    return put;
  }
  static long control(BIO*, int command, long, void*) {
    // Not BIO_CTRL_EOF: OpenSSL would answer an end without close_notify with a fatal alert, and
    // the other direction could not go on.
    return command == BIO_CTRL_FLUSH ? 1 : 0;
  }
  static int create(BIO* bio) {
    BIO_set_init(bio, 1);
    return 1;
  }

  static const BIO_METHOD* method() {
    using Method = std::unique_ptr<BIO_METHOD, tls::Deleter<BIO_meth_free>>;
    static const Method one = [] {
      Method made{BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "osproxy channel")};
      BIO_meth_set_read(made.get(), read);
      BIO_meth_set_write(made.get(), write);
      BIO_meth_set_ctrl(made.get(), control);
      BIO_meth_set_create(made.get(), create);
      return made;
    }();
    return one.get();
  }
};

Channel::Channel(Socket socket) : socket_(std::move(socket)) {
  prepare();
}

void Channel::prepare() {
  boost::system::error_code ignored;
  socket_.non_blocking(true, ignored);
  divert::reset_on_close(socket_.native_handle());
}

void Channel::replace(Socket socket) {
  socket_ = std::move(socket);
  prepare();
  drained_ = false;
}

Channel::~Channel() {
  // Else OpenSSL takes the end for an attack and makes the session unusable for resumption.
  if (ssl_) SSL_set_shutdown(ssl_.get(), SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
}

void Channel::start_tls(tls::SslPtr ssl) {
  ssl_ = std::move(ssl);
  wire_ = std::exchange(unread_, {});
  heard_ = false;
  first_heard_.clear();
  BIO* bio = BIO_new(WireBio::method());
  BIO_set_data(bio, this);
  SSL_set_bio(ssl_.get(), bio, bio);
}

void Channel::push_back(std::string_view bytes) {
  unread_.insert(0, bytes);
  drained_ = false;
}

int Channel::wire_read(char* into, int size) {
  if (!wire_.empty()) {
    const auto given = std::min(wire_.size(), static_cast<std::size_t>(size));
    std::memcpy(into, wire_.data(), given);
    wire_.erase(0, given);
    if (wire_.empty()) wire_.shrink_to_fit();
    return static_cast<int>(given);
  }
  if (drained_ || wire_left_ == 0) {
    wire_blocked_ = Status::want_read;  // waiting ends at once if there is more
    return -1;
  }
  const std::size_t room = std::min(wire_left_, static_cast<std::size_t>(size));
  const auto got = ::recv(socket_.native_handle(), into, room, 0);
  // After less than asked for there is nothing more: waiting for readiness sees what came since.
  drained_ = got < static_cast<ssize_t>(room);
  if (got > 0) wire_left_ -= static_cast<std::size_t>(got);
  if (got > 0 && first_heard_.size() < kFirstHeard)
    first_heard_.append(into,
                        std::min(kFirstHeard - first_heard_.size(), static_cast<std::size_t>(got)));
  if (got == 0) wire_ended_ = true;
  if (got < 0) wire_error_ = errno;
  if (got < 0 && would_block(errno)) wire_blocked_ = Status::want_read;
  return static_cast<int>(got);
}

int Channel::wire_write(const char* bytes, int size) {
  const auto put =
      ::send(socket_.native_handle(), bytes, static_cast<std::size_t>(size), base::kNoSignal);
  if (put < 0) wire_error_ = errno;
  if (put < 0 && would_block(errno)) wire_blocked_ = Status::want_write;
  return static_cast<int>(put);
}

void Channel::begin_tls_call() {
  ERR_clear_error();
  wire_blocked_ = Status::ok;
  wire_error_ = 0;
  wire_left_ = kWireBytes;
}

IoResult Channel::system_result(int code, Status when_blocked) {
  if (would_block(code)) return {when_blocked, 0};
  failure_ = std::strerror(code);
  if (!failure_.empty() && failure_[0] >= 'A' && failure_[0] <= 'Z') failure_[0] |= 0x20;
  return {Status::failed, 0};
}

/// What a TLS call that did not succeed means.
IoResult Channel::tls_result(int returned) {
  if (wire_blocked_ != Status::ok) return {wire_blocked_, 0};
  const int error = SSL_get_error(ssl_.get(), returned);
  const unsigned long code = ERR_peek_error();
  ERR_clear_error();
  if (error == SSL_ERROR_ZERO_RETURN) return {Status::end, 0};
  if (wire_error_ != 0) return system_result(wire_error_, Status::failed);
  if (wire_ended_ && (code == 0 || ERR_GET_REASON(code) == SSL_R_UNEXPECTED_EOF_WHILE_READING)) {
    if (!lost_) failure_ = "connection closed without close_notify";
    return {Status::truncated, 0};
  }
  tls_reason_ = ERR_GET_REASON(code);
  failure_ = readable_reason(code);
  if (!hint_.empty()) failure_.append("; ").append(hint_);
  return {Status::failed, 0};
}

IoResult Channel::try_read(std::span<char> into) {
  if (unread_.empty()) return read_peer(into);
  const auto given = std::min(unread_.size(), into.size());
  std::memcpy(into.data(), unread_.data(), given);
  unread_.erase(0, given);
  if (unread_.empty()) unread_.shrink_to_fit();
  drained_ = false;
  return {Status::ok, given};
}

IoResult Channel::read_peer(std::span<char> into) {
  if (!read_end_.ok()) return lose(read_end_);
  drained_ = false;
  IoResult result;
  if (ssl_) {
    result = read_tls(into);
  } else {
    const auto got = ::recv(socket_.native_handle(), into.data(), into.size(), 0);
    if (got > 0) result.bytes = static_cast<std::size_t>(got);
    if (got == 0) result = {Status::end, 0};
    if (got < 0) result = system_result(errno, Status::want_read);
    drained_ = got < static_cast<ssize_t>(into.size());
  }
  heard_ = heard_ || result.bytes > 0;
  // The failure has been told, and the socket looks cleanly closed since. Only close_notify is
  // beyond doubt.
  const bool clean = ssl_ && result.status == Status::end;
  if (lost_ && !result.ok() && !clean) result = {Status::failed, 0};
  if (!result.ok() && !result.blocked()) end_reading(result);
  return lose(result);
}

void Channel::end_reading(IoResult how) {
  read_end_ = how;
  ended_at_ = std::min(ended_at_, Clock::now());
}

IoResult Channel::read_tls(std::span<char> into) {
  begin_tls_call();
  std::size_t total = 0;
  while (total < into.size()) {
    std::size_t got = 0;
    const int returned = SSL_read_ex(ssl_.get(), into.data() + total, into.size() - total, &got);
    total += got;
    wire_left_ += got;
    if (returned == 1) continue;
    const IoResult stopped = tls_result(returned);
    drained_ = stopped.blocked();
    if (total == 0) return stopped;
    if (!stopped.blocked()) end_reading(stopped);
    return {Status::ok, total};
  }
  drained_ = false;
  return {Status::ok, total};
}

/// If `result` says so.
IoResult Channel::lose(IoResult result) {
  lost_ = lost_ || result.status == Status::failed;
  return result;
}

IoResult Channel::try_write(std::string_view bytes) {
  if (ssl_) return write_tls(bytes);
  std::size_t total = 0;
  while (total < bytes.size()) {
    const auto put = ::send(socket_.native_handle(), bytes.data() + total, bytes.size() - total,
                            base::kNoSignal);
    if (put < 0) {
      IoResult stopped = system_result(errno, Status::want_write);
      stopped.bytes = total;
      return lose(stopped);
    }
    total += static_cast<std::size_t>(put);
  }
  return {Status::ok, total};
}

IoResult Channel::write_tls(std::string_view bytes) {
  begin_tls_call();
  std::size_t total = 0;
  while (total < bytes.size()) {
    std::size_t put = 0;
    const int returned = SSL_write_ex(ssl_.get(), bytes.data() + total, bytes.size() - total, &put);
    total += put;
    if (returned == 1) continue;
    IoResult stopped = tls_result(returned);
    if (stopped.ended()) stopped.status = Status::failed;
    stopped.bytes = total;
    return lose(stopped);
  }
  return {Status::ok, total};
}

Channel::Look Channel::look(std::span<char> scratch, bool leave) {
  if (leave && !ssl_ && unread_.empty()) {
    const auto got = ::recv(socket_.native_handle(), scratch.data(), scratch.size(), MSG_PEEK);
    if (got < 0) {
      const IoResult stopped = system_result(errno, Status::want_read);
      if (!stopped.blocked()) read_end_ = stopped;  // the kernel says it once
      return {stopped, {}};
    }
    return {{got == 0 ? Status::end : Status::ok, 0},
            {scratch.data(), static_cast<std::size_t>(got)}};
  }
  const IoResult result = read_peer(scratch);
  unread_.append(scratch.data(), result.bytes);
  return {result, unread_};
}

awaitable<bool> Channel::wait_readable() {
  const auto [error] = co_await socket_.async_wait(Socket::wait_read, kAwait);
  co_return !error;
}

awaitable<bool> Channel::wait_writable() {
  const auto [error] = co_await socket_.async_wait(Socket::wait_write, kAwait);
  co_return !error;
}

awaitable<bool> Channel::wait(IoResult blocked) {
  return blocked.status == Status::want_write ? wait_writable() : wait_readable();
}

/// With an end, once `other` is reset.
awaitable<bool> Channel::wait_writable_watching(Channel& other) {
  if (!other.lost_) {
    const auto failed = co_await divert::until_room(socket_, other.socket_);
    if (failed.source == 0) co_return failed.sink == 0;
    if (failed.source == ECANCELED || !other.socket_.is_open()) co_return co_await wait_writable();
    other.lose(other.system_result(failed.source, Status::failed));
  }
  const IoResult blocked{Status::want_write, 0};
  co_return co_await wait_until(blocked, Clock::now() + divert::kDeliveryTimeout);
}

awaitable<bool> Channel::wait_until(IoResult blocked, Clock::time_point when) {
  namespace ex = asio::experimental;
  asio::steady_timer timer{socket_.get_executor(), when};
  const auto type = blocked.status == Status::want_write ? Socket::wait_write : Socket::wait_read;
  const auto [order, ready, late] =
      co_await ex::make_parallel_group(socket_.async_wait(type, asio::deferred),
                                       timer.async_wait(asio::deferred))
          .async_wait(ex::wait_for_one(), asio::use_awaitable);
  co_return order[0] == 0 && !ready;
}

awaitable<IoResult> Channel::handshake(Clock::duration limit) {
  const auto deadline = Clock::now() + limit;
  for (;;) {
    begin_tls_call();
    drained_ = false;
    const int returned = SSL_do_handshake(ssl_.get());
    if (returned == 1) co_return IoResult{};
    const IoResult stopped = tls_result(returned);
    if (!stopped.blocked()) co_return stopped;
    if (!co_await wait_until(stopped, deadline)) {
      failure_ = Clock::now() >= deadline ? "no answer for too long" : "cancelled";
      co_return IoResult{Status::failed, 0};
    }
  }
}

awaitable<IoResult> Channel::write_all(std::string_view bytes, Channel* other) {
  for (;;) {
    const IoResult put = try_write(bytes);
    if (!put.blocked()) co_return put;
    bytes.remove_prefix(put.bytes);
    bool go_on = false;
    if (put.status == Status::want_read) {
      go_on = co_await wait_readable();
    } else if (other != nullptr) {
      go_on = co_await wait_writable_watching(*other);
    } else {
      go_on = co_await wait_writable();
    }
    if (!go_on) co_return IoResult{Status::failed, 0};
  }
}

awaitable<void> Channel::finish(std::span<char> scratch, Clock::duration limit) {
  const auto deadline = Clock::now() + limit;
  shutdown_write(true);
  for (std::size_t total = 0; total < kFinishBytes;) {
    const IoResult got = try_read(scratch);
    if (!got.ok() && !got.blocked()) co_return;
    total += got.bytes;
    if (got.ok() && !drained()) continue;
    if (!co_await wait_until(got, deadline)) co_return;
  }
}

void Channel::shutdown_write(bool notify) {
  if (!socket_.is_open()) return;
  const bool said = ssl_ && (SSL_get_shutdown(ssl_.get()) & SSL_SENT_SHUTDOWN) != 0;
  if (notify && ssl_ && !said && SSL_is_init_finished(ssl_.get())) {
    begin_tls_call();
    SSL_shutdown(ssl_.get());
    ERR_clear_error();
  }
  boost::system::error_code error;
  socket_.shutdown(Socket::shutdown_send, error);
  if (!error) end_on_close();
}

void Channel::end_on_close() {
  if (socket_.is_open()) divert::end_on_close(socket_.native_handle());
}

bool Channel::has_end() const {
#ifdef POLLRDHUP
  constexpr short kEnd = POLLRDHUP;
#else
  constexpr short kEnd = POLLHUP;  // XNU: of a direction
#endif
  pollfd ask{const_cast<Socket&>(socket_).native_handle(), kEnd, 0};
  return ::poll(&ask, 1, 0) > 0 && (ask.revents & (kEnd | POLLHUP | POLLERR)) != 0;
}

void Channel::cancel() {
  boost::system::error_code ignored;
  if (socket_.is_open()) socket_.cancel(ignored);
}

void Channel::reset() {
  if (!socket_.is_open()) return;
  boost::system::error_code ignored;
  divert::reset_on_close(socket_.native_handle());
  socket_.close(ignored);
}

awaitable<void> Channel::wait_until_acknowledged() {
  if (lost_) co_return;
  const int error = co_await divert::until_acknowledged(socket_);
  if (error != 0) lose(system_result(error, Status::failed));
}

bool Channel::has_unsent() {
  return socket_.is_open() && divert::unsent(socket_.native_handle()) > 0;
}

void Channel::set_low_watermark(std::size_t bytes) {
  boost::system::error_code ignored;
  socket_.set_option(asio::socket_base::receive_low_watermark(static_cast<int>(bytes)), ignored);
}

}  // namespace mitm::intercept
