// The question of attribution and its answer: a connection, and the socket and process behind it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include <sys/types.h>

#include "base/network.h"
#include "procmap/process.h"

namespace procmap {

/// What the kernel says of one socket, without walking any process.
struct SocketFacts {
  std::uint32_t inode = 0;  ///< Linux; elsewhere 0
  uid_t uid = 0;
  std::uint32_t interface = 0;  ///< bound device (idiag_if), 0: none
  std::uint64_t cgroup_id = 0;  ///< cgroup v2 id of the socket; 0 when the kernel does not say
  std::uint32_t mark = 0;       ///< SO_MARK, where the kernel says (Linux, CAP_NET_ADMIN)
  bool uid_known = true;  ///< false: no process has the socket open any more, `uid` says nothing
  std::optional<gid_t> gid = {};  ///< of the socket's maker, where the kernel says (a held packet)
  // Of a socket whose process was not found: what filters can still ask about.
  std::string user = {};  ///< login name of `uid`, or the uid in decimal; empty: uid not known
  std::string cgroup =
      {};  ///< path of the cgroup v2 in which the socket was made; empty: not known
};

/// The owner of a connection; `process` is null for "unknown", which is a normal answer.
struct Owner {
  std::optional<SocketFacts> socket;  ///< empty: the kernel no longer knows the socket
  std::shared_ptr<const ProcessFacts> process;
  int descriptor = -1;  ///< the socket's number in the process
  bool in_time = true;  ///< false: the search for the process was given up at its limit
};

/// What can be said of an owner without a search.
struct CachedOwner {
  Owner owner;
  bool needs_search = false;  ///< the process is not known; of the owner only `socket` is
};

enum class Transport : std::uint8_t { tcp, udp };

/// A connection as the program sees it (the *original* tuple).
struct SocketQuery {
  base::Endpoint source;
  base::Endpoint destination;
  Transport transport = Transport::tcp;
  /// Index of the device that its packets leave by: a socket that is bound to a device is found
  /// only with it. 0: not known.
  std::uint32_t interface = 0;
};

/// One row of the table that `osproxy who` prints.
struct SocketRow {
  base::Endpoint local;
  base::Endpoint remote;  ///< port 0 for a listener
  std::string state;      ///< as in ss(8): ESTAB, LISTEN, SYN-SENT, ...
  Owner owner;
};

}  // namespace procmap
