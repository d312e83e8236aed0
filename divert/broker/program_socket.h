// Sockets for the upstream half of a program's connection that other packet-filter rules of this
// machine take for the program's own: so that what may not leave for the program does not leave for
// us.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include <sys/types.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/network.h"
#include "procmap/attribution.h"

namespace divert {

/// What packet filters (nftables' `meta skuid` and `skgid`, xtables' owner match) and routing rules
/// (`uidrange`, `fwmark`) can ask of a socket.
struct SocketMaker {
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;  ///< supplementary
  std::uint32_t mark = 0;

  bool operator==(const SocketMaker&) const = default;
};

/// The group that is taken where that of the program is not known: the kernel's overflow group, in
/// which no user has.
inline constexpr gid_t kUnknownGroup = 65534;

/// As far as it is known. Empty: not even the user is.
[[nodiscard]] std::optional<SocketMaker> maker_of(const procmap::Owner& owner);

/// Whether this system has such sockets: Linux.
[[nodiscard]] bool has_program_sockets();

/// A TCP socket, not connected, non-blocking and close-on-exec, as if `maker` had made it;
/// `own_mark` is added to its mark (pfctl::Ruleset). It is bound to the address of `source`, the
/// program's own end, where that is one of this machine's. Its port is another one, for two sockets
/// cannot have the same ends; below 1024 when the program's is, unless all of those are taken.
/// Needs root; takes on the maker's identity for a moment, on the calling thread only. What it
/// cannot take on (cgroup, bound device, security label) stays the caller's. Errors: no
/// descriptors; the user or group does not exist in this user namespace; ENOTSUP elsewhere.
[[nodiscard]] base::Result<base::UniqueFd> open_program_socket(const SocketMaker& maker,
                                                               const base::Endpoint& source,
                                                               std::uint32_t own_mark);

}  // namespace divert
