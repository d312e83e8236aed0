// How filters are read.
#pragma once

#include <chrono>
#include <cstddef>

#include "mitm/flow/records.h"

namespace mitm::query {

/// Longer texts, and more comparisons, are refused.
inline constexpr std::size_t kMaxText = 16 << 10;
inline constexpr std::size_t kMaxTests = 500;

struct Options {
  bool case_sensitive = false;
  /// What "10m" (ago) and the like count from.
  flow::Time now = std::chrono::system_clock::now();
};

}  // namespace mitm::query
