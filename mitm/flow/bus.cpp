// The queues between the connections and the subscribers. A publisher pays for one short lock a
// queue; the queue's thread takes all of it at once. Waking a thread costs more than everything
// else here, so after a batch the thread naps for kNap before it looks again: under load it is
// woken once per batch, and a lone event is still written at once.
#include "mitm/flow/bus.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

#include "base/signals_blocked.h"

namespace mitm::flow {
namespace {

constexpr std::chrono::milliseconds kNap{2};

/// Room in the queue is given back after so many events, not only after the whole batch.
constexpr std::size_t kReleaseEvery = 64;

class LimitedBodies final : public Subscriber {
 public:
  LimitedBodies(std::unique_ptr<Subscriber> subscriber, std::size_t limit)
      : subscriber_(std::move(subscriber)), limit_(limit) {}

  base::Result<> write(const Event& event) override {
    // A subscriber that shows no bodies does not look at them: no flow is copied for that.
    const bool copies = limit_ > 0 || std::holds_alternative<Message>(event);
    return subscriber_->write(copies ? limit_bodies(event, limit_) : event);
  }
  base::Result<> flush() override { return subscriber_->flush(); }
  [[nodiscard]] std::optional<std::chrono::milliseconds> flush_again() const override {
    return subscriber_->flush_again();
  }
  [[nodiscard]] EventSet wants() const override { return subscriber_->wants(); }
  [[nodiscard]] Delivery delivery() const override { return subscriber_->delivery(); }
  [[nodiscard]] const std::string& name() const override { return subscriber_->name(); }

 private:
  std::unique_ptr<Subscriber> subscriber_;
  std::size_t limit_;
};

}  // namespace

std::unique_ptr<Subscriber> with_limited_bodies(std::unique_ptr<Subscriber> subscriber,
                                                std::size_t limit) {
  return std::make_unique<LimitedBodies>(std::move(subscriber), limit);
}

class Bus::Queue {
 public:
  Queue(Bus& bus, Delivery delivery) : bus_(bus), delivery_(delivery) {}

  void add(std::unique_ptr<Subscriber> subscriber) {
    slots_.push_back({std::move(subscriber)});
    update_wanted();
  }
  void start();
  /// Writes what is queued, and joins.
  void stop();
  void put(Event event, std::size_t cost);
  [[nodiscard]] EventSet wanted() const {
    return EventSet(wanted_.load(std::memory_order_relaxed));
  }

 private:
  struct Entry {
    Event event;
    std::size_t cost = 0;
  };
  struct Slot {
    std::unique_ptr<Subscriber> subscriber;
    bool failed = false;
  };

  [[nodiscard]] bool fits(std::size_t cost, std::size_t bytes) const;
  [[nodiscard]] bool push(Event event, std::size_t cost, std::size_t bytes);
  void run();
  bool wait_for(std::vector<Entry>& batch);
  void drain(std::vector<Entry>& batch);
  void write(const Event& event);
  void flush();
  [[nodiscard]] std::optional<std::chrono::milliseconds> flush_again() const;
  void check(Slot& slot, const base::Result<>& result);
  void update_wanted();

  Bus& bus_;
  const Delivery delivery_;
  std::vector<Slot> slots_;
  std::atomic<std::uint32_t> wanted_{0};
  std::mutex mutex_;
  std::condition_variable filled_;
  std::vector<Entry> queue_;
  std::size_t held_events_ = 0;
  std::size_t held_bytes_ = 0;
  bool waiting_ = false;
  bool stopping_ = false;
  std::thread thread_;
};

void Bus::Queue::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  filled_.notify_one();
  if (thread_.joinable()) {
    thread_.join();
  } else if (std::vector<Entry> batch; wait_for(batch)) {
    drain(batch);
  }
}

void Bus::Queue::start() {
  const base::SignalsBlocked inherited_by_the_thread;
  thread_ = std::thread([this] { run(); });
}

/// With the lock held.
bool Bus::Queue::fits(std::size_t cost, std::size_t bytes) const {
  const bool too_many = held_events_ >= bus_.limits_.events;
  const bool too_much = held_events_ > 0 && held_bytes_ + cost > bytes;
  return !too_many && !too_much;
}

bool Bus::Queue::push(Event event, std::size_t cost, std::size_t bytes) {
  bool wake = false;
  {
    const std::lock_guard lock(mutex_);
    if (!std::holds_alternative<LogLine>(event) && !fits(cost, bytes)) return false;
    queue_.push_back({std::move(event), cost});
    ++held_events_;
    held_bytes_ += cost;
    wake = std::exchange(waiting_, false);
  }
  if (wake) filled_.notify_one();
  return true;
}

