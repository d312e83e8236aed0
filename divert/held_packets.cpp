// Plain, so that it is tested everywhere; only FreeBSD uses it.
#include "divert/held_packets.h"

namespace divert {

std::uint32_t HeldPackets::put(Packet packet) {
  const std::lock_guard lock{mutex_};
  const std::uint32_t id = next_++;
  packets_.insert_or_assign(id, std::move(packet));
  if (packets_.size() > most_) packets_.erase(packets_.begin());
  return id;
}

std::optional<HeldPackets::Packet> HeldPackets::take(std::uint32_t id) {
  const std::lock_guard lock{mutex_};
  auto found = packets_.extract(id);
  return found ? std::optional{std::move(found.mapped())} : std::nullopt;
}

}  // namespace divert
