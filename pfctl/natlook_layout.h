// The question of pf's DIOCNATLOOK and its answer, as bytes. The three pfs put the fields at places
// of their own; the macOS SDK does not even ship the header. So the offsets are written out, and
// everything here is tested on any system. No pf needed, no allocation.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>

#include "base/error.h"
#include "base/network.h"
#include "pfctl/original_tuple.h"
#include "pfctl/pf.h"

namespace pfctl {

/// Of struct pfioc_natlook. All offsets in bytes. The four addresses (16 bytes each, an IPv4 one in
/// the first 4) come first everywhere; ports are 2 bytes in network order.
struct NatlookLayout {
  std::uint32_t request = 0;  ///< for ioctl(2)
  std::size_t size = 0;
  std::size_t source_port = 0;
  std::size_t destination_port = 0;
  std::size_t answered_source_port = 0;
  std::size_t answered_destination_port = 0;
  std::size_t family = 0;  ///< 1 byte, as are the next two
  std::size_t protocol = 0;
  std::size_t direction = 0;
  std::uint8_t inet6 = 0;  ///< the system's AF_INET6; AF_INET is 2 everywhere
};

inline constexpr std::size_t kNatlookSource = 0;
inline constexpr std::size_t kNatlookDestination = 16;
inline constexpr std::size_t kNatlookAnsweredSource = 32;
inline constexpr std::size_t kNatlookAnsweredDestination = 48;

/// Ports are unions of 4 bytes (pf_state_xport), and proto_variant is at 82: 0 for TCP.
inline constexpr NatlookLayout kNatlookDarwin{.request = 0xC0544417,
                                              .size = 84,
                                              .source_port = 64,
                                              .destination_port = 68,
                                              .answered_source_port = 72,
                                              .answered_destination_port = 76,
                                              .family = 80,
                                              .protocol = 81,
                                              .direction = 83,
                                              .inet6 = 30};

inline constexpr NatlookLayout kNatlookFreebsd{.request = 0xC04C4417,
                                               .size = 76,
                                               .source_port = 64,
                                               .destination_port = 66,
                                               .answered_source_port = 68,
                                               .answered_destination_port = 70,
                                               .family = 72,
                                               .protocol = 73,
                                               .direction = 74,
                                               .inet6 = 28};

/// The routing domains at 64 and 66 stay 0.
inline constexpr NatlookLayout kNatlookOpenbsd{.request = 0xC0504417,
                                               .size = 80,
                                               .source_port = 68,
                                               .destination_port = 70,
                                               .answered_source_port = 72,
                                               .answered_destination_port = 74,
                                               .family = 76,
                                               .protocol = 77,
                                               .direction = 78,
                                               .inet6 = 24};

constexpr const NatlookLayout& natlook_layout(Dialect dialect) {
  if (dialect == Dialect::darwin) return kNatlookDarwin;
  return dialect == Dialect::freebsd ? kNatlookFreebsd : kNatlookOpenbsd;
}

/// For ioctl(2), which writes the answer over the question.
struct NatlookRequest {
  alignas(8) std::array<unsigned char, 84> room{};
  std::size_t size = 0;

  [[nodiscard]] std::span<const unsigned char> view() const { return {room.data(), size}; }
};

/// Asks about the TCP connection that a listener accepted from `peer` at its own address `local`.
/// Errors: ends of two families, a zero address or port (the kernel would say EINVAL).
[[nodiscard]] base::Result<NatlookRequest> encode_natlook(const NatlookLayout& layout,
                                                          const base::Endpoint& peer,
                                                          const base::Endpoint& local);

/// Empty when the answer is too short, of another family than `peer`, or names no port. The source
/// is pf's as well: FreeBSD's `rdr` gives a connection another source port when two would have the
/// same ends behind it (one local port, two destinations; 14.2 and later), and the peer is then not
/// the program's own end. Where the answer has none it is the peer.
std::optional<OriginalTuple> decode_natlook(const NatlookLayout& layout,
                                            std::span<const unsigned char> bytes,
                                            const base::Endpoint& peer);

/// ioctl(2) on /dev/pf with this request and room: 0 or errno.
using NatlookCall = std::function<int(std::uint32_t request, unsigned char* room)>;

/// Natlook::lookup() by this call. Asks twice: a connection can be accepted a moment before its
/// state can be found.
[[nodiscard]] base::Result<std::optional<OriginalTuple>> ask_natlook(const NatlookLayout& layout,
                                                                     const base::Endpoint& peer,
                                                                     const base::Endpoint& local,
                                                                     const NatlookCall& call);

/// What an errno of the call means to the user. ENOENT (no such connection) is no error: not for
/// here.
base::Error explain_natlook(int error, const base::Endpoint& peer);

}  // namespace pfctl
