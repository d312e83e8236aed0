// Which rules divert, and which leave alone, in the order that keeps us out of our own way: our group first,
// then what must never be diverted, then the redirects.
#include "pfctl/nft_rules.h"

namespace pfctl {
namespace {

using Address4 = boost::asio::ip::address_v4;
using Address6 = boost::asio::ip::address_v6;

NftRule own_listener(const base::Address& address, std::uint16_t port) {
  NftRule rule;
  rule.destination = base::Network{address, address.is_v4() ? 32U : 128U};
  rule.tcp = true;
  rule.ports = {{port, port}};
  return rule;
}

// Once the machine's own addresses are diverted as well, a visitor of a listener would be sent to that
// listener as if it had wanted to go somewhere else.
void append_listeners(const Ruleset& ruleset, std::vector<NftRule>& rules) {
  const std::size_t first = rules.size();
  if (ruleset.ipv4) rules.push_back(own_listener(Address4::loopback(), ruleset.listener_v4));
  if (ruleset.ipv6) rules.push_back(own_listener(Address6::loopback(), ruleset.listener_v6));
  rules[first].heading = "osproxy's listeners";
}

NftRule not_unicast(bool loopback) {
  NftRule rule;
  rule.heading = loopback ? "broadcast, anycast and multicast destinations"
                          : "this machine's own addresses; broadcast, anycast and multicast destinations";
  if (!loopback) rule.types.push_back(AddressType::local);
  rule.types.insert(rule.types.end(), {AddressType::broadcast, AddressType::anycast, AddressType::multicast});
  return rule;
}

void append_excluded(const std::vector<base::Network>& networks, std::vector<NftRule>& rules) {
  for (const auto& network : networks) {
    NftRule rule;
    if (&network == &networks.front()) rule.heading = "destinations left alone";
    rule.destination = network;
    rules.push_back(std::move(rule));
  }
}

NftRule redirect(Family family, const Ruleset& ruleset, std::uint16_t listener) {
  NftRule rule;
  rule.cgroup = ruleset.cgroup;
  rule.heading =
      family == Family::ipv4 ? "IPv4, to the listener on 127.0.0.1" : "IPv6, to the listener on ::1";
  rule.family = family;
  rule.tcp = true;
  rule.ports = ruleset.ports;
  rule.redirect_to = listener;
  return rule;
}

}  // namespace

NftRule nft_zone_rule(const Ruleset& ruleset) {
  NftRule rule;
  rule.heading = "osproxy's own connections are not taken for a program's that had the same ports";
  rule.group = ruleset.exempt_gid;
  rule.own_zone = true;
  return rule;
}

std::vector<NftRule> nft_rules(const Ruleset& ruleset) {
  std::vector<NftRule> rules(1);
  rules.front().heading = "osproxy's own connections";
  rules.front().group = ruleset.exempt_gid;
  if (ruleset.loopback) append_listeners(ruleset, rules);
  rules.push_back(not_unicast(ruleset.loopback));
  append_excluded(ruleset.excluded, rules);
  if (ruleset.ipv4) rules.push_back(redirect(Family::ipv4, ruleset, ruleset.listener_v4));
  if (ruleset.ipv6) rules.push_back(redirect(Family::ipv6, ruleset, ruleset.listener_v6));
  return rules;
}

}  // namespace pfctl
