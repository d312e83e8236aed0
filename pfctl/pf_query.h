// The state of a machine with pf, as its programs tell it. Changes nothing.
#pragma once

#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/network.h"
#include "pfctl/pf_machine.h"
#include "pfctl/pf_status.h"

namespace pfctl {

/// What matters of a machine before it is changed.
struct Status {
  bool module_loaded = true;  ///< FreeBSD: pf is in the kernel
  bool enabled = false;
  bool skips_lo0 = false;
  MainRuleset main;
  std::vector<Interface> interfaces;
  std::vector<base::Network> routes;

  /// Both anchors: the translation's and the filter's.
  [[nodiscard]] bool refers_to_anchor(std::string_view anchor) const;
};

/// Of all interfaces, sorted.
std::vector<base::Address> own_addresses(const std::vector<Interface>& interfaces);
/// The same, asked of ifconfig now.
[[nodiscard]] base::Result<std::vector<base::Address>> query_addresses(const Machine& machine);

/// Asks pfctl, ifconfig, netstat and kldstat; changes nothing.
[[nodiscard]] base::Result<Status> query_status(const Machine& machine);

/// macOS: IPv6 addresses of VPN interfaces (Ruleset::tunnels); elsewhere none.
[[nodiscard]] base::Result<std::vector<base::Address>> query_tunnels(const Machine& machine);

/// What decides whether our rules are in force, and mean what they meant.
struct PfView {
  bool enabled = false;
  bool skips_lo0 = false;
  MainRuleset main;
  std::string anchor;
  std::vector<base::Address> addresses;  ///< this machine's (own_addresses)

  bool operator==(const PfView&) const = default;
};

/// Error: pfctl's; without pf's module there is nothing to see.
[[nodiscard]] base::Result<PfView> query_view(const Machine& machine);

}  // namespace pfctl
