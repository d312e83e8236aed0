// Connections as they begin, seen on copies of their first packets: nothing is held or changed.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <string_view>
#include <unordered_map>

#include "base/error.h"
#include "base/fd.h"
#include "divert/packet/dns_tap.h"
#include "divert/packet/packet.h"
#include "divert/packet/packet_log.h"
#include "procmap/attribution.h"

namespace divert {

/// Of every program in this network namespace, TCP and QUIC. One thread.
class ConnectionWatch {
 public:
  struct Handlers {
    /// Once for each connection; a first packet that is sent again does not count. `owner` has no
    /// process when the program was gone before it was looked for, or took too long to find.
    std::function<void(const FlowKey& key, const procmap::Owner& owner)> on_connection;
    /// A question to a name server or its answer, as the ends and the bytes of the datagram. Any
    /// host can send what looks like an answer.
    std::function<void(const FlowKey& key, std::string_view payload)> on_dns;
  };

  /// The calling thread runs before others from then on: a short connection is over in a
  /// millisecond, and its socket with it. Needs root. Errors: no copies to be had (pf, a kernel
  /// without NFLOG), no nftables.
  [[nodiscard]] static base::Result<ConnectionWatch> open(Handlers handlers);

  [[nodiscard]] int descriptor() const { return log_.descriptor(); }
  /// Calls the handlers for what waits, in the order in which it happened. True: some copies were
  /// lost. Blocks for searches for owners, a quarter of each second at most. An error is lasting.
  [[nodiscard]] base::Result<bool> receive();

 private:
  /// First packets that are remembered, so that they are not taken for new when they come again.
  static constexpr std::size_t kRemembered = 4096;
  static constexpr std::chrono::seconds kSameQuic{30};

  struct Seen {
    std::uint32_t sequence = 0;
    std::chrono::steady_clock::time_point when;
  };

  ConnectionWatch(Handlers handlers, PacketLog log, base::UniqueFd rules,
                  procmap::Attributor attributor);
  void take(std::string_view bytes);
  [[nodiscard]] bool is_new(const PacketHead& head, std::chrono::steady_clock::time_point now);
  [[nodiscard]] procmap::Owner owner_of(const FlowKey& key);

  Handlers handlers_;
  PacketLog log_;
  base::UniqueFd rules_;  ///< in force while it is open
  procmap::Attributor attributor_;
  SearchBudget budget_;
  std::unordered_map<FlowKey, Seen, FlowKeyHash> seen_;
  std::deque<FlowKey> order_;  ///< of seen_, oldest first
};

}  // namespace divert
