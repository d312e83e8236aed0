// The table as text, in the very form in which nft(8) lists it (1.0.6, without handles), with
// comment lines in between. What `osproxy rules` shows; a kernel test compares it with `nft list
// table`.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "pfctl/nft_rules.h"

namespace pfctl {
namespace {

constexpr std::string_view kHeader =
    "# TCP connections of local programs that are handed to osproxy. The table belongs to the "
    "running\n"
    "# osproxy (flags owner): no other process can change it, and it is gone when osproxy ends, "
    "however it ends.\n";

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
std::string render_ports(std::string_view protocol, const std::vector<base::PortRange>& ports) {
  if (ports.empty()) return fmt::format("meta l4proto {}", protocol);
  if (ports.size() == 1 && ports[0].first == ports[0].last)
    return fmt::format("{} dport {}", protocol, ports[0].first);
  std::vector<std::string> ranges;
  for (const auto& range : ports) ranges.push_back(base::to_string(range));
  return fmt::format("{} dport {{ {} }}", protocol, fmt::join(ranges, ", "));
}

// A field of UDP's header implies the protocol, which nft then leaves out.
void append_udp(const NftRule& rule, std::vector<std::string>& parts) {
  if (rule.source_port) {
    parts.push_back(fmt::format("udp sport {}", rule.source_port));
  } else if (!rule.ports.empty() || !rule.long_header) {
    parts.push_back(render_ports("udp", rule.ports));
  }
  if (rule.long_header)
    parts.push_back(fmt::format("udp length >= {} @th,64,8 & 0x80 == 0x80", kQuicLength));
}

std::string render_types(const std::vector<AddressType>& types) {
  std::vector<std::string_view> names;
  for (const auto type : types) names.push_back(name_of(type));
  return fmt::format("fib daddr type {{ {} }}", fmt::join(names, ", "));
}

std::string render_priority(std::int32_t priority) {
  if (priority == kZonePriority) return "raw";
  if (priority == kFirstPriority) return "mangle";
  return std::to_string(priority);
}

std::string render_outcome(const Leave&) {
  return "return";
}
std::string render_outcome(const ToListener& to) {
  return fmt::format("redirect to :{}", to.port);
}
std::string render_outcome(const IntoZone& into) {
  const auto zone = fmt::format("ct original zone set {}", kZone);
  if (into.clear_mark == 0) return zone;
  return fmt::format("{} meta mark set meta mark & {:#010x}", zone, ~into.clear_mark);
}
std::string render_outcome(const Jump& jump) {
  return fmt::format("jump {}", jump.chain);
}
// The xtables target is listed as what it means.
std::string render_outcome(const Hold& hold) {
  const unsigned last = hold.in.first + hold.in.count - 1U;
  if (hold.in.count == 1) return fmt::format("queue flags bypass to {}", hold.in.first);
  return fmt::format("queue flags bypass,fanout to {}-{}", hold.in.first, last);
}
std::string render_outcome(const Copy& copy) {
  return fmt::format("log group {} snaplen {} queue-threshold 1", copy.group, kCopyBytes);
}
std::string render_outcome(const Refuse& refuse) {
  switch (refuse.how) {
    case Refusal::reset:
      return "reject with tcp reset";
    case Refusal::no_route:
      return "reject with icmpx no-route";
    case Refusal::host_unreachable:
      return "reject with icmpx host-unreachable";
    case Refusal::prohibited:
      return "reject with icmpx admin-prohibited";
    case Refusal::port_unreachable:
      break;
  }
  return "reject";
}

}  // namespace

std::string render_nft_rule(const NftRule& rule) {
  std::vector<std::string> parts;
  if (rule.group) parts.push_back(fmt::format("meta skgid {}", *rule.group));
  if (rule.cgroup) {
    parts.push_back(
        fmt::format("socket cgroupv2 level {} \"{}\"", rule.cgroup->level, rule.cgroup->name));
  }
  if (!rule.types.empty()) parts.push_back(render_types(rule.types));
  if (rule.family)
    parts.emplace_back(*rule.family == Family::ipv4 ? "meta nfproto ipv4" : "meta nfproto ipv6");
  if (rule.destination) {
    parts.push_back(fmt::format("{} daddr {}", rule.destination->address.is_v4() ? "ip" : "ip6",
                                base::to_string(*rule.destination)));
  }
  if (rule.transport == Transport::tcp) parts.push_back(render_ports("tcp", rule.ports));
  if (rule.transport == Transport::udp) append_udp(rule, parts);
  if (rule.transport == Transport::syn) parts.emplace_back("tcp flags syn / fin,syn,rst,ack");
  if (rule.mark) parts.push_back(fmt::format("meta mark {:#010x}", *rule.mark));
  if (rule.mark_bit)
    parts.push_back(fmt::format("meta mark & {0:#010x} == {0:#010x}", *rule.mark_bit));
  if (rule.cpu) parts.push_back(fmt::format("meta cpu {}", *rule.cpu));
  if (rule.own_zone) parts.push_back(fmt::format("ct original zone {}", kZone));
  if (rule.untracked_yet) parts.emplace_back("ct state new");
  if (rule.reply) parts.emplace_back("ct state established ct direction reply");
  if (const auto& versions = rule.quic_versions) {
    parts.push_back(
        fmt::format("@th,72,{} {:#x}", versions->bits, versions->first >> (32U - versions->bits)));
  }
  if (rule.limit) {
    parts.push_back(fmt::format("limit rate {}/second burst {} packets", rule.limit->per_second,
                                rule.limit->burst));
  }
  parts.push_back(
      std::visit([](const auto& outcome) { return render_outcome(outcome); }, rule.outcome));
  return fmt::format("{}", fmt::join(parts, " "));
}

std::string render_nft(const Ruleset& ruleset) {
  std::string text{kHeader};
  text += fmt::format("table inet {} {{\n\tflags owner\n", kTableName);
  for (const auto& chain : nft_chains(ruleset)) {
    text += fmt::format("\n\tchain {} {{\n", chain.name);
    if (chain.type) {
      text += fmt::format("\t\ttype {} hook {} priority {}; policy accept;\n", chain.type,
                          chain.hook == Hook::output ? "output" : "input",
                          render_priority(chain.priority));
    }
    for (const auto& rule : chain.rules) {
      if (!rule.heading.empty()) text += fmt::format("\t\t# {}\n", rule.heading);
      text += fmt::format("\t\t{}\n", render_nft_rule(rule));
    }
    text += "\t}\n";
  }
  return text + "}\n";
}

}  // namespace pfctl
