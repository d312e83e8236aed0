// The table as text, in the very form in which nft(8) lists it (1.0.6, without handles), with comment lines
// in between. What `osproxy rules` shows; a kernel test compares it with `nft list table`.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "pfctl/nft_rules.h"

namespace pfctl {
namespace {

constexpr std::string_view kHeader =
    "# TCP connections of local programs that are handed to osproxy. The table belongs to the running\n"
    "# osproxy (flags owner): nobody else can change it, and it is gone when osproxy ends, however it "
    "ends.\n";

std::string_view name_of(AddressType type) {
  switch (type) {
    case AddressType::local:
      return "local";
    case AddressType::broadcast:
      return "broadcast";
    case AddressType::anycast:
      return "anycast";
    case AddressType::multicast:
      break;
  }
  return "multicast";
}

// nft writes a set even for one range, but not for one port.
std::string render_ports(const std::vector<base::PortRange>& ports) {
  if (ports.empty()) return "meta l4proto tcp";
  if (ports.size() == 1 && ports[0].first == ports[0].last)
    return fmt::format("tcp dport {}", ports[0].first);
  std::vector<std::string> ranges;
  for (const auto& range : ports) ranges.push_back(base::to_string(range));
  return fmt::format("tcp dport {{ {} }}", fmt::join(ranges, ", "));
}

std::string render_types(const std::vector<AddressType>& types) {
  std::vector<std::string_view> names;
  for (const auto type : types) names.push_back(name_of(type));
  return fmt::format("fib daddr type {{ {} }}", fmt::join(names, ", "));
}

}  // namespace

std::string render_nft_rule(const NftRule& rule) {
  std::vector<std::string> parts;
  if (rule.group) parts.push_back(fmt::format("meta skgid {}", *rule.group));
  if (rule.cgroup) {
    parts.push_back(fmt::format("socket cgroupv2 level {} \"{}\"", rule.cgroup->level, rule.cgroup->name));
  }
  if (!rule.types.empty()) parts.push_back(render_types(rule.types));
  if (rule.family)
    parts.emplace_back(*rule.family == Family::ipv4 ? "meta nfproto ipv4" : "meta nfproto ipv6");
  if (rule.destination) {
    parts.push_back(fmt::format("{} daddr {}", rule.destination->address.is_v4() ? "ip" : "ip6",
                                base::to_string(*rule.destination)));
  }
  if (rule.tcp) parts.push_back(render_ports(rule.ports));
  if (rule.own_zone) return fmt::format("{} ct original zone set {}", fmt::join(parts, " "), kZone);
  parts.push_back(rule.redirect_to ? fmt::format("redirect to :{}", rule.redirect_to) : "return");
  return fmt::format("{}", fmt::join(parts, " "));
}

std::string render_nft(const Ruleset& ruleset) {
  std::string text{kHeader};
  const auto zone = nft_zone_rule(ruleset);
  text += fmt::format("table inet {} {{\n\tflags owner\n\n\tchain {} {{\n", kTableName, kZoneChainName);
  text += "\t\ttype filter hook output priority raw; policy accept;\n";
  text += fmt::format("\t\t# {}\n\t\t{}\n\t}}\n\n", zone.heading, render_nft_rule(zone));
  text += fmt::format("\tchain {} {{\n", kChainName);
  text += fmt::format("\t\ttype nat hook output priority {}; policy accept;\n", kChainPriority);
  for (const auto& rule : nft_rules(ruleset)) {
    if (!rule.heading.empty()) text += fmt::format("\t\t# {}\n", rule.heading);
    text += fmt::format("\t\t{}\n", render_nft_rule(rule));
  }
  return text + "\t}\n}\n";
}

}  // namespace pfctl
