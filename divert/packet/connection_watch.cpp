// A first packet is attributed at once: its program still waits for the answer, most often.
#include "divert/packet/connection_watch.h"

#include "base/own_number.h"
#include "divert/process/thread_priority.h"
#include "pfctl/loader.h"

namespace divert {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::uint16_t kDnsPort = 53;

bool is_dns(const FlowKey& key) {
  return key.udp && (key.destination.port() == kDnsPort || key.source.port() == kDnsPort);
}

}  // namespace

ConnectionWatch::ConnectionWatch(Handlers handlers, PacketLog log, base::UniqueFd rules,
                                 procmap::Attributor attributor)
    : handlers_(std::move(handlers)),
      log_(std::move(log)),
      rules_(std::move(rules)),
      attributor_(std::move(attributor)) {}

base::Result<ConnectionWatch> ConnectionWatch::open(Handlers handlers) {
  auto attributor = procmap::Attributor::open();
  if (!attributor) return attributor.error();
  // Fills its caches: the first search for an owner is as fast as later ones.
  if (const auto rows = procmap::socket_table(*attributor); !rows) return rows.error();
  // One group for all: their order is kept.
  auto log = PacketLog::open(base::kOwnNumber);
  if (!log) return log.error();
  auto rules = pfctl::copy_first_packets(log->group());
  if (!rules) return rules.error();
  run_first();
  return ConnectionWatch{std::move(handlers), std::move(*log), std::move(*rules),
                         std::move(*attributor)};
}

base::Result<bool> ConnectionWatch::receive() {
  return log_.receive([this](std::string_view bytes) { take(bytes); });
}

void ConnectionWatch::take(std::string_view bytes) {
  const auto head = parse_packet(bytes);
  if (!head) return;
  if (is_dns(head->key)) {
    if (!head->payload.empty()) handlers_.on_dns(head->key, head->payload);
    return;
  }
  if (is_new(*head, Clock::now())) handlers_.on_connection(head->key, owner_of(head->key));
}

bool ConnectionWatch::is_new(const PacketHead& head, Clock::time_point now) {
  const auto [entry, added] = seen_.try_emplace(head.key, Seen{head.sequence, now});
  if (!added) {
    const bool again = head.key.udp ? now - entry->second.when < kSameQuic
                                    : entry->second.sequence == head.sequence;
    entry->second = {head.sequence, now};
    return !again;
  }
  order_.push_back(head.key);
  if (order_.size() > kRemembered) {
    seen_.erase(order_.front());
    order_.pop_front();
  }
  return true;
}

procmap::Owner ConnectionWatch::owner_of(const FlowKey& key) {
  const procmap::SocketQuery sought{key.source, key.destination,
                                    key.udp ? procmap::Transport::udp : procmap::Transport::tcp};
  const auto began = Clock::now();
  const auto limit = budget_.left(began);
  if (limit.count() > 0) {
    auto owner = attributor_.owner_of(sought, limit);
    budget_.spend(Clock::now() - began);
    return owner;
  }
  return attributor_.cached_owner(sought).owner;
}

}  // namespace divert
