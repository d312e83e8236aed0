// Packets that a kernel has given out of its hands until their verdict (divert(4)): those who
// judge them know a number only.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

namespace divert {

/// From any thread.
class PacketStore {
 public:
  struct Packet {
    std::string bytes;
    std::string way;  ///< address as recvfrom(2) gave it; reinjection wants it back
  };

  /// Beyond `most` the oldest vanish: TCP sends its SYNs again.
  explicit PacketStore(std::size_t most) : most_(most) {}

  /// Its number.
  std::uint32_t put(Packet packet);
  /// The packet, which is no longer held; empty: it is not, or not any more.
  std::optional<Packet> take(std::uint32_t id);

 private:
  const std::size_t most_;
  std::mutex mutex_;
  std::map<std::uint32_t, Packet> packets_;  ///< by age
  std::uint32_t next_ = 1;
};

/// Tells when pf hands over again what it was given back with a verdict, which its type of service
/// says: a state that belongs to the rule that holds packets would have it do so for ever. For one
/// thread.
class Returned {
 public:
  /// `packet`: IPv4, from its header on. True: so many within a second that they go round.
  bool notice(std::string_view packet, std::chrono::steady_clock::time_point now);

 private:
  std::chrono::steady_clock::time_point since_;  ///< of the first of `count_`
  unsigned count_ = 0;
};

}  // namespace divert
