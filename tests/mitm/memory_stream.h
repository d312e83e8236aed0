// A connection in memory, for dialogues with a pump, a session or an engine: no sockets, no
// threads, no sleeps. What the peer does is said by the test.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "mitm/intercept/wire/transport.h"
#include "tests/test.h"

namespace test {

class MemoryStream final : public mitm::intercept::Transport {
 public:
  using IoResult = mitm::intercept::IoResult;
  using Status = IoResult::Status;
  static constexpr const char* kReset = "connection reset by peer";

  explicit MemoryStream(boost::asio::any_io_executor executor)
      : executor_(executor), changed_(executor, Clock::time_point::max()) {}

  // What the peer does.

  void say(std::string_view bytes) {
    incoming_.append(bytes);
    changed_.cancel();
  }
  /// `how`: end or truncated.
  void end(Status how = Status::end) {
    end_ = {how};
    changed_.cancel();
  }
  /// What it said before can still be read.
  void lose(std::string why, int tls_reason = 0) {
    failure_ = {true, std::move(why), tls_reason, tls_reason == 0 ? ECONNRESET : 0};
    end_ = {Status::failed};
    changed_.cancel();
  }
  /// Closes both directions; what is written to it from here on is answered with a reset.
  void leave() {
    left_ = true;
    if (outgoing_.empty()) {
      end();
    } else {
      lose(kReset);
    }
  }
  /// How many more bytes it takes before it has to be given room again.
  void give_room(std::size_t bytes) {
    room_ = bytes;
    changed_.cancel();
  }
  /// What it has received since the last call.
  [[nodiscard]] std::string heard() { return std::exchange(outgoing_, {}); }
  /// The sizes of the writes in which that came.
  [[nodiscard]] std::vector<std::size_t> writes() { return std::exchange(writes_, {}); }
  /// What it has said and has not been read.
  [[nodiscard]] std::size_t unread() const { return incoming_.size() - read_; }
  /// "": open; "end", "truncated", "reset": how our direction has ended for it.
  [[nodiscard]] const std::string& ending() const { return ending_; }

  IoResult try_read(std::span<char> into) override {
    const IoResult result = peek(into);
    read_ += result.bytes;
    if (read_ < incoming_.size()) return result;
    incoming_.clear();
    read_ = 0;
    return result;
  }
  IoResult peek(std::span<char> into) override {
    if (!is_open_) return {Status::failed};
    if (unread() == 0) return end_.ok() ? IoResult{Status::want_read, 0, true} : end_;
    const auto size = std::min(into.size(), unread());
    std::memcpy(into.data(), incoming_.data() + read_, size);
    return {Status::ok, size, size < into.size()};
  }
  IoResult try_write(std::string_view bytes) override {
    if (!is_open_ || failure_.lost) {
      failure_.lost = true;
      return {Status::failed};
    }
    if (left_ && !bytes.empty()) {
      lose("broken pipe");
      return {Status::ok, bytes.size()};
    }
    const auto size = std::min(room_, bytes.size());
    room_ -= size;
    outgoing_.append(bytes.substr(0, size));
    if (size > 0) writes_.push_back(size);
    return {size == bytes.size() ? Status::ok : Status::want_write, size};
  }
  boost::asio::awaitable<bool> wait(IoResult last, Clock::time_point limit) override {
    const bool write = last.status == Status::want_write;
    const auto ready = [&] {
      if (!is_open_ || failure_.lost) return true;
      return write ? room_ > 0 : unread() >= low_watermark_ || !end_.ok();
    };
    // As a socket's: others of the context have their turn.
    if (ready()) co_await boost::asio::post(executor_, boost::asio::use_awaitable);
    boost::asio::steady_timer late{executor_, limit};
    if (limit != kNoLimit && !ready())
      late.async_wait([this](auto cancelled) {
        if (!cancelled) changed_.cancel();
      });
    const auto cancels = cancels_;
    while (!ready() && Clock::now() < limit) {
      const bool goes_on = co_await next_change();
      if (!goes_on || cancels != cancels_) co_return false;
    }
    co_return ready() && is_open_;
  }
  boost::asio::awaitable<void> wait_until_failed() override {
    const auto cancels = cancels_;
    while (is_open_ && !failure_.lost && cancels == cancels_) {
      const bool goes_on = co_await next_change();
      if (!goes_on) co_return;
    }
  }
  boost::asio::awaitable<void> wait_until_acknowledged() override {
    acknowledged_ = true;
    co_return;
  }
  void cancel() override {
    ++cancels_;
    changed_.cancel();
  }
  void shutdown_write(bool notify) override {
    if (ending_.empty()) ending_ = notify ? "end" : "truncated";
    ends_on_close_ = true;
  }
  void reset() override {
    if (ending_.empty()) ending_ = "reset";
    is_open_ = false;
    changed_.cancel();
  }
  void end_on_close() override { ends_on_close_ = true; }
  /// As a kernel does when a socket is closed.
  void close() {
    if (!is_open_) return;
    if (!ends_on_close_ || (unread() > 0 && ending_.empty())) return reset();
    if (ending_.empty()) ending_ = "end";
    is_open_ = false;
  }
  [[nodiscard]] bool is_open() const override { return is_open_; }
  [[nodiscard]] bool has_unsent() const override { return false; }
  [[nodiscard]] bool has_end() const override { return !end_.ok(); }
  void set_low_watermark(std::size_t bytes) override { low_watermark_ = bytes; }
  void set_failure(mitm::intercept::StreamFailure failure) override {
    failure_ = std::move(failure);
  }
  [[nodiscard]] const mitm::intercept::StreamFailure& failure() const override { return failure_; }
  [[nodiscard]] boost::asio::any_io_executor get_executor() override { return executor_; }
  void replace(Socket) override { FAIL("not a socket"); }
  [[nodiscard]] Socket release() override {
    FAIL("not a socket");
    return Socket{executor_};
  }
  /// As divert::relay does.
  boost::asio::awaitable<divert::Outcome> relay_to(Transport& server) override;

  /// Whether the delivery of what was written has been waited for.
  [[nodiscard]] bool acknowledged() const { return acknowledged_; }

 private:
  /// False: the coroutine that waits is cancelled.
  boost::asio::awaitable<bool> next_change() {
    co_await changed_.async_wait(boost::asio::as_tuple(boost::asio::use_awaitable));
    const auto state = co_await boost::asio::this_coro::cancellation_state;
    co_return state.cancelled() == boost::asio::cancellation_type::none;
  }

  boost::asio::any_io_executor executor_;
  boost::asio::steady_timer changed_;  ///< cancelled with each change
  std::string incoming_;
  std::size_t read_ = 0;  ///< bytes of it
  std::string outgoing_;
  std::vector<std::size_t> writes_;
  IoResult end_;
  mitm::intercept::StreamFailure failure_;
  std::string ending_;
  std::size_t room_ = std::numeric_limits<std::size_t>::max();
  std::size_t low_watermark_ = 1;
  unsigned cancels_ = 0;
  bool is_open_ = true;
  bool left_ = false;
  bool ends_on_close_ = false;
  bool acknowledged_ = false;
};

}  // namespace test
