// From the connections' threads to the sinks. Publishing never blocks on a sink.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "base/error.h"
#include "mitm/flow/flow.h"

namespace mitm::flow {

enum class Direction : std::uint8_t { request, response };

/// Decrypted bytes of a connection, for sinks that want the stream (pcap). Published only while
/// somebody wants them.
struct Data {
  std::uint64_t conn = 0;
  base::Endpoint client;
  base::Endpoint server;
  Direction direction = Direction::request;
  std::chrono::system_clock::time_point time;
  std::string bytes;  ///< empty: this direction has ended
  std::uint64_t offset =
      0;  ///< of bytes[0] in its direction's stream: a lost event leaves a gap, not a shift
  std::shared_ptr<const procmap::ProcessFacts> process;  ///< null: unknown
};

using Message = std::variant<std::unique_ptr<const Flow>, std::unique_ptr<const Data>>;

/// Runs on the bus's own thread only.
class Sink {
 public:
  virtual ~Sink() = default;
  virtual base::Result<> write(const Flow& flow) = 0;
  virtual base::Result<> write(const Data&) { return {}; }
  virtual base::Result<> flush() = 0;  ///< called after each batch
  [[nodiscard]] virtual bool wants_data() const { return false; }
  [[nodiscard]] virtual const std::string& name()
      const = 0;  ///< "--output flows.jsonl", for error messages
};

/// What the queue may hold, counting what the sink thread has taken and not yet written. A message
/// larger than `bytes` finds room when it is alone.
struct BusLimits {
  std::size_t messages = 100'000;
  std::size_t bytes = 32U << 20U;
};

/// One queue, bounded in messages and bytes; when it is full, new messages are dropped and counted.
/// A sink whose write fails is reported once through `on_error` (on the bus's thread) and not
/// called again; the others go on. SIGPIPE must be ignored by the program.
class Bus {
 public:
  using OnError = void (*)(void* context, const Sink& sink, const base::Error& error);

  Bus(std::vector<std::unique_ptr<Sink>> sinks, OnError on_error, void* context,
      BusLimits limits = {});
  Bus(const Bus&) = delete;
  Bus& operator=(const Bus&) = delete;
  ~Bus();  ///< writes what is queued, flushes, joins

  void start();  ///< starts the thread: after the last fork
  /// Any thread. Messages of one thread reach the sinks in the order in which it published them.
  void publish(std::unique_ptr<const Flow> flow);
  void publish(std::unique_ptr<const Data> data);
  /// Whether a sink that still works wants Data.
  [[nodiscard]] bool wants_data() const { return wants_data_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }

 private:
  struct Entry {
    Message message;
    std::size_t cost = 0;
  };
  struct Slot {
    std::unique_ptr<Sink> sink;
    bool failed = false;
  };

  void put(Message message, std::size_t cost);
  void run();
  bool wait_for(std::vector<Entry>& batch);
  void drain(std::vector<Entry>& batch);
  void write(const Flow& flow);
  void write(const Data& data);
  void check(Slot& slot, const base::Result<>& result);
  void update_wants_data();

  std::vector<Slot> sinks_;
  OnError on_error_;
  void* context_;
  BusLimits limits_;
  std::atomic<bool> wants_data_{false};
  std::mutex mutex_;
  std::condition_variable filled_;
  std::vector<Entry> queue_;
  std::size_t held_messages_ = 0;
  std::size_t held_bytes_ = 0;
  bool waiting_ = false;
  bool stopping_ = false;
  std::atomic<std::uint64_t> dropped_{0};
  std::thread thread_;
};

}  // namespace mitm::flow
