// Bytes between two streams, in both directions, until both have ended.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>

#include "mitm/flow/event.h"
#include "mitm/intercept/context/memory.h"
#include "mitm/intercept/wire/peek_buffer.h"
#include "mitm/intercept/wire/turn.h"

namespace mitm::intercept {

/// Half-close and truncation are passed on as they came. A side that fails resets the other one,
/// behind what it had sent before. An idle direction, or one whose receiver keeps up, holds no
/// memory.
class Pump {
 public:
  /// What follows bytes that a handler has looked at.
  enum class Then : std::uint8_t {
    more,    ///< those that it has not taken are kept until more of them have come
    again,   ///< they are looked at again when other connections have had their turn
    hold,    ///< they are looked at again when Handler::is_on_hold() says no, after look_again()
    drop,    ///< they are dropped, and it goes on
    done,    ///< nothing more of this direction is wanted
    finish,  ///< the receiver's direction is ended in order, and the pump stops
    stop,    ///< the pump stops, see stop()
    reset,   ///< both sides are reset
  };
  struct Taken {
    std::size_t bytes = 0;  ///< from the first one on, to be passed on now
    Then then = Then::more;
    bool replaced = false;  ///< they are dropped: say() says what is passed on instead of them
  };
  /// What follows the end of a direction.
  struct Ending {
    std::size_t bytes = 0;  ///< of those that were kept, to be passed on first
    bool passed_on = true;  ///< the receiver gets the same end
    bool stops = false;     ///< the pump stops
  };

  class Handler {
   public:
    virtual ~Handler() = default;
    /// `bytes`: all that is there and has not been passed on, to be changed in place. `turn`: to be
    /// asked between two steps.
    virtual Taken on_bytes(flow::Direction direction, std::span<char> bytes, Turn& turn) = 0;
    /// Offsets at which to split the write of the bytes that on_bytes() has just taken; each part
    /// becomes a TLS record of its own.
    [[nodiscard]] virtual std::span<const std::size_t> write_boundaries(flow::Direction) const {
      return {};
    }
    [[nodiscard]] virtual bool is_on_hold(flow::Direction) const { return false; }
    /// Whether the end of a direction that is on hold stays unread, too.
    [[nodiscard]] virtual bool holds_end(flow::Direction) const { return false; }
    /// What the handler itself says to the receiver of this direction now, behind all that it has
    /// taken; a piece, which ends up in memory if the receiver is slower. Asked after each step and
    /// after speak() until there is nothing.
    [[nodiscard]] virtual std::string say(flow::Direction) { return {}; }
    /// Behind the end of the sender: whether say() may still say something in this direction. Its
    /// end is passed on after that.
    [[nodiscard]] virtual bool speaks_on(flow::Direction) const { return false; }
    /// Nothing more comes in this direction; `unread` has been kept.
    virtual Ending on_end(flow::Direction direction, IoResult end, std::string_view unread) = 0;
    /// The sender of this direction has failed: "the server: connection reset by peer".
    virtual void on_failure(flow::Direction direction, std::string why) = 0;
  };

  /// `scratch` is read into; it holds nothing from one resumption to the next.
  Pump(PeekBuffer& client, PeekBuffer& server, std::span<char> scratch, MemoryAccount& memory,
       Handler& handler);
  /// Returns when both directions have ended, or the pump has stopped.
  boost::asio::awaitable<void> run();
  /// After run(), when nothing follows on the connection: until the program has what was written. A
  /// server that was lost is a reset for the program, too.
  boost::asio::awaitable<void> deliver_end();

  /// Both directions end once what was taken has been passed on; nothing has ended on the wire.
  /// What is unread is pushed back into the streams.
  void stop();
  [[nodiscard]] bool has_stopped() const { return stopped_; }
  /// What is kept of this direction, or on hold, is looked at again.
  void look_again(flow::Direction direction);
  /// There is something that Handler::say() says in this direction.
  void speak(flow::Direction direction);
  /// The receiver's direction is ended in order once say() has said what there is, and the pump
  /// stops.
  void finish(flow::Direction direction);
  /// What has been read and not been taken.
  [[nodiscard]] std::string_view unread(flow::Direction direction) const;

 private:
  /// One direction.
  struct Lane {
    flow::Direction direction;
    PeekBuffer& from;
    PeekBuffer& to;
    boost::asio::steady_timer released;  ///< cancelled when it need not be on hold any longer
    std::string unread{};                ///< has been read, and not been written
    std::size_t unwritten = 0;           ///< bytes of it, from the first one, that have been taken
    IoResult last{};                     ///< of reading
    Turn turn{};
    bool on_hold = false;
    bool speaks = false;     ///< see speak(); until that is done
    bool finishes = false;   ///< see finish()
    bool truncated = false;  ///< it ended without close_notify
    bool over = false;       ///< its coroutine has ended
  };

  boost::asio::awaitable<void> carry(Lane& lane);
  boost::asio::awaitable<IoResult> deliver(Lane& lane, IoResult blocked);
  boost::asio::awaitable<IoResult> let_speak(Lane& lane, IoResult put);
  boost::asio::awaitable<void> hold(Lane& lane);
  boost::asio::awaitable<void> wait_for_memory(const Lane& lane);
  boost::asio::awaitable<void> end(Lane& lane);
  boost::asio::awaitable<void> fail(Lane& lane);
  boost::asio::awaitable<void> undelivered(Lane& lane);
  [[nodiscard]] std::span<char> read(Lane& lane);
  [[nodiscard]] IoResult write(Lane& lane, std::span<char> input, std::size_t size);
  void replace(Lane& lane, std::span<char> input, std::size_t size);
  [[nodiscard]] IoResult speak_now(Lane& lane);
  static void drop(Lane& lane, std::size_t bytes);
  void follow(Lane& lane, Then then);
  void reset();
  void account() { share_.set(lanes_[0].unread.size() + lanes_[1].unread.size()); }
  [[nodiscard]] bool is_over() const { return stopped_ || failed_; }
  [[nodiscard]] Lane& other(const Lane& lane) {
    return lanes_[lane.direction == flow::Direction::request ? 1 : 0];
  }

  std::span<char> scratch_;
  MemoryAccount& memory_;
  MemoryShare share_;
  Handler& handler_;
  Lane lanes_[2];         ///< by Direction
  bool stopped_ = false;  ///< by the handler
  bool failed_ = false;   ///< a side has failed; both are or will be reset
};

}  // namespace mitm::intercept
