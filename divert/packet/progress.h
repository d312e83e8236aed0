// Whether a thread still makes progress, as seen from others.
#pragma once

#include <atomic>
#include <chrono>

#include "divert/packet/packet_source.h"

namespace divert {

/// One thread marks, any may ask.
class Progress {
 public:
  using Clock = std::chrono::steady_clock;

  void mark(Clock::time_point now = Clock::now()) { last_ = now.time_since_epoch().count(); }
  /// Whether the last mark is younger than `limit`.
  [[nodiscard]] bool within(Clock::duration limit, Clock::time_point now = Clock::now()) const {
    return now - Clock::time_point{Clock::duration{last_.load()}} < limit;
  }

 private:
  std::atomic<Clock::rep> last_{0};
};

/// `take`, with a mark after each packet. PacketSource::receive() hands over up to 256 packets
/// before it returns: under load that takes longer than the guard waits for a sign of life.
[[nodiscard]] inline PacketSource::Take marking(Progress& progress, PacketSource::Take take) {
  return [&progress, take = std::move(take)](const HeldPacket& packet, std::string_view bytes) {
    take(packet, bytes);
    progress.mark();
  };
}

}  // namespace divert
