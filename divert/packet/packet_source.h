// First packets that are held until their verdict. One header for all packet engines: Linux has
// NFQUEUE behind it, where the kernel keeps the packets; FreeBSD divert(4), where we do.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "divert/packet/held_packet.h"
#include "pfctl/ruleset.h"

namespace divert {

/// One queue of the kernel's. Receiving belongs to one thread; verdicts may come from any.
class PacketSource {
 public:
  /// Packet headers are looked at, never what they carry.
  static constexpr std::size_t kCopied = 128;

  /// Opens queue `number`. Errors: another program has it (EBUSY or EPERM), no permission (EPERM),
  /// no such thing in this kernel.
  [[nodiscard]] static base::Result<PacketSource> open(std::uint16_t number);

  /// Waits for a packet, `patience` at most, and hands over every one that has come, in order, with
  /// its first bytes. An error is lasting. (One system call less than with poll(2) is between
  /// the program and its verdict.)
  using Take = std::function<void(const HeldPacket& packet, std::string_view bytes)>;
  [[nodiscard]] base::Result<> receive(std::chrono::milliseconds patience, const Take& take);

  void release(const HeldPacket& packet, Release how, std::uint32_t mark_bit) const;
  /// Answers the program as if the network had; acted on by the rules (pfctl::Refusal).
  void refuse(const HeldPacket& packet, pfctl::Refusal how) const;

 private:
  explicit PacketSource(base::UniqueFd socket, std::uint16_t number);

  /// The packets themselves, where the kernel gives them out of its hands.
  struct Store;

  base::UniqueFd socket_;
  [[maybe_unused]] std::uint16_t number_;
  std::vector<char> buffer_;
  std::chrono::milliseconds patience_{0};  ///< SO_RCVTIMEO; 0: not set yet
  std::shared_ptr<Store> store_;
};

/// One for each CPU, so that a packet is judged where its program waits for it.
[[nodiscard]] unsigned queue_count();
/// The rules' share when all of our numbers are free.
[[nodiscard]] pfctl::Queueing usual_queueing();

/// As many sources as wanted, with consecutive free numbers: at `wanted` or behind
/// it.
struct PacketSources {
  std::uint16_t first = 0;
  std::vector<PacketSource> each;
};
[[nodiscard]] base::Result<PacketSources> open_packet_sources(unsigned count);

/// Packets that the kernel has thrown away on their way to queues `first`... since they were
/// opened: because a queue was full, and because our socket was.
struct KernelDrops {
  std::uint64_t queue = 0;
  std::uint64_t user = 0;
};
KernelDrops kernel_drops(std::uint16_t first, std::size_t count);

}  // namespace divert
