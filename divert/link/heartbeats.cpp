#include "divert/link/heartbeats.h"

#include <algorithm>

namespace divert {

std::optional<std::size_t> Heartbeats::round(Time now) {
  using Duration = std::chrono::steady_clock::duration;
  const auto step = last_ ? std::min<Duration>(now - *last_, kMaxStep) : Duration{};
  last_ = now;
  for (auto& silence : silence_) silence += step;
  const auto silent =
      std::ranges::find_if(silence_, [](const auto& silence) { return silence >= kSilence; });
  if (silent == silence_.end()) return std::nullopt;
  return static_cast<std::size_t>(silent - silence_.begin());
}

}  // namespace divert
