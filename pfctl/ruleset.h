// What is to be diverted, in no packet filter's own words.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/network.h"

namespace pfctl {

/// A cgroup v2 of this machine.
struct CgroupMatch {
  std::string name;         ///< path below the root, as nft(8) prints it
  std::uint64_t id = 0;     ///< the kernel's (inode of the directory)
  std::uint32_t level = 1;  ///< depth below the root

  bool operator==(const CgroupMatch&) const = default;
};

/// TCP connections made on this machine that the kernel is to hand to our listeners.
struct Ruleset {
  std::vector<base::PortRange> ports;  ///< destination ports; empty: every port
  bool ipv4 = true;
  bool ipv6 = true;
  std::uint32_t exempt_gid = 0;         ///< the worker's group: never diverted, matched before anything else
  std::vector<base::Network> excluded;  ///< destinations left alone
  std::uint16_t listener_v4 = 0;        ///< port of the listeners on 127.0.0.1, host byte order
  std::uint16_t listener_v6 = 0;        ///< port of the listeners on [::1], host byte order
  std::optional<CgroupMatch> cgroup;    ///< divert only what processes in it, or below it, connect
  bool loopback = false;                ///< divert connections to this machine's own addresses as well
};

/// `ruleset` with ports and networks sorted and merged, or what is wrong with it.
[[nodiscard]] base::Result<Ruleset> validated(Ruleset ruleset);

/// The name of our table, in the family inet.
inline constexpr const char* kTableName = "osproxy";

/// The table as nft(8) text: what load_rules() puts in place, and what `nft list table inet osproxy` shows of
/// it. Pure; `ruleset` must be validated.
std::string render_nft(const Ruleset& ruleset);

}  // namespace pfctl
