// Connections that the filter leaves alone because their owner is unknown: they are counted,
// so that nothing passes without a trace.
#pragma once

#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <unordered_set>

#include "divert/packet/pending_connections.h"

namespace divert {

/// For any thread.
class UnknownOwners {
 public:
  /// Counts the connection when `ruling` lets it pass for want of an owner; one whose first packet
  /// comes again is counted once.
  void notice(const Ruling& ruling, const FlowKey& key);

  /// In words; empty: there was none.
  [[nodiscard]] std::string summary() const;

 private:
  static constexpr std::size_t kRemembered = 1024;

  mutable std::mutex mutex_;
  std::unordered_set<FlowKey, FlowKeyHash> seen_;
  std::deque<FlowKey> order_;  ///< oldest first
  std::uint64_t count_ = 0;
  std::string last_;  ///< whose, as far as it is known, and where to
};

}  // namespace divert
