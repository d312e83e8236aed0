// Brings a ruleset into the one form that the renderers and loaders take: sorted, without overlaps,
// complete. Kernels refuse overlapping intervals, and two rulesets that mean the same should print
// the same.
#include "pfctl/ruleset.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <tuple>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace pfctl {
namespace {

constexpr unsigned kMappedBits = 96;  // ::ffff:0:0/96 holds IPv4

base::Result<> check_families(const Ruleset& ruleset) {
  const bool divert_v6 = ruleset.ipv6 && !ruleset.ipv6_refused;
  if (!ruleset.ipv4 && !divert_v6) {
    return base::failure("no address family to divert; switch on IPv4, IPv6 or both");
  }
  if (ruleset.ipv4 && ruleset.listener_v4 == 0) {
    return base::failure(
        "no listener port for IPv4; open a listener on 127.0.0.1 or switch IPv4 off");
  }
  if (divert_v6 && ruleset.listener_v6 == 0) {
    return base::failure("no listener port for IPv6; open a listener on [::1] or switch IPv6 off");
  }
  return {};
}

base::Result<> check_group(std::uint32_t gid) {
  if (gid == 0) {
    return base::failure(
        "the exempt group must not be 0: no connection of root's would be diverted");
  }
  if (gid == std::numeric_limits<std::uint32_t>::max()) {
    return base::failure("the exempt group {} is not a group number", gid);
  }
  return {};
}

base::Result<> check_capture(const Ruleset& ruleset) {
  if (!ruleset.capture_gid) return {};
  const std::uint32_t gid = *ruleset.capture_gid;
  if (gid == 0 || gid == std::numeric_limits<std::uint32_t>::max()) {
    return base::failure("the capture group {} is not a group that a single command can have", gid);
  }
  if (gid == ruleset.exempt_gid) {
    return base::failure(
        "the capture group {} is the exempt group as well; nothing would be diverted", gid);
  }
  return {};
}

base::Result<> check_aliases(const Ruleset& ruleset) {
  if (ruleset.ipv4 && (!ruleset.alias_v4.is_v4() || ruleset.alias_v4.is_unspecified())) {
    return base::failure("{} is no IPv4 address for listeners; expected for example 198.18.0.1",
                         ruleset.alias_v4.to_string());
  }
  const bool divert_v6 = ruleset.ipv6 && !ruleset.ipv6_refused;
  if (divert_v6 && (!ruleset.alias_v6.is_v6() || ruleset.alias_v6.is_unspecified())) {
    return base::failure("{} is no IPv6 address for listeners; expected for example fdff:6f73::1",
                         ruleset.alias_v6.to_string());
  }
  return {};
}

base::Result<> check_mark(std::uint32_t mark) {
  if (std::has_single_bit(mark)) return {};
  return base::failure("the mark {:#x} is not a single bit; expected for example 0x10000000", mark);
}

base::Result<> check_queueing(const Queueing& queueing) {
  if (auto good = check_mark(queueing.mark_bit); !good) return good.error();
  if (queueing.count == 0 || queueing.first + queueing.count > 0x10000) {
    return base::failure("{} queues from number {} on do not exist", queueing.count,
                         queueing.first);
  }
  return {};
}

base::Result<std::vector<base::PortRange>> merged(std::vector<base::PortRange> ports) {
  std::ranges::sort(ports, {},
                    [](const base::PortRange& range) { return std::tie(range.first, range.last); });
  std::vector<base::PortRange> kept;
  for (const auto& range : ports) {
    if (range.first == 0 || range.last < range.first) {
      return base::failure("{}-{} is not a range of ports; expected for example 8000-8100",
                           range.first, range.last);
    }
    if (!kept.empty() && range.first <= kept.back().last + 1) {
      kept.back().last = std::max(kept.back().last, range.last);
    } else {
      kept.push_back(range);
    }
  }
  return kept;
}

std::string describe(const std::vector<base::PortRange>& ports) {
  if (ports.empty()) return "all TCP ports";
  std::vector<std::string> list;
  for (const auto& range : ports) list.push_back(base::to_string(range));
  return fmt::format("ports {}", fmt::join(list, ","));
}

// IPv4 connections of IPv6 sockets are IPv4 to the packet filter.
base::Network unmapped(const base::Network& network) {
  const base::Address plain = base::unmapped(network.address);
  if (plain.is_v6() || network.address.is_v4() || network.prefix < kMappedBits) return network;
  return {plain, network.prefix - kMappedBits};
}

base::Result<> check_network(const base::Network& network) {
  if (network.prefix > (network.address.is_v4() ? 32U : 128U)) {
    return base::failure("{}/{} is not a network: the prefix is too long",
                         network.address.to_string(), network.prefix);
  }
  const auto parsed = base::parse_network(base::to_string(network));
  return parsed ? base::Result<>{} : parsed.error();
}

base::Result<std::vector<base::Network>> merged(std::vector<base::Network> networks) {
  for (auto& network : networks) {
    if (auto good = check_network(network); !good) return good.error();
    network = unmapped(network);
  }
  // A network comes right before those inside it.
  std::ranges::sort(networks, {}, [](const base::Network& network) {
    return std::tuple(network.address.is_v6(), network.address, network.prefix);
  });
  std::vector<base::Network> kept;
  for (const auto& network : networks) {
    if (kept.empty() || !kept.back().contains(network.address)) kept.push_back(network);
  }
  return kept;
}

}  // namespace

bool redirects_ipv6_apart(const Ruleset& ruleset) {
  return ruleset.ipv6 && !ruleset.ipv6_refused && ruleset.ports_v6 &&
         *ruleset.ports_v6 != ruleset.ports;
}

std::string describe_ports(const Ruleset& ruleset) {
  const std::string ports = describe(ruleset.ports);
  if (!redirects_ipv6_apart(ruleset)) return ports;
  return fmt::format("{} of IPv4; IPv6 of every program is redirected on {}", ports,
                     describe(*ruleset.ports_v6));
}

base::Result<Ruleset> validated(Ruleset ruleset) {
  if (auto good = check_families(ruleset); !good) return good.error();
  if (auto good = check_group(ruleset.exempt_gid); !good) return good.error();
  if (auto good = check_capture(ruleset); !good) return good.error();
  if (auto good = check_aliases(ruleset); !good) return good.error();
  if (ruleset.own_mark) {
    if (auto good = check_mark(ruleset.own_mark); !good) return good.error();
  }
  if (ruleset.queueing) {
    if (auto good = check_queueing(*ruleset.queueing); !good) return good.error();
  }
  auto ports = merged(std::move(ruleset.ports));
  if (!ports) return ports.error();
  auto networks = merged(std::move(ruleset.excluded));
  if (!networks) return networks.error();
  ruleset.ports = std::move(*ports);
  if (ruleset.ports_v6) {
    auto ports_v6 = merged(std::move(*ruleset.ports_v6));
    if (!ports_v6) return ports_v6.error();
    ruleset.ports_v6 = std::move(*ports_v6);
  }
  ruleset.excluded = std::move(*networks);
  return ruleset;
}

}  // namespace pfctl
