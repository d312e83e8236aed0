// Owners that one thread has found, for another thread's attributor.
#pragma once

#include <atomic>
#include <deque>
#include <mutex>
#include <utility>

#include "procmap/attribution.h"

namespace divert {

/// They may not be taken for a long time: then only the latest are kept.
class OwnerHints {
 public:
  /// As many as an attributor asks first.
  static constexpr std::size_t kMax = 32;

  void add(const procmap::Owner& owner) {
    const std::lock_guard lock{mutex_};
    owners_.push_back(owner);
    if (owners_.size() > kMax) owners_.pop_front();
    anything_ = true;
  }

  /// Those that have come since, oldest first. Takes no lock when there are none.
  [[nodiscard]] std::deque<procmap::Owner> take() {
    if (!anything_.exchange(false)) return {};
    const std::lock_guard lock{mutex_};
    return std::exchange(owners_, {});
  }

 private:
  std::mutex mutex_;
  std::deque<procmap::Owner> owners_;
  std::atomic<bool> anything_{false};
};

}  // namespace divert
