// A machine on which osproxy runs, whose kernel is the model of pf.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include <fmt/format.h>

#include "pfctl/pf_status.h"
#include "tests/pfctl/pf_kernel.h"

namespace pf_kernel_test {

using pf_kernel::Fate;
using pf_kernel::Kernel;
using pf_kernel::Owner;
using pf_kernel::Packet;
using pfctl::Dialect;

inline constexpr std::uint32_t kProxyGroup = 1869837176, kExecGroup = 1869837432;
inline constexpr Owner kProgram{1001, 1001}, kCommand{1001, kExecGroup}, kProxy{65534, kProxyGroup};
inline constexpr const char *kHere = "10.0.2.15", *kHereV6 = "2001:db8:1::15", *kFar = "192.0.2.80",
                            *kFarV6 = "2001:db8:2::80", *kVpn = "10.8.0.2", *kVpnV6 = "fd00:8::2";

inline base::Endpoint at(const char* address, std::uint16_t port) {
  return {boost::asio::ip::make_address(address), port};
}

inline Packet syn(const char* from, const char* to, std::uint16_t port,
                  std::optional<Owner> owner = kProgram) {
  return {.source = at(from, 51000), .destination = at(to, port), .owner = owner};
}

inline pfctl::Ruleset redirecting() {
  pfctl::Ruleset rules;
  rules.ports = {{80, 80}, {443, 443}};
  rules.exempt_gid = kProxyGroup;
  rules.listener_v4 = rules.listener_v6 = 28531;
  rules.block_quic = true;
  return rules;
}

inline pfctl::Ruleset holding() {
  auto rules = redirecting();
  rules.ports_v6 = rules.ports;
  rules.ports = {};
  rules.queueing.emplace();
  rules.queueing->first = 28531;
  return rules;
}

inline pfctl::Ruleset with_loopback(pfctl::Ruleset rules) {
  rules.loopback = true;
  return rules;
}

/// A machine on which osproxy runs.
struct Machine {
  /// `user`: filter rules of the main ruleset, behind our anchor.
  Machine(const pfctl::Ruleset& wanted, Dialect system, std::string_view user = {},
          std::string_view anchor_text = {})
      : rules(pfctl::validated(wanted).value()), dialect(system), kernel(system) {
    for (const char* each : {kHere, kHereV6, kVpn, kVpnV6, "198.18.0.1", "fdff:6f73::1"})
      kernel.own.insert(boost::asio::ip::make_address(each));
    kernel.listeners = {{rules.alias_v4, rules.listener_v4}, {rules.alias_v6, rules.listener_v6}};
    const auto text =
        anchor_text.empty() ? pfctl::render_pf(rules, dialect).value() : std::string(anchor_text);
    kernel.load_anchor(pfctl::anchor_of(dialect), text);
    if (dialect == Dialect::darwin) {
      kernel.load_main(
          fmt::format("rdr-anchor \"com.apple/*\" all\nanchor \"com.apple/*\" all\n{}", user));
    } else {
      kernel.load_main(
          pfctl::main_ruleset({.nat = {}, .dummynet = {}, .rules = std::string(user)}, "osproxy"));
    }
  }

  /// What the proxy sends for a program.
  Fate upstream(const Packet& packet) {
    Packet ours = packet;
    ours.tos = 0;
    ours.owner = kProxy;
    ours.source.port(52000);
    const auto range = pfctl::own_source_ports(rules, dialect);
    if (range && kernel.own.contains(packet.destination.address())) ours.source.port(range->first);
    if (range && packet.destination.address().is_loopback()) ours.source.port(range->last);
    return kernel.send(ours);
  }

  /// A program's connection, from its first packet on.
  std::string connect(Packet packet, bool chosen = true) {
    Fate fate = kernel.send(packet);
    if (fate == Fate::held) {
      packet = kernel.held();
      if (chosen && upstream(packet) == Fate::blocked) return "held, upstream blocked";
      packet.tos = chosen ? pfctl::kTosDivert : pfctl::kTosPass;
      fate = kernel.send(packet);
      if (fate == Fate::held) return "held for ever";
    }
    if (fate == Fate::leaves && kernel.answer(packet) != Fate::arrives)
      return "leaves, answer blocked";
    if (fate != Fate::diverted) return name_of(fate);
    const Fate ours = upstream(packet);
    if (ours == Fate::diverted || ours == Fate::held) return "goes round for ever";
    return ours == Fate::leaves || ours == Fate::arrives
               ? "proxied"
               : fmt::format("proxied, upstream {}", name_of(ours));
  }

  pfctl::Ruleset rules;
  Dialect dialect;
  Kernel kernel;
};

}  // namespace pf_kernel_test
