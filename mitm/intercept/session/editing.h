// One exchange of which a gate is asked: its messages, and what is waited for.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "mitm/intercept/context/gate.h"
#include "mitm/intercept/context/memory.h"

namespace mitm::intercept {

/// Owned by its session's exchange; when it goes while the gate is being waited for, the gate is
/// told.
class Editing : public std::enable_shared_from_this<Editing> {
 public:
  /// Bytes of a body beyond which its message is passed on as it comes, although the gate wants it
  /// whole.
  static constexpr std::size_t kLargest = 16 << 20;
  /// What is done with the bytes of a direction that come now.
  enum class Way : std::uint8_t {
    pass,    ///< they are passed on as they come
    wait,    ///< for a decision; none are read
    gather,  ///< until the message is there as a whole
    drop,    ///< they are not passed on
  };
  struct Half {
    Way way = Way::pass;
    std::string raw{};     ///< the bytes that have come and are not passed on yet
    std::size_t head = 0;  ///< how many of them are the head's
    std::string body{};    ///< of a message that is gathered: the body in them
  };
  /// A decision that was waited for has come.
  using Resumed = std::function<void(Stage, Decision)>;

  Editing(Gate& gate, std::shared_ptr<const flow::HttpFlow> flow, MemoryAccount& memory,
          Resumed resumed)
      : gate_(gate), transaction_(std::move(flow)), share_(memory), resumed_(std::move(resumed)) {}
  Editing(const Editing&) = delete;
  Editing& operator=(const Editing&) = delete;
  ~Editing();

  [[nodiscard]] Transaction& transaction() { return transaction_; }
  [[nodiscard]] const Transaction& transaction() const { return transaction_; }
  [[nodiscard]] Half& half(flow::Direction direction) {
    return halves_[static_cast<int>(direction)];
  }
  [[nodiscard]] Way way(flow::Direction direction) const {
    return halves_[static_cast<int>(direction)].way;
  }
  [[nodiscard]] bool is_waiting(flow::Direction direction) const {
    return way(direction) == Way::wait;
  }

  /// What is held has changed in size.
  void account();

  /// Asks the gate. A decision, or none: the direction waits, and Resumed follows.
  [[nodiscard]] std::optional<Decision> ask(Stage stage);

 private:
  void resume(Stage stage, Decision decision);

  Gate& gate_;
  Transaction transaction_;
  MemoryShare share_;
  Resumed resumed_;
  Half halves_[2];  ///< by Direction
};

[[nodiscard]] constexpr flow::Direction direction_of(Stage stage) {
  return stage == Stage::request_head || stage == Stage::request ? flow::Direction::request
                                                                 : flow::Direction::response;
}

}  // namespace mitm::intercept
