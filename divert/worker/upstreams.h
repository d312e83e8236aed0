// Upstream connections that were made while the program's first packet was held, until their accept
// fetches them. Shared by all contexts of the worker.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <unordered_map>

#include "base/fd.h"

namespace divert {

/// A connection to the server, or to the proxy in front of it.
struct Upstream {
  base::UniqueFd socket;
  std::chrono::system_clock::time_point began;      ///< when it began to be made
  std::chrono::system_clock::time_point connected;  ///< when it could be used
};

class Upstreams {
 public:
  using Clock = std::chrono::steady_clock;
  /// The program's connection reaches our listener within microseconds, or never.
  static constexpr std::chrono::seconds kUnfetchedTtl{10};

  void put(std::uint64_t token, Upstream upstream);
  /// Empty: it was not there, or has waited too long.
  [[nodiscard]] std::optional<Upstream> take(std::uint64_t token);
  [[nodiscard]] std::size_t size() const;
  /// Closes what was not fetched in time.
  void sweep(Clock::time_point now);

 private:
  mutable std::mutex mutex_;
  std::unordered_map<std::uint64_t, Upstream> made_;
  std::deque<std::pair<Clock::time_point, std::uint64_t>> order_;  ///< oldest first
};

}  // namespace divert
