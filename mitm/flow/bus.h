// From the connections' threads to the subscribers. Publishing never blocks on a subscriber.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "mitm/flow/event.h"

namespace mitm::flow {

/// What a subscriber gets when events come faster than it takes them.
enum class Delivery : std::uint8_t {
  lossy,      ///< what finds no room is dropped and counted; all lossy subscribers share one queue
  retaining,  ///< a queue of its own, from which bodies are dropped before flows; see BusLimits
};

/// Called on a thread of the bus only.
class Subscriber {
 public:
  virtual ~Subscriber() = default;
  virtual base::Result<> write(const Event& event) = 0;
  virtual base::Result<> flush() = 0;  ///< called after each batch, and before a LogLine
  /// How long after a flush() another one is wanted if no event comes before; empty: none is.
  [[nodiscard]] virtual std::optional<std::chrono::milliseconds> flush_again() const {
    return std::nullopt;
  }
  /// The kinds that it is given. Always the same.
  [[nodiscard]] virtual EventSet wants() const = 0;
  [[nodiscard]] virtual Delivery delivery() const { return Delivery::lossy; }
  /// "--output flows.jsonl", for error messages.
  [[nodiscard]] virtual const std::string& name() const = 0;
};

/// `subscriber`, which is given `limit` bytes of each body and message at most. 0: it does not look
/// at bodies at all.
[[nodiscard]] std::unique_ptr<Subscriber> with_limited_bodies(
    std::unique_ptr<Subscriber> subscriber, std::size_t limit);

/// What a queue may hold, counting what its thread has taken and not yet written. An event larger
/// than `bytes` finds room when it is alone. A retaining queue takes events beyond `bytes` without
/// their bodies, as much again; then it drops them as well. A LogLine always finds room: they are
/// few, and what they say is said once.
struct BusLimits {
  std::size_t events = 100'000;
  std::size_t bytes = 32U << 20U;
};

/// Queues between connections and subscribers, bounded in events and bytes. A subscriber whose
/// write fails is reported once through `on_error` (on a thread of the bus) and not called again;
/// the others go on. Before a LogLine is written, the subscribers of its queue are flushed: what
/// came before it is read before it. SIGPIPE must be ignored by the program.
class Bus {
 public:
  using OnError = void (*)(void* context, const Subscriber& subscriber, const base::Error& error);

  Bus(std::vector<std::unique_ptr<Subscriber>> subscribers, OnError on_error, void* context,
      BusLimits limits = {});
  Bus(const Bus&) = delete;
  Bus& operator=(const Bus&) = delete;
  ~Bus();  ///< writes what is queued, flushes, joins

  void start();  ///< starts the threads: after the last fork
  /// Any thread. Events of one thread reach a subscriber in the order in which it published them.
  void publish(Event event);
  /// Whether a subscriber that still works wants events of this kind. Other events need not be
  /// made.
  template <class Kind>
  [[nodiscard]] bool wants() const {
    return EventSet(wanted_.load(std::memory_order_relaxed)).has(index_of<Kind>());
  }
  /// Events that found no room.
  [[nodiscard]] std::uint64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }
  /// Events that a retaining queue took without their bodies.
  [[nodiscard]] std::uint64_t stripped() const { return stripped_.load(std::memory_order_relaxed); }

 private:
  class Queue;
  void update_wanted();

  OnError on_error_;
  void* context_;
  BusLimits limits_;
  std::atomic<std::uint32_t> wanted_{0};
  std::atomic<std::uint64_t> dropped_{0};
  std::atomic<std::uint64_t> stripped_{0};
  std::vector<std::unique_ptr<Queue>> queues_;
};

}  // namespace mitm::flow
