// What is to be done, from what was found. The order: what can fail for
// reasons of others first, what diverts last. The anchor is loaded before the main ruleset refers
// to it and before pf is enabled, so that nothing is ever half diverted.
#include "pfctl/pf_plan.h"

#include <algorithm>
#include <array>

#include "pfctl/pf_load.h"

namespace pfctl {
namespace {

// Where the preferred one is covered: the networks for documentation, which are not routed, and
// neighbours in our own ULA prefix.
constexpr std::array kOthersV4{"192.0.2.111", "198.51.100.111", "203.0.113.111"};
constexpr std::array kOthersV6{"fdff:6f73:1::1", "fdff:6f73:2::1"};

const Interface* lo0_of(const Status& status) {
  const auto found = std::ranges::find(status.interfaces, "lo0", &Interface::name);
  return found == status.interfaces.end() ? nullptr : &*found;
}

bool on_lo0(const Status& status, const base::Address& address) {
  const Interface* lo0 = lo0_of(status);
  return lo0 != nullptr && std::ranges::count(lo0->addresses, address) > 0;
}

bool covered(const Status& status, const base::Address& address) {
  const auto holds = [&](const base::Network& network) { return network.contains(address); };
  return std::ranges::any_of(status.routes, holds) ||
         std::ranges::any_of(status.interfaces, [&](const Interface& each) {
           return std::ranges::any_of(each.networks, holds);
         });
}

base::Result<base::Address> choose_alias(const Status& status, const base::Address& preferred) {
  std::vector<base::Address> candidates{preferred};
  for (const char* each : kOthersV4) {
    if (preferred.is_v4()) candidates.push_back(boost::asio::ip::make_address(each));
  }
  for (const char* each : kOthersV6) {
    if (preferred.is_v6()) candidates.push_back(boost::asio::ip::make_address(each));
  }
  std::string tried;
  for (const auto& each : candidates) {
    if (on_lo0(status, each) || !covered(status, each)) return each;
    tried += (tried.empty() ? "" : ", ") + each.to_string();
  }
  return base::failure(
      "no address for lo0 is free: interfaces or routes of others cover {}; choose one that is "
      "not routed",
      tried);
}

}  // namespace

base::Result<Preparation> plan_preparation(const Status& status, const Loopback& preferred) {
  Preparation plan{.loopback = preferred, .steps = {}};
  const Interface* lo0 = lo0_of(status);
  // A kernel or a jail without IPv6 has none on lo0 either.
  const bool ipv6 = lo0 != nullptr && std::ranges::any_of(lo0->addresses, &base::Address::is_v6);
  if (!ipv6) plan.loopback.v6 = boost::asio::ip::address_v6::any();
  if (!status.module_loaded) plan.steps.push_back({Step::Kind::load_module, "pf"});
  for (base::Address* wanted : {&plan.loopback.v4, &plan.loopback.v6}) {
    if (wanted->is_unspecified()) continue;
    const auto chosen = choose_alias(status, *wanted);
    if (!chosen) return chosen.error();
    *wanted = *chosen;
    if (!on_lo0(status, *chosen))
      plan.steps.push_back({Step::Kind::add_alias, chosen->to_string()});
  }
  const bool tso = std::ranges::any_of(status.interfaces, &Interface::tso);
  if (tso && lo0 != nullptr && lo0->mtu < kLargestMtu) {
    plan.steps.push_back({Step::Kind::set_mtu, std::to_string(lo0->mtu)});
  }
  return plan;
}

std::string advice_on_skipping(Dialect dialect) {
  std::string advice =
      "take lo0 out of `set skip` in /etc/pf.conf and load it (pfctl -f /etc/pf.conf)";
  if (dialect == Dialect::darwin) {
    advice +=
        "; where it says no such thing, Internet Sharing or the network of virtual machines "
        "(vmnet) has set it at run time: switch that off";
  }
  return advice;
}

base::Result<RulesetVariants> offer_of(const Ruleset& ruleset, Dialect dialect) {
  auto text = render_pf(ruleset, dialect);
  if (!text) return text.error();
  RulesetVariants offer{
      .text = std::move(*text), .proof = RulesetVariants::Proof::none, .without_ipv6 = {}};
  const bool ipv6 = ruleset.ipv6 && !ruleset.ipv6_refused;
  if (ruleset.ipv4) {
    if (!ruleset.queueing) offer.proof = RulesetVariants::Proof::ipv4;
  } else if (ipv6) {
    offer.proof = RulesetVariants::Proof::ipv6;
  }
  if (!ruleset.ipv4 || !ipv6) return offer;
  Ruleset refusing = ruleset;
  refusing.ipv6_refused = true;
  auto without = render_pf(refusing, dialect);
  if (!without) return without.error();
  offer.without_ipv6 = std::move(*without);
  return offer;
}

bool holds_packets(std::string_view text) {
  return text.find("divert-to") != std::string_view::npos;
}

std::string rival_of(const Status& status, const Machine& machine, std::string_view text) {
  // On macOS a wildcard refers to us, among anchors of services that a rewriting would take their
  // order from.
  if (machine.dialect != Dialect::freebsd) return {};
  // What is let pass matches a rule of ours last, behind all that precedes it: a `block`
  // would be taken back, and the state, queue or route of a `pass` would be lost.
  if (holds_packets(text)) return first_to_match(status.main.rules, machine.anchor);
  if (!can_rewrite(status.main, machine)) return {};
  return first_to_decide(status.main.rules, machine.anchor);
}

base::Result<> can_hold(const Status& status, const Machine& machine, std::string_view text) {
  if (machine.dialect != Dialect::freebsd || !holds_packets(text)) return {};
  if (const std::string rule = first_to_reassemble(status.main.rules); !rule.empty())
    return base::failure(
        "`{}` in the main ruleset of pf has pf make a state for each connection before its "
        "verdict: FreeBSD 14 then holds the same first packet again and again, 15 asks no rule "
        "behind osproxy's; where `reassemble tcp` is for `scrub in` only, first packets can be "
        "held",
        rule);
  if (const std::string rule =
          first_to_translate(status.main.nat, own_addresses(status.interfaces));
      !rule.empty())
    return base::failure(
        "`{}` in the main ruleset of pf may translate connections of this machine (jails "
        "included) before they are held, which would then belong to no connection and time out",
        rule);
  const std::string rival =
      status.refers_to_anchor(machine.anchor) ? rival_of(status, machine, text) : std::string();
  const auto rewritable = can_rewrite(status.main, machine);
  if (rival.empty() || rewritable) return {};
  return base::failure(
      "`{}` in the main ruleset of pf precedes {}, which would take its decisions back "
      "while first packets are held; and the main ruleset is not written anew, for {}: {}",
      rival, machine.anchor, rewritable.error().text, advice_on_reference(machine));
}

base::Result<std::vector<Step>> plan_loading(const Status& status, const Machine& machine,
                                             std::string text) {
  if (status.skips_lo0) {
    return base::failure("pf skips lo0, so nothing can be diverted: {}",
                         advice_on_skipping(machine.dialect));
  }
  // Enabled, they would be in force; and connections that are open have no states, which `flags
  // S/SA` wants.
  const std::string rule = first_of_others(status.main, machine.anchor);
  if (machine.dialect == Dialect::freebsd && !status.enabled && !rule.empty()) {
    return base::failure(
        "pf is disabled, but its main ruleset holds rules (`{}`): osproxy has to enable pf, which "
        "would put them in force and could cut connections that are open; if they are meant, "
        "enable pf first (pfctl -e), else take them out (pfctl -F rules; pfctl -F nat)",
        rule);
  }
  if (const auto good = can_hold(status, machine, text); !good) return good.error();
  std::vector<Step> steps;
  const bool wanted = text.find(kLoopbackInterface) != std::string::npos;
  const bool there =
      std::ranges::count(status.interfaces, kLoopbackInterface, &Interface::name) > 0;
  if (wanted && !there) steps.push_back({Step::Kind::create_loopback, kLoopbackInterface});
  const bool behind = !rival_of(status, machine, text).empty();
  steps.push_back({Step::Kind::load_anchor, std::move(text)});
  const bool refers = status.refers_to_anchor(machine.anchor);
  const auto rewritable = can_rewrite(status.main, machine);
  if (!refers && !rewritable) {
    return base::failure(
        "the main ruleset of pf does not refer to {}, and is not written anew, for {}: {}",
        machine.anchor, rewritable.error().text, advice_on_reference(machine));
  }
  if (!refers || behind) steps.push_back({Step::Kind::refer_anchor, {}});
  // FreeBSD's pf numbers its states anew from the clock when it is enabled: one that is left from
  // before may have the number of a new one, whose first packets are then dropped. While pf is off
  // they are unused.
  if (!status.enabled) steps.push_back({Step::Kind::flush_states, {}});
  // macOS counts who wants it enabled; FreeBSD does not.
  if (!status.enabled || machine.dialect == Dialect::darwin)
    steps.push_back({Step::Kind::enable, {}});
  return steps;
}

}  // namespace pfctl
