#include "tests/pfctl/pf_traps.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/network.h"

namespace pf_grammar {
namespace {

using pfctl::Dialect;

template <class... Args>
[[noreturn]] void fail(fmt::format_string<Args...> text, Args&&... args) {
  throw Wrong{fmt::format(text, std::forward<Args>(args)...)};
}

bool one_of(std::string_view word, std::initializer_list<std::string_view> words) {
  return std::ranges::find(words, word) != words.end();
}

void check_protocols(const Rule& rule) {
  const bool tcp_udp =
      !rule.protocols.empty() && std::ranges::all_of(rule.protocols, [](const auto& name) {
        return one_of(name, {"tcp", "udp", "6", "17"});
      });
  if (rule.ports && !tcp_udp) fail("'port' without proto tcp or udp");
  if (rule.owner && !tcp_udp) fail("'user' and 'group' without proto tcp or udp");
  if (rule.flags && rule.protocols != std::set<std::string>{"tcp"})
    fail("'flags' without proto tcp");
}

void check_families(const Rule& rule) {
  for (const auto& text : rule.addresses) {
    const auto network = base::parse_network(text);
    if (!network) continue;  // an interface or a host's name
    const std::string_view family = network->address.is_v4() ? "inet" : "inet6";
    if (!rule.family.empty() && rule.family != family)
      fail("{} in a rule for {}", text, rule.family);
    if (rule.family.empty() && !rule.route.empty())
      fail("route-to an address without inet or inet6");
  }
}

}  // namespace

/// Of what comes in on lo0, translation rules see addresses and ports, and no sockets.
void Traps::check_translation(const Rule& rule) {
  check_protocols(rule);
  check_families(rule);
  if (rule.action != "rdr") return;
  const bool loopback = rule.interface.starts_with("lo");
  if (loopback && rule.tagged) fail("rdr on {}: tags are lost there", rule.interface);
  if (loopback && rule.interface != "lo0" && rule.family == "inet6")
    fail("rdr on {}: IPv6 always comes in on lo0", rule.interface);
  if (rule.no && rule.interface == "lo0" && rule.source_ports) own_apart_.insert(rule.family);
  if (rule.no || !loopback) return;
  check_destination(rule);
  if (rule.interface == "lo0" && !own_apart_.contains(rule.family)) check_not_for_us(rule);
  if (one_of(rule.target, {"127.0.0.1", "::1"}) || rule.target.starts_with("fe80"))
    fail("rdr to {}: resets get lost, and IPv6 does not arrive; an alias of lo0 is wanted",
         rule.target);
  if (!rule.pass) awaited_.insert(rule.target);
}

void Traps::check_end() const {
  if (awaited_.empty()) return;
  fail("'rdr on lo0' without 'pass' to {}: filter rules can stop what it redirects",
       *awaited_.begin());
}

void Traps::check_destination(const Rule& rule) {
  if (rule.to_table) fail("takes what is in a table, and nothing else");
}

void Traps::check_not_for_us(const Rule& rule) const {
  const auto table = tables_.find(rule.negated);
  const bool leaves_us = rule.negated == "(self)" || rule.negated == "self" ||
                         (table != tables_.end() && table->second.contains("self"));
  if (!leaves_us)
    fail("takes what is for this machine itself, the proxy's own connections included");
}

void Traps::check_filter(const Rule& rule) {
  check_protocols(rule);
  check_families(rule);
  if (rule.keep && rule.stateless) fail("'keep state' and 'no state'");
  if (rule.keep && rule.action == "block") fail("'keep state' on block");
  if (rule.action == "block" && rule.owner && rule.protocols.contains("tcp") && !rule.flags)
    fail("block without 'flags S/SA' ends connections that are older than it");
  const bool ours = rule.owner || rule.tos || rule.tagged;
  if (ours) check_destination(rule);
  const bool bends = rule.route.starts_with("lo") || one_of(rule.route, {"127.0.0.1", "::1"});
  if (bends) check_route(rule);
  if (!rule.divert_port.empty()) check_divert(rule);
  if (rule.owner && rule.action == "block") check_who(rule);
  if (rule.action == "pass" && !bends && rule.divert_port.empty()) check_last_word(rule);
  judged_ |= rule.tos && rule.tag && !rule.quick;
  if (rule.direction == "in" && rule.quick && rule.reply.starts_with("lo0")) {
    for (const auto& each : rule.addresses) awaited_.erase(each);
  }
}

/// Rules that let something of ours pass must leave it to the user's own to stop it.
void Traps::check_last_word(const Rule& rule) const {
  const bool refusal = rule.interface == "lo0" && rule.stateless;
  if (rule.quick && (rule.group_is || rule.tos) && !refusal)
    fail("'quick' takes the last word from the rules behind this anchor");
  if (rule.tos && !refusal) check_who(rule);
}

void Traps::check_route(const Rule& rule) const {
  if (!rule.quick) fail("route-to without 'quick': a later rule defeats it");
  if (rule.stateless) fail("route-to with 'no state': replies are redirected again");
  if (!rule.keep) fail("route-to without 'keep state'");
  if (rule.direction != "out") fail("route-to on what does not go out");
  if (!rule.owner && !rule.tos)
    fail(
        "route-to without 'user', 'group' or 'tos': the proxy's own connections go round for ever");
  if (rule.tos && held_) fail("a verdict behind the question: the packet comes round for ever");
  check_who(rule);
}

void Traps::check_who(const Rule& rule) const {
  if (!rule.known) fail("matches what is only forwarded as well");
  if (rule.user && rule.group_is)
    fail("takes one group of all users: 'group !=' is wanted beside 'user'");
  if (!rule.group_not && !rule.group_is)
    fail("takes the proxy's own connections as well: they go round for ever");
}

void Traps::check_divert(const Rule& rule) {
  if (!rule.quick) fail("divert-to without 'quick'");
  if (dialect_ == Dialect::openbsd) {
    if (rule.direction != "in") fail("divert-to on what does not come in");
    if (rule.stateless) fail("divert-to without a state");
    if (!rule.tagged) check_not_for_us(rule);
    return;
  }
  if (!rule.stateless) fail("divert-to without 'no state'");
  if (rule.family != "inet") fail("divert-to is for inet only");
  check_who(rule);
  if (!judged_ || !rule.not_tagged)
    fail("divert-to of what has its verdict: the packet comes round for ever");
  held_ = true;
}

}  // namespace pf_grammar
