// Whether others still come round: the contexts of the worker, the broker. Pure: no clock, no
// descriptor.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <vector>

namespace divert {

/// Silence is measured by the listener's own rounds: a round that comes late (the machine slept,
/// the whole job was stopped, something held the listener up) counts for no more than kMaxStep,
/// because the others were held up as well.
class Heartbeats {
 public:
  using Time = std::chrono::steady_clock::time_point;

  static constexpr std::chrono::milliseconds kSilence{2000};
  static constexpr std::chrono::milliseconds kMaxStep{400};
  /// Between two heartbeats of a context.
  static constexpr std::chrono::milliseconds kEvery{500};

  explicit Heartbeats(std::size_t contexts) : silence_(contexts) {}

  /// A sign of life.
  void heard(std::size_t context) { silence_[context] = {}; }

  /// To be called several times a second. The context that has been silent for kSilence, if there
  /// is one.
  [[nodiscard]] std::optional<std::size_t> round(Time now);

 private:
  std::vector<std::chrono::steady_clock::duration> silence_;
  std::optional<Time> last_;
};

}  // namespace divert
