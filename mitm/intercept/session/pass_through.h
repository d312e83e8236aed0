// Bytes from one stream to the other and back, decrypted and unchanged, with an observer.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mitm/intercept/context/flow_recorder.h"
#include "mitm/intercept/wire/pump.h"

namespace mitm::intercept {

class PassThrough final : private Pump::Handler {
 public:
  class Observer {
   public:
    virtual ~Observer() = default;
    /// Bytes that are about to be passed on, at most Turn::kStep of them. False: they are not, and
    /// both sides are reset.
    virtual bool on_bytes(flow::Direction direction, std::string_view bytes) = 0;
    /// After `on_bytes`: the same bytes, perhaps those of several calls, to be changed in place
    /// before they are passed on.
    virtual void rewrite(flow::Direction /*direction*/, std::span<char> /*bytes*/) {}
    /// After `on_bytes`: offsets at which to split the write of those bytes.
    [[nodiscard]] virtual std::span<const std::size_t> write_boundaries(
        flow::Direction /*direction*/) const {
      return {};
    }
    /// Asked before `on_bytes`. A number: only so many of `bytes` are passed on; the rest stays
    /// unread and run() returns.
    virtual std::optional<std::size_t> ends_after(flow::Direction /*direction*/,
                                                  std::string_view /*bytes*/) {
      return std::nullopt;
    }
    /// Asked before `on_bytes`: whether those bytes are not passed on; then say() says what is.
    [[nodiscard]] virtual bool replaces(flow::Direction /*direction*/) { return false; }
    /// See Pump::Handler.
    [[nodiscard]] virtual std::string say(flow::Direction /*direction*/) { return {}; }
    [[nodiscard]] virtual bool is_on_hold(flow::Direction /*direction*/) const { return false; }
    [[nodiscard]] virtual bool speaks_on(flow::Direction /*direction*/) const { return false; }
    /// A side will send no more; the other one has not received its end yet.
    virtual void ended(flow::Direction /*direction*/) {}
    /// A side has failed: "the server: connection reset by peer".
    virtual void failed(std::string why) = 0;
  };

  PassThrough(FlowRecorder& recorder, PeekBuffer& client, PeekBuffer& server, Observer& observer);

  /// Until both directions have ended; see Pump. True: the observer ended it, nothing has ended on
  /// the wire.
  boost::asio::awaitable<bool> run();
  /// The observer may have something to say.
  void speak(flow::Direction direction) { pump_.speak(direction); }
  /// What is on hold is looked at again.
  void look_again(flow::Direction direction) { pump_.look_again(direction); }

 private:
  Pump::Taken on_bytes(flow::Direction direction, std::span<char> bytes, Turn& turn) override;
  [[nodiscard]] std::span<const std::size_t> write_boundaries(flow::Direction) const override {
    return boundaries_;
  }
  [[nodiscard]] bool is_on_hold(flow::Direction direction) const override {
    return observer_.is_on_hold(direction);
  }
  [[nodiscard]] std::string say(flow::Direction direction) override;
  [[nodiscard]] bool speaks_on(flow::Direction direction) const override {
    return observer_.speaks_on(direction);
  }
  Pump::Ending on_end(flow::Direction direction, IoResult end, std::string_view unread) override;
  void on_failure(flow::Direction direction, std::string why) override;

  FlowRecorder& recorder_;
  PeekBuffer& client_;
  Observer& observer_;
  Pump pump_;
  std::vector<std::size_t> boundaries_;  ///< of the bytes that are being passed on
};

}  // namespace mitm::intercept