void Bus::Queue::put(Event event, std::size_t cost) {
  const bool retains = delivery_ == Delivery::retaining;
  const std::size_t limit = bus_.limits_.bytes;
  const bool put = push(retains ? event : std::move(event), cost, limit);
  if (put) return;
  if (retains && !std::holds_alternative<TcpData>(event)) {
    Event bare = without_bodies(event);
    const std::size_t bare_cost = weight(bare);
    if (push(std::move(bare), bare_cost, 2 * limit)) {
      if (bare_cost < cost) bus_.stripped_.fetch_add(1, std::memory_order_relaxed);
      return;
    }
  }
  bus_.dropped_.fetch_add(1, std::memory_order_relaxed);
}

void Bus::Queue::run() {
  std::vector<Entry> batch;
  while (wait_for(batch)) {
    drain(batch);
    std::this_thread::sleep_for(kNap);
  }
}

bool Bus::Queue::wait_for(std::vector<Entry>& batch) {
  std::unique_lock lock(mutex_);
  while (queue_.empty() && !stopping_) {
    waiting_ = true;
    const auto again = flush_again();
    if (!again) {
      filled_.wait(lock);
    } else if (filled_.wait_for(lock, *again) == std::cv_status::timeout) {
      lock.unlock();
      flush();
      lock.lock();
    }
  }
  waiting_ = false;
  batch.swap(queue_);
  return !batch.empty();
}

void Bus::Queue::drain(std::vector<Entry>& batch) {
  std::size_t events = 0;
  std::size_t bytes = 0;
  for (Entry& entry : batch) {
    write(entry.event);
    entry.event = {};
    ++events;
    bytes += entry.cost;
    if (events < kReleaseEvery && &entry != &batch.back()) continue;
    const std::lock_guard lock(mutex_);
    held_events_ -= std::exchange(events, 0);
    held_bytes_ -= std::exchange(bytes, 0);
  }
  batch.clear();
  flush();
}

void Bus::Queue::flush() {
  for (Slot& slot : slots_) {
    if (!slot.failed) check(slot, slot.subscriber->flush());
  }
}

std::optional<std::chrono::milliseconds> Bus::Queue::flush_again() const {
  std::optional<std::chrono::milliseconds> soonest;
  for (const Slot& slot : slots_) {
    const auto again = slot.failed ? std::nullopt : slot.subscriber->flush_again();
    if (again && (!soonest || *again < *soonest)) soonest = again;
  }
  return soonest;
}

void Bus::Queue::write(const Event& event) {
  if (std::holds_alternative<LogLine>(event)) flush();
  for (Slot& slot : slots_) {
    if (!slot.failed && slot.subscriber->wants().has(event.index()))
      check(slot, slot.subscriber->write(event));
  }
}

void Bus::Queue::check(Slot& slot, const base::Result<>& result) {
  if (result) return;
  slot.failed = true;
  update_wanted();
  bus_.update_wanted();
  bus_.on_error_(bus_.context_, *slot.subscriber, result.error());
}

void Bus::Queue::update_wanted() {
  EventSet wanted;
  for (const Slot& slot : slots_) {
    if (!slot.failed) wanted = wanted | slot.subscriber->wants();
  }
  wanted_ = wanted.bits();
}

Bus::Bus(std::vector<std::unique_ptr<Subscriber>> subscribers, OnError on_error, void* context,
         BusLimits limits)
    : on_error_(on_error), context_(context), limits_(limits) {
  Queue* lossy = nullptr;
  for (auto& subscriber : subscribers) {
    const Delivery delivery = subscriber->delivery();
    if (delivery == Delivery::retaining || lossy == nullptr)
      queues_.push_back(std::make_unique<Queue>(*this, delivery));
    Queue& queue = delivery == Delivery::retaining || lossy == nullptr ? *queues_.back() : *lossy;
    if (delivery == Delivery::lossy) lossy = &queue;
    queue.add(std::move(subscriber));
  }
  update_wanted();
}

/// All before any is destroyed: their threads ask each other what is wanted.
Bus::~Bus() {
  for (const auto& queue : queues_) queue->stop();
}

void Bus::start() {
  for (const auto& queue : queues_) queue->start();
}

void Bus::publish(Event event) {
  const std::size_t cost = weight(event);
  Queue* last = nullptr;  // most runs have one queue: the event is moved into it
  for (const auto& queue : queues_) {
    if (!queue->wanted().has(event.index())) continue;
    if (last != nullptr) last->put(event, cost);
    last = queue.get();
  }
  if (last != nullptr) last->put(std::move(event), cost);
}

void Bus::update_wanted() {
  EventSet wanted;
  for (const auto& queue : queues_) wanted = wanted | queue->wanted();
  wanted_ = wanted.bits();
}

}  // namespace mitm::flow
