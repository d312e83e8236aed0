// The rules of our nftables table, in order: the one list that both the text and the netlink messages are
// made from, so that what `osproxy rules` prints cannot differ from what is loaded.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/network.h"
#include "pfctl/ruleset.h"

namespace pfctl {

inline constexpr const char* kChainName = "divert";

/// In front of dstnat (-100), so that nobody else's redirect decides first. nft refuses `dstnat - 1` in an
/// output hook.
inline constexpr std::int32_t kChainPriority = -101;

/// A second chain, at the priority raw: before connection tracking looks at a packet.
inline constexpr const char* kZoneChainName = "zone";
inline constexpr std::int32_t kZoneChainPriority = -300;

/// The connection tracking zone of the original direction of our own connections. A program's connection may
/// come to have the very addresses and ports that one of ours had a moment ago; in one zone the kernel would
/// take it for that one, which is not translated, and it would escape. Replies stay in the default zone, so
/// that stateful firewalls know them.
inline constexpr std::uint16_t kZone = 28531;

/// Values of the kernel's route types (RTN_*).
enum class AddressType : std::uint32_t { local = 2, broadcast = 3, anycast = 4, multicast = 5 };

enum class Family : std::uint8_t { ipv4, ipv6 };

/// One rule: its conditions, all of which must hold, in the order in which they are tested, and its verdict.
struct NftRule {
  std::string_view heading;  ///< comment in front of a group; empty: in the group of the rule before
  std::optional<std::uint32_t> group;  ///< of the socket's maker
  std::optional<CgroupMatch> cgroup;   ///< of the socket's maker
  std::vector<AddressType> types;      ///< of the destination; empty: any
  std::optional<Family> family;        ///< not together with destination, which implies it
  std::optional<base::Network> destination;
  bool tcp = false;
  std::vector<base::PortRange> ports;  ///< destination ports of a tcp rule; empty: any
  std::uint16_t redirect_to = 0;       ///< 0: leave the connection alone
  bool own_zone = false;               ///< put it into kZone instead
};

/// `ruleset` must be validated.
std::vector<NftRule> nft_rules(const Ruleset& ruleset);

/// The only rule of the second chain.
NftRule nft_zone_rule(const Ruleset& ruleset);

/// One line, without indentation, as nft(8) prints it.
std::string render_nft_rule(const NftRule& rule);

}  // namespace pfctl
