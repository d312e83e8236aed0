// Which of the sockets is meant. TCP is exact; UDP follows what the kernel itself does when it
// delivers a packet: connected sockets first, then those bound to the address, then those bound to
// the port alone.
#include "procmap/bsd_socket.h"

#include <array>

namespace procmap {
namespace {

/// 0: another socket.
int closeness(const BsdSocket& socket, const base::Endpoint& source,
              const base::Endpoint& destination, Transport transport) {
  const bool connected = socket.remote == destination;
  if (socket.local == source && connected) return 3;
  if (transport == Transport::tcp || socket.local.port() != source.port()) return 0;
  if (!connected && socket.remote.port() != 0) return 0;
  if (socket.local == source) return 2;
  // A socket of IPv6 that is bound to no address also takes IPv4.
  return socket.local.address().is_unspecified() ? 1 : 0;
}

}  // namespace

base::Address without_scope(const base::Address& address) {
  const auto plain = base::unmapped(address);
  if (plain.is_v4()) return plain;
  auto raw = plain.to_v6().to_bytes();
  if (plain.to_v6().is_link_local()) raw[2] = raw[3] = 0;
  return boost::asio::ip::address_v6{raw};
}

const BsdSocket* find_socket(const std::vector<BsdSocket>& sockets, const base::Endpoint& source,
                             const base::Endpoint& destination, Transport transport) {
  const base::Endpoint from{without_scope(source.address()), source.port()};
  const base::Endpoint to{without_scope(destination.address()), destination.port()};
  const BsdSocket* best = nullptr;
  int best_closeness = 0;
  for (const auto& socket : sockets) {
    const int its = closeness(socket, from, to, transport);
    if (its <= best_closeness) continue;
    best = &socket;
    best_closeness = its;
  }
  return best;
}

std::string bsd_state_name(int state) {
  static constexpr std::array kNames = {"CLOSED",   "LISTEN",     "SYN-SENT",   "SYN-RECV",
                                        "ESTAB",    "CLOSE-WAIT", "FIN-WAIT-1", "CLOSING",
                                        "LAST-ACK", "FIN-WAIT-2", "TIME-WAIT"};
  if (state >= 0 && static_cast<std::size_t>(state) < kNames.size())
    return kNames[static_cast<std::size_t>(state)];
  return std::to_string(state);
}

}  // namespace procmap
