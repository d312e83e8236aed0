// What the kernels of macOS and FreeBSD say of a socket in the tables that they give as a whole.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/network.h"
#include "procmap/owner.h"

namespace procmap {

struct BsdSocket {
  base::Endpoint local;  ///< v4-mapped addresses as IPv4
  base::Endpoint remote;
  std::uint64_t name =
      0;  ///< what the kernel calls it: an address of its own, 0 where it is not told
  uid_t uid = 0;
  pid_t last_pid = 0;       ///< who used it last (macOS; elsewhere 0)
  pid_t effective_pid = 0;  ///< on whose behalf (macOS, delegated sockets); else 0 or last_pid
  int state = -1;           ///< TCPS_CLOSED = 0, ... (netinet/tcp_fsm.h); -1: not TCP

  /// Whom the connection is for.
  [[nodiscard]] pid_t pid() const { return effective_pid != 0 ? effective_pid : last_pid; }
};

struct BsdTable {
  std::vector<BsdSocket> sockets;
  bool changed = false;  ///< while the kernel wrote it: sockets may be missing, read it again
};

/// v4-mapped addresses as IPv4; link-local ones without their interface, which these kernels (and
/// programs that print what they say) also keep in the second group.
base::Address without_scope(const base::Address& address);

/// The socket of this connection; null: not found. A UDP socket need not be connected, nor
/// bound to an address: the closest match counts. Scopes of link-local addresses are not compared.
const BsdSocket* find_socket(const std::vector<BsdSocket>& sockets, const base::Endpoint& source,
                             const base::Endpoint& destination, Transport transport);

/// "ESTAB", "LISTEN", ... as on Linux; the number of any other.
std::string bsd_state_name(int state);

}  // namespace procmap
