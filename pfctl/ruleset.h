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

/// Where the kernel holds the first packet of each new connection until a verdict on it has come
/// (the packet engine). A verdict is the packet's mark: `mark_bit` on the way on means "to
/// our listeners"; one of Refusal's values, on a packet that is to go through the rules once more
/// (NF_REPEAT), how it is refused.
struct Queueing {
  std::uint16_t first = 0;              ///< number of the first queue; pf: the port of divert(4)
  std::uint16_t count = 1;              ///< queues, by CPU
  std::uint32_t mark_bit = 0x10000000;  ///< exactly one bit
  bool native = true;                   ///< nft's `queue`; else the xtables target NFQUEUE
  bool ipv6 = true;                     ///< IPv6 as well; else that is redirected
  bool quic = true;                     ///< hold datagrams that open QUIC connections as well
  std::vector<std::uint16_t>
      dns_groups;                 ///< NFLOG groups for copies of DNS questions, by CPU; empty: none
  std::uint16_t dns_answers = 0;  ///< NFLOG group for copies of the answers; only with dns_groups
};

/// pf has no marks that divert(4) could set: there a verdict is the type of service of the
/// packet that is reinjected. Unassigned values (DSCP 17 and 19).
inline constexpr std::uint8_t kTosPass = 0x44;
inline constexpr std::uint8_t kTosDivert = 0x4c;
/// Of the answers by which a held packet is refused (DSCP 21): a firewall must not keep them from
/// the program.
inline constexpr std::uint8_t kTosRefusal = 0x54;

/// How a held packet can be answered, as its program sees it. The values are marks that exist only
/// between the verdict and the rule that acts on it.
enum class Refusal : std::uint32_t {
  reset = 0x6f735001,             ///< TCP: ECONNREFUSED
  no_route = 0x6f735002,          ///< ENETUNREACH
  host_unreachable = 0x6f735003,  ///< EHOSTUNREACH
  prohibited = 0x6f735004,        ///< EHOSTUNREACH with IPv4, EACCES with IPv6
  port_unreachable = 0x6f735005,  ///< UDP: ECONNREFUSED
};

/// TCP connections made on this machine that the kernel is to hand to our listeners.
struct Ruleset {
  std::vector<base::PortRange> ports;  ///< destination ports; empty: every port
  /// pf, packet engine: those of IPv6, which is redirected for every program; empty: as `ports`.
  std::optional<std::vector<base::PortRange>> ports_v6;
  bool ipv4 = true;
  bool ipv6 = true;
  std::uint32_t exempt_gid =
      0;  ///< the worker's group: never diverted, matched before anything else
  /// nftables: exactly one bit; sockets that have it in their mark are ours as well, although a
  /// program's user and group made them. Taken out of the mark before other tables see it. 0: there
  /// are none.
  std::uint32_t own_mark = 0;
  std::vector<base::Network> excluded;  ///< destinations left alone
  std::uint16_t listener_v4 = 0;        ///< port of the listeners on 127.0.0.1, host byte order
  std::uint16_t listener_v6 = 0;        ///< port of the listeners on [::1], host byte order
  std::optional<CgroupMatch> cgroup;    ///< divert only what processes in it, or below it, connect
  std::optional<std::uint32_t>
      capture_gid;  ///< pf: divert only sockets made with this effective group (exec)
  /// pf: addresses of lo0 that the listeners are bound to. An alias of our own, so that a reset
  /// finds its way.
  base::Address alias_v4 = boost::asio::ip::make_address("198.18.0.1");
  base::Address alias_v6 = boost::asio::ip::make_address("fdff:6f73::1");
  /// macOS: IPv6 addresses of this machine on VPN interfaces; connections from them are left alone.
  std::vector<base::Address> tunnels;
  bool block_quic = false;    ///< pf: refuse UDP to port 443 of those whose TCP is diverted
  bool ipv6_refused = false;  ///< pf: IPv6 cannot be diverted here; it is refused
  bool loopback = false;      ///< divert connections to this machine's own addresses as well
  std::optional<Queueing>
      queueing;  ///< only connections with a verdict; empty: all (the redirect engine)
};

/// `ruleset` with ports and networks sorted and merged, or what is wrong with it.
[[nodiscard]] base::Result<Ruleset> validated(Ruleset ruleset);

/// IPv6 is redirected on other ports than those on which IPv4 is held.
bool redirects_ipv6_apart(const Ruleset& ruleset);
/// What is captured, for a person: "all TCP ports", "ports 80,443,8000-8100"; and what of IPv6,
/// when that is something else.
std::string describe_ports(const Ruleset& ruleset);

/// The name of our table, in the family inet.
inline constexpr const char* kTableName = "osproxy";

/// The table as nft(8) text: what load_rules() puts in place, and what `nft list table inet
/// osproxy` shows of it. Pure; `ruleset` must be validated.
std::string render_nft(const Ruleset& ruleset);

}  // namespace pfctl
