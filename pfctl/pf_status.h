// What pfctl, ifconfig and netstat print on macOS and FreeBSD, read. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/network.h"

namespace pfctl {

/// `pfctl -s info`: whether pf is enabled. An error when the text does not say.
[[nodiscard]] base::Result<bool> parse_enabled(std::string_view info);

/// `pfctl -s info`: one of the counters, such as "state-insert"; empty: it is not there.
std::optional<std::uint64_t> parse_counter(std::string_view info, std::string_view name);

/// `pfctl -v -s info`: the checksum of the main ruleset's filter rules; empty: it is not there.
std::string parse_checksum(std::string_view info);

/// `route -n get ADDRESS`: the interface that leads there; empty: none.
std::string parse_route_interface(std::string_view route);

/// `pfctl -E`, its standard error: the number of the reference. Empty if none.
std::optional<std::string> parse_token(std::string_view printed);

/// `pfctl -s References`: whether the token is listed.
bool lists_token(std::string_view references, std::string_view token);

/// `pfctl -v -s Interfaces`: whether `set skip` takes lo0 out, by itself or as one of the group
/// "lo".
bool skips_lo0(std::string_view interfaces);

/// `pfctl -s nat` with "rdr-anchor", `pfctl -s rules` with "anchor": whether the ruleset evaluates
/// the anchor for all packets, by its name or as a direct child ("com.apple/*").
bool refers_to(std::string_view ruleset, std::string_view keyword, std::string_view anchor);

/// The main ruleset, as `pfctl -s` prints its parts.
struct MainRuleset {
  std::string nat;
  std::string dummynet;  ///< macOS only
  std::string rules;     ///< normalization as well

  bool operator==(const MainRuleset&) const = default;
};

/// The main ruleset as one text that pfctl reads back: normalization, translation, dummynet,
/// filter. When `anchor` is not empty, it is referred to once, in front of all translation and all
/// filter rules.
std::string main_ruleset(const MainRuleset& running, std::string_view anchor);

/// `main` without the lines that refer to the anchor by its name.
std::string without_references(std::string_view main, std::string_view anchor);

/// The first filter rule that can decide on outgoing packets before our anchor is evaluated, by its
/// name or by a wildcard: an anchor of others, or a `quick` rule. Empty: none.
std::string first_to_decide(std::string_view rules, std::string_view anchor);

/// The first filter rule in front of our anchor that can match outgoing packets, `quick` or not.
/// Empty: none.
std::string first_to_match(std::string_view rules, std::string_view anchor);

/// The first normalization rule that has pf follow outgoing TCP over IPv4 (`reassemble tcp`): pf
/// then makes a state for a connection whatever the filter rule says (pf.c: PFDESC_TCP_NORM).
/// Empty: none.
std::string first_to_reassemble(std::string_view rules);

/// Of `pfctl -s nat`: the first rule that may translate TCP over IPv4 that comes from sockets of
/// this machine, whose addresses are `own`: nat, binat, or an anchor, which may contain one. pf
/// does so before it filters. Empty: none.
std::string first_to_translate(std::string_view nat, const std::vector<base::Address>& own);

/// For the user: what the first rule about what goes out that tells programs by their user or group
/// means for what osproxy carries. Empty: none.
std::string caution_by_owner(std::string_view rules);

struct Interface {
  std::string name;
  unsigned mtu = 0;
  bool tso = false;                     ///< TCP segmentation is left to it
  std::vector<base::Network> networks;  ///< of its addresses, host bits cleared
  std::vector<base::Address> addresses;
};

/// `ifconfig`, with or without an interface's name. What cannot be read is left out.
std::vector<Interface> parse_ifconfig(std::string_view text);

/// IPv6 addresses of VPN interfaces (utun, ipsec, ppp) that reach farther than the link.
std::vector<base::Address> tunnel_addresses_v6(const std::vector<Interface>& interfaces);

/// `netstat -rn`: destinations, without the default routes and those broader than /8 (of VPNs),
/// which say nothing about a single address. Short forms of both systems: "10", "198.18/15",
/// "fe80::%lo0/64".
std::vector<base::Network> parse_routes(std::string_view text);

/// What goes wrong, from pfctl's standard error: its first line that is not mere noise. Empty:
/// none.
std::string complaint(std::string_view printed);

}  // namespace pfctl
