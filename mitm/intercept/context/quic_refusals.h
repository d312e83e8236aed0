// QUIC that was refused, so that it is told of once for each program and host: a browser tries
// again and again.
#pragma once

#include <mutex>
#include <set>
#include <string>
#include <utility>

#include "mitm/intercept/context/pinning_cache.h"

namespace mitm::intercept {

/// Context by all contexts.
class QuicRefusals {
 public:
  /// Beyond that all are forgotten, and told of again.
  static constexpr std::size_t kMax = 4096;

  /// Whether it is the first one of this program to `host`.
  [[nodiscard]] bool is_first(const Who& who, const std::string& host);

 private:
  std::mutex mutex_;
  std::set<std::pair<std::string, std::string>> seen_;  ///< program with its user, host
};

}  // namespace mitm::intercept
