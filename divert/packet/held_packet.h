// A packet that waits for its verdict.
#pragma once

#include <cstdint>
#include <optional>

namespace divert {

/// A packet in the kernel's hands.
struct HeldPacket {
  std::uint16_t source = 0;     ///< index of the PacketSource it came from
  std::uint32_t id = 0;         ///< the kernel's
  std::uint32_t mark = 0;       ///< as its program's socket set it
  std::uint32_t interface = 0;  ///< index of the device that it is to leave by; 0: not known
  std::optional<std::uint32_t> gid = {};  ///< of the socket's maker, where the kernel says

  bool operator==(const HeldPacket&) const = default;
};

/// What becomes of it.
enum class Release : std::uint8_t {
  pass,    ///< goes on as if it had not been held
  divert,  ///< goes on to our listener
  drop,    ///< vanishes; TCP sends it again
};

}  // namespace divert
