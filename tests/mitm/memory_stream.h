// A stream of bytes in memory, for dialogues with a session or a pump: no sockets, no threads, no
// sleeps. What the peer of the stream does is said by the test.
#pragma once

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "mitm/intercept/wire/byte_stream.h"

namespace test {

class MemoryStream final : public mitm::intercept::ByteStream {
 public:
  using IoResult = mitm::intercept::IoResult;
  using Status = IoResult::Status;

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
    failure_ = {true, std::move(why), tls_reason};
    end_ = {Status::failed};
    changed_.cancel();
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
  /// "": open; "end", "truncated", "reset": how our direction has ended for it.
  [[nodiscard]] std::string ending() const { return is_open_ ? ending_ : "reset"; }

  IoResult try_read(std::span<char> into) override {
    if (!is_open_) return {Status::failed};
    if (incoming_.empty()) return end_.ok() ? IoResult{Status::want_read, 0, true} : end_;
    const auto size = std::min(into.size(), incoming_.size());
    std::memcpy(into.data(), incoming_.data(), size);
    incoming_.erase(0, size);
    return {Status::ok, size, size < into.size()};
  }
  IoResult try_write(std::string_view bytes) override {
    if (!is_open_ || failure_.lost) {
      failure_.lost = true;
      return {Status::failed};
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
      const bool over = !is_open_ || failure_.lost;
      return over || (write ? room_ > 0 : !incoming_.empty() || !end_.ok());
    };
    if (ready()) co_return is_open_;
    boost::asio::steady_timer late{executor_, limit};
    if (limit != kNoLimit)
      late.async_wait([this](auto cancelled) {
        if (!cancelled) changed_.cancel();
      });
    co_await changed_.async_wait(boost::asio::as_tuple(boost::asio::use_awaitable));
    co_return ready() && is_open_;
  }
  boost::asio::awaitable<void> wait_until_failed() override {
    while (is_open_ && !failure_.lost) {
      const auto [cancelled] =
          co_await changed_.async_wait(boost::asio::as_tuple(boost::asio::use_awaitable));
      const auto state = co_await boost::asio::this_coro::cancellation_state;
      if (cancelled && state.cancelled() != boost::asio::cancellation_type::none) co_return;
    }
  }
  boost::asio::awaitable<void> wait_until_acknowledged() override {
    acknowledged_ = true;
    co_return;
  }
  void cancel() override { changed_.cancel(); }
  void shutdown_write(bool notify) override { ending_ = notify ? "end" : "truncated"; }
  void reset() override {
    is_open_ = false;
    changed_.cancel();
  }
  [[nodiscard]] bool is_open() const override { return is_open_; }
  [[nodiscard]] bool has_unsent() const override { return false; }
  [[nodiscard]] const mitm::intercept::StreamFailure& failure() const override { return failure_; }
  [[nodiscard]] boost::asio::any_io_executor get_executor() override { return executor_; }

  /// Whether the delivery of what was written has been waited for.
  [[nodiscard]] bool acknowledged() const { return acknowledged_; }

 private:
  boost::asio::any_io_executor executor_;
  boost::asio::steady_timer changed_;  ///< cancelled with each change
  std::string incoming_;
  std::string outgoing_;
  std::vector<std::size_t> writes_;
  IoResult end_;
  mitm::intercept::StreamFailure failure_;
  std::string ending_;
  std::size_t room_ = std::numeric_limits<std::size_t>::max();
  bool is_open_ = true;
  bool acknowledged_ = false;
};

}  // namespace test
