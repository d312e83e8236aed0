// OpenSSL reads and writes the transport itself through a BIO of our own. Asio's ssl::stream would
// keep two buffers of 17 KiB per side and copy every byte twice more.
#include "mitm/intercept/wire/tls_stream.h"

#include <cstring>

#include <boost/asio/use_awaitable.hpp>
#include <fmt/format.h>
#include <openssl/err.h>

namespace mitm::intercept {
namespace {

using boost::asio::awaitable;
/// What one TLS call may read of the wire beyond what it gives. OpenSSL itself goes on as long as
/// there are records that carry nothing for us (KeyUpdate of 27 bytes, tickets), each of which
/// costs it ten microseconds or more, and a record of one byte costs as much as one of 64. One
/// record of full size must fit.
constexpr std::size_t kWireBytes = 24 << 10;
constexpr std::size_t kFirstBytes = 16;

/// "tlsv1 alert unknown ca" is "alert unknown ca" to a reader.
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

/// The BIO's callbacks. Its data is the stream.
struct WireBio {
  static TlsStream& stream(BIO* bio) { return *static_cast<TlsStream*>(BIO_get_data(bio)); }

  static int read(BIO* bio, char* into, int size) {
    BIO_clear_retry_flags(bio);
    const int got = stream(bio).wire_read(into, size);
    if (got < 0 && stream(bio).wire_blocked_ != IoResult::Status::ok) BIO_set_retry_read(bio);
    return got;
  }
  static int write(BIO* bio, const char* bytes, int size) {
    BIO_clear_retry_flags(bio);
    const int put = stream(bio).wire_write(bytes, size);
    if (put < 0 && stream(bio).wire_blocked_ != IoResult::Status::ok) BIO_set_retry_write(bio);
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
      Method made{BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "osproxy stream")};
      BIO_meth_set_read(made.get(), read);
      BIO_meth_set_write(made.get(), write);
      BIO_meth_set_ctrl(made.get(), control);
      BIO_meth_set_create(made.get(), create);
      return made;
    }();
    return one.get();
  }
};

TlsStream::TlsStream(Transport& tcp, tls::SslPtr ssl, std::string first)
    : tcp_(tcp), ssl_(std::move(ssl)), first_(std::move(first)) {
  BIO* bio = BIO_new(WireBio::method());
  BIO_set_data(bio, this);
  SSL_set_bio(ssl_.get(), bio, bio);
}

