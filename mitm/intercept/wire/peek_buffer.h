// A stream whose next bytes can be looked at before they are read.
#pragma once

#include <string>
#include <utility>

#include "mitm/intercept/wire/byte_stream.h"

namespace mitm::intercept {

/// In front of another stream, which may be exchanged for another. Holds no buffer while nothing is
/// unread.
class PeekBuffer final : public ByteStream {
 public:
  /// `below` must outlive this.
  explicit PeekBuffer(ByteStream& below) : below_(&below) {}
  /// Reads and writes go to `below` from here on.
  void set_below(ByteStream& below);

  /// Bytes that the next reads give before anything from below.
  void push_back(std::string_view bytes) { unread_.insert(0, bytes); }
  [[nodiscard]] bool has_unread() const { return !unread_.empty(); }
  /// What was pushed back or looked at, for others to pass on.
  [[nodiscard]] std::string take_unread() { return std::exchange(unread_, {}); }

  /// All that is unread, without consuming it.
  struct Look {
    IoResult result;         ///< of the attempt to see more
    std::string_view bytes;  ///< valid until the next call
  };
  /// Sees at most `scratch`.size() bytes more than the last time.
  [[nodiscard]] Look look(std::span<char> scratch);

  /// Whether a read from below has given anything yet.
  [[nodiscard]] bool has_received() const { return received_; }
  /// When a read met the end or a failure; kNoLimit: none has.
  [[nodiscard]] Clock::time_point ended_at() const { return ended_at_; }

  IoResult try_read(std::span<char> into) override;
  IoResult try_write(std::string_view bytes) override { return below_->try_write(bytes); }
  boost::asio::awaitable<bool> wait(IoResult last, Clock::time_point limit = kNoLimit) override {
    return below_->wait(last, limit);
  }
  boost::asio::awaitable<void> wait_until_failed() override { return below_->wait_until_failed(); }
  boost::asio::awaitable<void> wait_until_acknowledged() override {
    return below_->wait_until_acknowledged();
  }
  void cancel() override { below_->cancel(); }
  void shutdown_write(bool notify) override { below_->shutdown_write(notify); }
  void reset() override { below_->reset(); }
  [[nodiscard]] bool is_open() const override { return below_->is_open(); }
  [[nodiscard]] bool has_unsent() const override { return below_->has_unsent(); }
  [[nodiscard]] const StreamFailure& failure() const override { return below_->failure(); }
  [[nodiscard]] boost::asio::any_io_executor get_executor() override {
    return below_->get_executor();
  }

 private:
  IoResult read_below(std::span<char> into);

  ByteStream* below_;
  std::string unread_;
  bool received_ = false;
  Clock::time_point ended_at_ = kNoLimit;
  IoResult read_end_;  ///< once reading is over: the result of every further read
};

}  // namespace mitm::intercept
