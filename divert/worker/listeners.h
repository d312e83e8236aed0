// The sockets that diverted connections arrive at.
#pragma once

#include <cstdint>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "base/network.h"
#include "base/own_number.h"

namespace divert {

/// Of this machine, reachable from nowhere else.
struct ListenAddresses {
  base::Address v4 = boost::asio::ip::address_v4::loopback();
  base::Address v6 = boost::asio::ip::address_v6::loopback();
};

/// One per context of the worker; -1 for a family that is off or that the machine does not have.
struct ListenerPair {
  base::UniqueFd v4;
  base::UniqueFd v6;
};

struct Listeners {
  /// Whether a connection to this address and port comes to one of them.
  [[nodiscard]] bool holds(const base::Endpoint& end) const;

  std::vector<ListenerPair> pairs;
  ListenAddresses at;
  std::uint16_t port_v4 = 0;  ///< host byte order; 0: none
  std::uint16_t port_v6 = 0;
};

/// ProbeResult first, so that `osproxy rules` prints what a run will load.
inline constexpr std::uint16_t kUsualPort = base::kOwnNumber;

/// `count` non-blocking listeners for each family, sharing one port (SO_REUSEPORT, or descriptors
/// of one socket). Called by root, so that only root can join that group of listeners; a port that
/// is in use already is never joined. `port` 0: the usual one, else a free one; another number:
/// that one or an error. A machine without IPv6 gives port_v6 0.
[[nodiscard]] base::Result<Listeners> bind_listeners(unsigned count, bool ipv4, bool ipv6,
                                                     std::uint16_t port = 0,
                                                     const ListenAddresses& at = {});

/// Whether listeners that share a port by SO_REUSEPORT share its connections as well; else one does
/// for all.
extern const bool kListenersShareConnections;

}  // namespace divert
