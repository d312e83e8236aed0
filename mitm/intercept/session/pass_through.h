// Bytes from one channel to the other and back, decrypted and unchanged, with somebody looking on.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mitm/intercept/context/flow_recorder.h"
#include "mitm/intercept/wire/peek_buffer.h"
#include "mitm/intercept/wire/turn.h"

namespace mitm::intercept {

class PassThrough {
 public:
  class Observer {
   public:
    virtual ~Observer() = default;
    /// Bytes that are about to be passed on, at most Turn::kStep of them. False: they are not, and
    /// both sides are reset.
    virtual bool on_bytes(flow::Direction direction, std::string_view bytes) = 0;
    /// After `on_bytes`: the same bytes, perhaps those of several calls, to be changed in place before
    /// they are passed on.
    virtual void rewrite(flow::Direction /*direction*/, std::span<char> /*bytes*/) {}
    /// After `on_bytes`: where to part those bytes. Each part is written for itself.
    [[nodiscard]] virtual std::span<const std::size_t> write_boundaries(
        flow::Direction /*direction*/) const {
      return {};
    }
    /// Asked before `on_bytes`. A number: only so many of `bytes` are passed on; the rest is pushed back
    /// and run() returns.
    virtual std::optional<std::size_t> ends_after(flow::Direction /*direction*/,
                                                  std::string_view /*bytes*/) {
      return std::nullopt;
    }
    /// A side will send no more; the other one has not heard of it yet.
    virtual void ended(flow::Direction /*direction*/) {}
    /// A side has failed: "the server: connection reset by peer".
    virtual void failed(std::string why) = 0;
  };

  PassThrough(FlowRecorder& recorder, PeekBuffer& client, PeekBuffer& server, Observer& observer)
      : recorder_(recorder),
        client_(client),
        server_(server),
        observer_(observer),
        share_(recorder.context().memory) {}

  /// Until both directions have ended. Half-close and truncation are passed on as they came; a
  /// reset of one side resets the other, behind what the side had said before it. True: the
  /// observer ended it, nothing has ended on the wire.
  boost::asio::awaitable<bool> run();

 private:
  boost::asio::awaitable<void> pump(flow::Direction direction);
  boost::asio::awaitable<bool> pass(flow::Direction direction, std::span<char> scratch, Turn& turn);
  /// Shows `bytes` to the observer, until the turn is over: how many of them it has seen. Empty: it
  /// will not have them.
  [[nodiscard]] std::optional<std::size_t> show(flow::Direction direction, std::string_view bytes,
                                                Turn& turn);
  void abort(const PeekBuffer& channel);
  [[nodiscard]] bool only_answers_truncation(const PeekBuffer& channel) const;
  void undelivered(flow::Direction direction);
  void reset();
  void hold(flow::Direction direction, std::size_t bytes);

  FlowRecorder& recorder_;
  PeekBuffer& client_;
  PeekBuffer& server_;
  Observer& observer_;
  MemoryShare share_;
  std::size_t held_[2] = {0, 0};         ///< by Direction: bytes read that are not passed on yet
  std::vector<std::size_t> boundaries_;  ///< of the bytes that are being passed on
  bool reads_[2] = {true, true};         ///< by Direction: that pump has not ended
  bool truncated_[2] = {false, false};   ///< by Direction: it ended without close_notify
  bool cut_ = false;                     ///< by the observer
  bool over_ = false;                    ///< a side has failed
};

}  // namespace mitm::intercept
