#include "tests/pfctl/pf_kernel.h"

#include <algorithm>
#include <stdexcept>

#include <fmt/format.h>

#include "tests/pfctl/pf_kernel_rule.h"

namespace pf_kernel {

using pf_grammar::Tokens;
using pfctl::Dialect;

namespace {

bool holds(const Comparison& wanted, std::uint32_t value) {
  if (wanted.how == "!=") return value != wanted.value;
  return wanted.how == ">=" ? value >= wanted.value : value == wanted.value;
}

/// pf_match_uid() with an unknown user: = and != compare it as a number, the others never match.
bool holds(const Comparison& wanted, const std::optional<Owner>& owner, std::uint32_t Owner::*id) {
  if (owner) return holds(wanted, (*owner).*id);
  return wanted.how == "!=";
}

bool holds_port(const std::vector<base::PortRange>& ports, std::uint16_t port) {
  return ports.empty() ||
         std::ranges::any_of(ports, [&](const auto& range) { return range.contains(port); });
}

bool fits_flags(const Rule& rule, const std::string& flags) {
  return std::ranges::all_of(rule.flag_mask, [&](char flag) {
    return (flags.find(flag) != flags.npos) == (rule.flags.find(flag) != rule.flags.npos);
  });
}

}  // namespace

const char* name_of(Fate fate) {
  constexpr const char* kNames[] = {"leaves", "arrives", "diverted", "held", "blocked", "lost"};
  return kNames[static_cast<std::size_t>(fate)];
}

Kernel::Kernel(Dialect dialect) : dialect_(dialect) {}
Kernel::~Kernel() = default;

Kernel::Rules Kernel::parsed(std::string_view text) {
  const auto tokens = pf_grammar::tokens_of(text);
  if (!tokens) throw std::runtime_error(tokens.error().text);
  Rules rules;
  for (std::size_t at = 0; at < tokens->size();) {
    if ((*tokens)[at].text == "\n" && !(*tokens)[at].quoted) {
      ++at;
      continue;
    }
    if (const auto table = read_table(*tokens, at)) {
      tables_[table->name] = as_of_now(table->members);
      continue;
    }
    const std::size_t begin = at;
    rules.push_back(read_rule(*tokens, at));
    for (std::size_t i = begin; i + 1 < at; ++i) {
      auto& line = rules.back().line;
      line += (line.empty() ? "" : " ") + (*tokens)[i].text;
    }
  }
  return rules;
}

/// `self` is what it is when a table is loaded.
std::vector<std::string> Kernel::as_of_now(const std::vector<std::string>& members) const {
  std::vector<std::string> found;
  for (const auto& each : members) {
    if (each != "self") {
      found.push_back(each);
      continue;
    }
    found.insert(found.end(), {"127.0.0.1", "::1"});
    for (const auto& address : own) found.push_back(address.to_string());
  }
  return found;
}

void Kernel::load_main(std::string_view text) {
  forced_.clear();
  main_ = parsed(text);
}

void Kernel::load_anchor(const std::string& name, std::string_view text) {
  forced_.clear();
  anchors_[name] = parsed(text);
}

bool Kernel::is_own(const base::Address& address) const {
  return address.is_loopback() || own.contains(address);
}

bool Kernel::holds_address(const Host& host, const base::Address& address) const {
  const auto in = [&](const std::string& text) {
    if (text == "any") return true;
    if (text == "self") return is_own(address);
    const auto network = base::parse_network(text);
    if (!network) throw std::runtime_error("the model of pf does not know the host " + text);
    return network->contains(address);
  };
  if (!host.text.starts_with('<')) return in(host.text) != host.negated;
  return std::ranges::any_of(tables_.at(host.text), in) != host.negated;
}

bool Kernel::matches(const Rule& rule, const Pass& pass) const {
  const Packet& packet = pass.packet;
  const bool v4 = packet.destination.address().is_v4();
  if (!rule.direction.empty() && (rule.direction == "in") != pass.in) return false;
  if (!rule.interface.empty() && rule.interface != pass.interface) return false;
  if (!rule.family.empty() && (rule.family == "inet") != v4) return false;
  if (!rule.protocol.empty() && rule.protocol != packet.protocol) return false;
  if (!holds_address(rule.source, packet.source.address())) return false;
  if (!holds_address(rule.destination, packet.destination.address())) return false;
  if (!holds_port(rule.source.ports, packet.source.port())) return false;
  if (!holds_port(rule.destination.ports, packet.destination.port())) return false;
  if (!rule.flag_mask.empty() && !fits_flags(rule, packet.flags)) return false;
  if (rule.tos && *rule.tos != packet.tos) return false;
  if (rule.user && !holds(*rule.user, packet.owner, &Owner::uid)) return false;
  if (rule.group && !holds(*rule.group, packet.owner, &Owner::gid)) return false;
  return rule.tagged.empty() || (rule.tagged == pass.tag) != rule.not_tagged;
}

/// By name, or the direct children of "com.apple/*" in the order of their names.
std::vector<std::string> Kernel::referred(const std::string& name) const {
  std::vector<std::string> found;
  const bool children = name.ends_with("/*");
  const std::string_view parent = std::string_view(name).substr(0, name.size() - 1);
  for (const auto& [each, rules] : anchors_) {
    const bool child =
        children && each.starts_with(parent) && each.find('/', parent.size()) == each.npos;
    if (each == name || child) found.push_back(each);
  }
  return found;
}

/// True: a `quick` rule has matched, in whatever anchor.
bool Kernel::evaluate(const Rules& rules, Pass& pass, const Rule*& last) {
  for (const auto& rule : rules) {
    const bool filters = rule.action == "pass" || rule.action == "block" || rule.action == "anchor";
    if (!filters || !matches(rule, pass)) continue;
    if (rule.action == "anchor") {
      for (const auto& each : referred(rule.anchor)) {
        if (evaluate(anchors_.at(each), pass, last)) return true;
      }
      continue;
    }
    // The tag of every rule that matches holds at once, for the rules behind it.
    if (!rule.tag.empty()) pass.tag = rule.tag;
    last = &rule;
    if (rule.quick) return true;
  }
  return false;
}

/// The first match wins.
const Rule* Kernel::translation(const Rules& rules, const Pass& pass, bool& over) const {
  for (const auto& rule : rules) {
    if (rule.action == "rdr-anchor") {
      for (const auto& each : referred(rule.anchor)) {
        const Rule* found = translation(anchors_.at(each), pass, over);
        if (over) return found;
      }
    }
    if (rule.action != "rdr" || !matches(rule, pass)) continue;
    over = true;
    return rule.no ? nullptr : &rule;
  }
  return nullptr;
}

Fate Kernel::answer(const Packet& sent) {
  if (state_) return Fate::arrives;
  const Packet back{.source = sent.destination, .destination = sent.source, .flags = "SA"};
  Pass pass{back, outside(), true, {}};
  const Rule* last = nullptr;
  evaluate(main_, pass, last);
  return last && last->action == "block" ? Fate::blocked : Fate::arrives;
}

std::string_view Kernel::outside() const {
  return dialect_ == Dialect::darwin ? "en0" : "em0";
}

/// The first rule of this kind in the main ruleset that holds for a packet.
const Rule* Kernel::first_of(std::string_view action, const Pass& pass) const {
  const auto found = std::ranges::find_if(
      main_, [&](const Rule& rule) { return rule.action == action && matches(rule, pass); });
  return found == main_.end() ? nullptr : &*found;
}

/// Before it filters, pf translates, or has normalization follow a connection. Then a state is made
/// whatever the filter rule says, and a packet that is held belongs to it.
Fate Kernel::send(const Packet& sent) {
  const auto known = forced_.find({sent.source, sent.destination});
  held_ = sent;
  if (known != forced_.end()) {
    decided_ = {known->second->line};
    return known->second->diverts ? Fate::held : Fate::leaves;
  }
  const Pass going{sent, is_own(sent.destination.address()) ? "lo0" : outside(), false, {}};
  const Rule* nat = first_of("nat", going);
  const Rule* scrub = first_of("scrub", going);
  const bool local = is_own(sent.source.address());
  if (nat) held_.source = {nat->translated, static_cast<std::uint16_t>(sent.source.port() + 1)};
  const Fate fate = filter(held_);
  // No socket has that address and port: the second time there is no owner, and no answer.
  if (nat) held_.owner.reset();
  if (nat && local && !sent.owner && fate == Fate::leaves) return Fate::lost;
  if (last_ && (nat || (scrub && scrub->follows_tcp)) && fate != Fate::blocked)
    forced_[{sent.source, sent.destination}] = last_;
  state_ = state_ || nat || (scrub && scrub->follows_tcp);
  return fate;
}

Fate Kernel::filter(const Packet& packet) {
  decided_.clear();
  const bool local = is_own(packet.destination.address());
  Pass pass{packet, local ? "lo0" : outside(), false, {}};
  const Rule* last = nullptr;
  evaluate(main_, pass, last);
  if (last) decided_.push_back(last->line);
  last_ = last;
  state_ = last && last->action == "pass" && last->keeps_state;
  if (last && last->action == "block") return Fate::blocked;
  if (last && last->diverts) return Fate::held;
  std::string_view interface =
      last && !last->route.empty() ? std::string_view(last->route) : pass.interface;
  if (!interface.starts_with("lo")) return Fate::leaves;
  // On its way out on lo0 a packet that was bent has its state.
  if (packet.destination.address().is_v6()) interface = "lo0";
  // Tags are lost there: on FreeBSD since 14, on macOS always.
  return come_in(packet, interface, dialect_ == Dialect::openbsd ? pass.tag : std::string());
}

Fate Kernel::come_in(Packet packet, std::string_view interface, std::string tag) {
  packet.owner.reset();
  const base::Address program = packet.source.address();
  bool over = false;
  const Rule* redirected = translation(main_, {packet, interface, true, tag}, over);
  if (redirected) packet.destination = redirected->target;
  std::string replies;
  if (!redirected || !redirected->passes) {
    Pass pass{packet, interface, true, std::move(tag)};
    const Rule* last = nullptr;
    evaluate(main_, pass, last);
    if (last) decided_.push_back(last->line);
    if (last && last->action == "block") return Fate::blocked;
    if (last && last->diverts) return Fate::diverted;
    if (last) replies = last->reply;
  }
  if (listeners.contains(packet.destination))
    return tunnels.contains(program) && replies.empty() ? Fate::lost : Fate::diverted;
  return is_own(packet.destination.address()) ? Fate::arrives : Fate::lost;
}

}  // namespace pf_kernel