TlsStream::~TlsStream() {
  // Else OpenSSL takes the end for an attack and makes the session unusable for resumption.
  SSL_set_shutdown(ssl_.get(), SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
}

int TlsStream::wire_read(char* into, int size) {
  if (!first_.empty()) {
    const auto given = std::min(first_.size(), static_cast<std::size_t>(size));
    std::memcpy(into, first_.data(), given);
    first_.erase(0, given);
    if (first_.empty()) first_.shrink_to_fit();
    return static_cast<int>(given);
  }
  if (wire_drained_ || wire_left_ == 0) {
    wire_blocked_ = Status::want_read;  // waiting ends at once if there is more
    return -1;
  }
  const std::size_t room = std::min(wire_left_, static_cast<std::size_t>(size));
  const IoResult got = tcp_.try_read({into, room});
  // After less than asked for there is nothing more: waiting for readiness sees what came since.
  wire_drained_ = got.bytes < room;
  wire_left_ -= got.bytes;
  if (first_bytes_.size() < kFirstBytes)
    first_bytes_.append(into, std::min(kFirstBytes - first_bytes_.size(), got.bytes));
  if (got.ended()) wire_ended_ = true;
  if (got.blocked()) wire_blocked_ = Status::want_read;
  if (got.status == Status::failed) wire_failed_ = true;
  return got.ok() || got.ended() ? static_cast<int>(got.bytes) : -1;
}

int TlsStream::wire_write(const char* bytes, int size) {
  if (wire_failed_) return -1;
  IoResult put{Status::want_write};
  if (!wire_full_) put = tcp_.try_write({bytes, static_cast<std::size_t>(size)});
  wire_full_ = put.blocked();
  if (put.status == Status::failed) wire_failed_ = true;
  if (put.bytes > 0) return static_cast<int>(put.bytes);
  if (put.blocked()) wire_blocked_ = Status::want_write;
  return -1;
}

void TlsStream::begin_call() {
  ERR_clear_error();
  wire_blocked_ = Status::ok;
  wire_failed_ = false;
  wire_left_ = kWireBytes;
  wire_drained_ = false;
  wire_full_ = false;
}

IoResult TlsStream::fail(std::string text, int reason) {
  if (!hint_.empty()) text.append("; ").append(hint_);
  tcp_.set_failure({true, std::move(text), reason});
  return {Status::failed};
}

/// What a TLS call that did not succeed means.
IoResult TlsStream::result_of(int returned) {
  if (wire_blocked_ != Status::ok) return {wire_blocked_, 0, true};
  const int error = SSL_get_error(ssl_.get(), returned);
  const unsigned long code = ERR_peek_error();
  ERR_clear_error();
  if (error == SSL_ERROR_ZERO_RETURN) return {Status::end};
  if (wire_failed_) return {Status::failed};
  if (wire_ended_ && (code == 0 || ERR_GET_REASON(code) == SSL_R_UNEXPECTED_EOF_WHILE_READING)) {
    if (!failure().lost) tcp_.set_failure({false, "connection closed without close_notify", 0});
    return {Status::truncated};
  }
  return fail(readable_reason(code), ERR_GET_REASON(code));
}

IoResult TlsStream::read_records(std::span<char> into) {
  begin_call();
  std::size_t total = 0;
  while (total < into.size()) {
    std::size_t got = 0;
    const int returned = SSL_read_ex(ssl_.get(), into.data() + total, into.size() - total, &got);
    total += got;
    wire_left_ += got;
    if (returned == 1) continue;
    const IoResult stopped = result_of(returned);
    if (stopped.blocked()) release_write_buffer();
    if (total == 0) return stopped;
    if (!stopped.blocked()) read_end_ = stopped;
    return {Status::ok, total, stopped.blocked()};
  }
  return {Status::ok, total};
}

/// When OpenSSL 3 reads a session ticket it makes ready to write (16 KiB) and keeps that until the
/// next write, whatever SSL_MODE_RELEASE_BUFFERS says. A write of nothing sends nothing
/// (SSL_write_ex(3)) and lets it go. A ticket shows in a new session.
void TlsStream::release_write_buffer() {
  const SSL_SESSION* const session = SSL_get_session(ssl_.get());
  if (session == session_ || write_pending_ || SSL_in_init(ssl_.get()) != 0) return;
  session_ = session;
  std::size_t put = 0;
  static_cast<void>(SSL_write_ex(ssl_.get(), "", 0, &put));
  ERR_clear_error();
}

/// Once the connection is lost the socket looks cleanly closed; only close_notify is beyond doubt.
IoResult TlsStream::try_read(std::span<char> into) {
  IoResult result = read_end_;
  if (result.ok()) result = read_records(into);
  if (failure().lost && !result.ok() && result.status != Status::end) result = {Status::failed};
  return result;
}

IoResult TlsStream::try_write(std::string_view bytes) {
  begin_call();
  write_pending_ = false;
  std::size_t total = 0;
  while (total < bytes.size()) {
    std::size_t put = 0;
    const int returned = SSL_write_ex(ssl_.get(), bytes.data() + total, bytes.size() - total, &put);
    total += put;
    if (returned == 1) continue;
    IoResult stopped = result_of(returned);
    write_pending_ = true;
    if (stopped.ended()) {
      tcp_.set_failure({true, failure().text, failure().tls_reason});
      stopped.status = Status::failed;
    }
    return {stopped.status, total};
  }
  return {Status::ok, total};
}

awaitable<IoResult> TlsStream::handshake(Clock::duration limit) {
  const auto deadline = Clock::now() + limit;
  for (;;) {
    begin_call();
    const int returned = SSL_do_handshake(ssl_.get());
    if (returned == 1) co_return IoResult{};
    const IoResult stopped = result_of(returned);
    if (!stopped.blocked()) co_return stopped;
    const bool ready = co_await wait(stopped, deadline);
    if (ready) continue;
    const bool late = Clock::now() >= deadline;
    tcp_.set_failure({false, late ? "no answer for too long" : "cancelled", 0});
    co_return IoResult{Status::failed};
  }
}

void TlsStream::shutdown_write(bool notify) {
  if (!tcp_.is_open()) return;
  const bool sent = (SSL_get_shutdown(ssl_.get()) & SSL_SENT_SHUTDOWN) != 0;
  if (notify && !sent && SSL_is_init_finished(ssl_.get())) {
    begin_call();
    SSL_shutdown(ssl_.get());
    ERR_clear_error();
  }
  tcp_.shutdown_write(notify);
}

}  // namespace mitm::intercept
