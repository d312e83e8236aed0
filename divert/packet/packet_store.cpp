// Plain, so that it is tested everywhere; only FreeBSD uses it.
#include "divert/packet/packet_store.h"

#include "pfctl/ruleset.h"

namespace divert {
namespace {

/// A loop makes thousands of them; a program's own use of these types of service is never held.
constexpr unsigned kTooMany = 64;
constexpr std::chrono::seconds kBurst{1};
constexpr std::size_t kTypeOfService = 1;

}  // namespace

std::uint32_t PacketStore::put(Packet packet) {
  const std::lock_guard lock{mutex_};
  const std::uint32_t id = next_++;
  packets_.insert_or_assign(id, std::move(packet));
  if (packets_.size() > most_) packets_.erase(packets_.begin());
  return id;
}

std::optional<PacketStore::Packet> PacketStore::take(std::uint32_t id) {
  const std::lock_guard lock{mutex_};
  auto found = packets_.extract(id);
  return found ? std::optional{std::move(found.mapped())} : std::nullopt;
}

bool Returned::notice(std::string_view packet, std::chrono::steady_clock::time_point now) {
  if (packet.size() <= kTypeOfService) return false;
  const auto tos = static_cast<std::uint8_t>(packet[kTypeOfService]);
  if (tos != pfctl::kTosPass && tos != pfctl::kTosDivert) return false;
  if (count_ == 0 || now - since_ > kBurst) {
    since_ = now;
    count_ = 0;
  }
  return ++count_ >= kTooMany;
}

}  // namespace divert
