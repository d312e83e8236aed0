// What a bus tells its subscribers, kept for the test.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

#include "mitm/flow/bus.h"
#include "tests/mitm/flat_flow.h"
#include "tests/test.h"

namespace test {

/// Has a bus of its own. Everything but the bus's own thread is the test's.
class FlowLog {
 public:
  /// `want_data`: the decrypted streams as well.
  explicit FlowLog(bool want_data = false);
  FlowLog(const FlowLog&) = delete;
  FlowLog& operator=(const FlowLog&) = delete;

  [[nodiscard]] mitm::flow::Bus& bus() { return bus_; }

  /// What there is after waiting for at least `count`, and for what was published before the call.
  [[nodiscard]] std::vector<FlatFlow> ended(std::size_t count) { return wait_for(ends_, count); }
  [[nodiscard]] std::vector<FlatFlow> started(std::size_t count) {
    return wait_for(starts_, count);
  }
  [[nodiscard]] std::vector<FlatFlow> messages(std::size_t count) {
    return wait_for(messages_, count);
  }
  [[nodiscard]] std::vector<mitm::flow::Data> data(std::size_t count) {
    return wait_for(data_, count);
  }
  /// Of all events in their order: see flow::index_of().
  [[nodiscard]] std::vector<std::size_t> kinds(std::size_t count) {
    return wait_for(kinds_, count);
  }

 private:
  class Sink;
  static constexpr std::chrono::seconds kLimit{20};

  void drain();
  template <class T>
  std::vector<T> wait_for(const std::vector<T>& list, std::size_t count) {
    drain();
    std::unique_lock lock{mutex_};
    changed_.wait_for(lock, kLimit, [&] { return list.size() >= count; });
    REQUIRE(list.size() >= count);
    return list;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<FlatFlow> starts_, ends_, messages_;
  std::vector<mitm::flow::Data> data_;
  std::vector<std::size_t> kinds_;
  std::size_t lines_ = 0;  ///< log lines that have been written
  std::size_t asked_ = 0;  ///< and published
  mitm::flow::Bus bus_;
};

}  // namespace test
