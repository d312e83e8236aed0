// The queue between the connections and the sinks. A publisher pays for one short lock; the sink
// thread takes the whole queue at once. Waking a thread costs more than everything else here, so
// after a batch the sink thread naps for kNap before it looks again: under load it is woken once
// per batch, and a lone flow is still written at once.
#include "mitm/flow/bus.h"

#include <algorithm>
#include <chrono>

#include "base/signals_blocked.h"

namespace mitm::flow {
namespace {

constexpr std::chrono::milliseconds kNap{2};

/// Room in the queue is given back after so many messages, not only after the whole batch.
constexpr std::size_t kReleaseEvery = 64;

}  // namespace

Bus::Bus(std::vector<std::unique_ptr<Sink>> sinks, OnError on_error, void* context,
         BusLimits limits)
    : on_error_(on_error), context_(context), limits_(limits) {
  for (auto& sink : sinks) sinks_.push_back({std::move(sink), false});
  update_wants_data();
}

Bus::~Bus() {
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

void Bus::start() {
  const base::SignalsBlocked inherited_by_the_thread;
  thread_ = std::thread([this] { run(); });
}

void Bus::publish(std::unique_ptr<const Flow> flow) {
  const std::size_t cost = weight(*flow);
  put(std::move(flow), cost);
}

void Bus::publish(std::unique_ptr<const Data> data) {
  const std::size_t cost = sizeof(Data) + data->bytes.size();
  put(std::move(data), cost);
}

void Bus::put(Message message, std::size_t cost) {
  bool wake = false;
  {
    const std::lock_guard lock(mutex_);
    const bool too_many = held_messages_ >= limits_.messages;
    const bool too_much = held_messages_ > 0 && held_bytes_ + cost > limits_.bytes;
    if (too_many || too_much) {
      dropped_.fetch_add(1, std::memory_order_relaxed);
      return;
    }
    queue_.push_back({std::move(message), cost});
    ++held_messages_;
    held_bytes_ += cost;
    wake = std::exchange(waiting_, false);
  }
  if (wake) filled_.notify_one();
}

void Bus::run() {
  std::vector<Entry> batch;
  while (wait_for(batch)) {
    drain(batch);
    std::this_thread::sleep_for(kNap);
  }
}

bool Bus::wait_for(std::vector<Entry>& batch) {
  std::unique_lock lock(mutex_);
  while (queue_.empty() && !stopping_) {
    waiting_ = true;
    filled_.wait(lock);
  }
  waiting_ = false;
  batch.swap(queue_);
  return !batch.empty();
}

void Bus::drain(std::vector<Entry>& batch) {
  std::size_t messages = 0;
  std::size_t bytes = 0;
  for (Entry& entry : batch) {
    std::visit([this](const auto& message) { write(*message); }, entry.message);
    entry.message = {};
    ++messages;
    bytes += entry.cost;
    if (messages < kReleaseEvery && &entry != &batch.back()) continue;
    const std::lock_guard lock(mutex_);
    held_messages_ -= std::exchange(messages, 0);
    held_bytes_ -= std::exchange(bytes, 0);
  }
  batch.clear();
  for (Slot& slot : sinks_) {
    if (!slot.failed) check(slot, slot.sink->flush());
  }
}

void Bus::write(const Flow& flow) {
  for (Slot& slot : sinks_) {
    if (!slot.failed) check(slot, slot.sink->write(flow));
  }
}

void Bus::write(const Data& data) {
  for (Slot& slot : sinks_) {
    if (!slot.failed && slot.sink->wants_data()) check(slot, slot.sink->write(data));
  }
}

void Bus::check(Slot& slot, const base::Result<>& result) {
  if (result) return;
  slot.failed = true;
  update_wants_data();
  on_error_(context_, *slot.sink, result.error());
}

void Bus::update_wants_data() {
  wants_data_ = std::any_of(sinks_.begin(), sinks_.end(), [](const Slot& slot) {
    return !slot.failed && slot.sink->wants_data();
  });
}

}  // namespace mitm::flow
