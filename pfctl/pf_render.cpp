// The anchor as text. Local traffic takes two steps in pf: a filter rule bends the first packet to
// lo0 on its way out, and arrivals there are handed to our listeners (rdr; divert-to on
// OpenBSD). ProgramFilter rules can tell whose socket it was, translation rules cannot: the choice
// is made on the way out.
//
// What the proxy sends itself must be judged by the user's rules, as if these were not there: no
// rule of ours decides about it. So the proxy's connections match none, and a first packet that was
// let pass is marked by a tag in front of the rule that would ask again; without `quick` the rules
// behind the anchor have the last word.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "pfctl/pf.h"
#include "pfctl/pf_header.h"

namespace pfctl {
namespace {

constexpr std::string_view kTable = "<osproxy_left_alone>";
/// FreeBSD: for IPv6 when connections to this machine itself are diverted, which it can do for IPv4
/// only.
constexpr std::string_view kTableV6 = "<osproxy_left_alone_v6>";
/// macOS with loopback: this machine itself.
constexpr std::string_view kOwn = "<osproxy_own>";
/// macOS: IPv6 addresses of VPNs.
constexpr std::string_view kTunnels = "<osproxy_tunnels>";
/// OpenBSD: what was bent to lo0.
constexpr std::string_view kTag = "osproxy";
/// FreeBSD: first packets with the verdict "pass".
constexpr std::string_view kJudged = "osproxy_judged";
constexpr std::uint16_t kHttps = 443;
// pfctl refuses GID_MAX of its limits.h and beyond.
constexpr std::uint32_t kLargestDarwinGid = 0x7ffffffe;

struct PfFamily {
  const char* word;      ///< inet, inet6
  const char* loopback;  ///< next hop on lo0
  base::Address alias;
  std::uint16_t listener;
};

/// First port of those the kernel gives to connecting sockets.
unsigned first_ephemeral(Dialect dialect) {
  return dialect == Dialect::darwin ? 49152 : 10000;
}

const std::vector<base::PortRange>& ports_of(const Ruleset& ruleset, bool ipv6) {
  return ipv6 && ruleset.ports_v6 ? *ruleset.ports_v6 : ruleset.ports;
}

bool reaches(const Ruleset& ruleset, bool ipv6, unsigned port) {
  const auto& ports = ports_of(ruleset, ipv6);
  return ports.empty() || ports.back().last >= port;
}

bool has_port(const Ruleset& ruleset, bool ipv6, std::uint16_t port) {
  const auto& ports = ports_of(ruleset, ipv6);
  const auto holds = [&](const base::PortRange& range) { return range.contains(port); };
  return ports.empty() || std::ranges::any_of(ports, holds);
}

/// IPv6 or not: the families in which all UDP to the port of HTTPS is refused. pf cannot look into
/// datagrams.
std::vector<bool> refuses_quic_of(const Ruleset& ruleset) {
  std::vector<bool> families;
  if (!ruleset.block_quic) return families;
  if (ruleset.ipv4 && has_port(ruleset, false, kHttps)) families.push_back(false);
  if (ruleset.ipv6 && has_port(ruleset, true, kHttps)) families.push_back(true);
  return families;
}

/// One anchor in the making. Statements end in a newline, clauses begin with a space.
class PfText {
 public:
  PfText(const Ruleset& ruleset, Dialect dialect) : ruleset_(ruleset), dialect_(dialect) {
    if (ruleset.ipv4)
      diverted_.push_back({"inet", "127.0.0.1", ruleset.alias_v4, ruleset.listener_v4});
    if (ruleset.ipv6 && !ruleset.ipv6_refused)
      diverted_.push_back({"inet6", "::1", ruleset.alias_v6, ruleset.listener_v6});
  }

  std::string render() {
    text_ = render_pf_header(ruleset_, dialect_);
    add_tables();
    if (dialect_ == Dialect::openbsd) {
      add_diverts();
    } else {
      add_answers();
      add_own_local();
      add_redirects();
    }
    if (dialect_ == Dialect::darwin) add_replies();
    if (ruleset_.queueing) add_refusals_of_held();
    for (const auto& family : diverted_) {
      const bool held = ruleset_.queueing && family.alias.is_v4();
      held ? add_verdicts(family) : add_bend(family);
    }
    if (ruleset_.ipv6 && ruleset_.ipv6_refused) add_refusal();
    add_quic();
    return std::move(text_);
  }

 private:
  template <class... Args>
  void statement(fmt::format_string<Args...> text, Args&&... args) {
    text_ += fmt::format(text, std::forward<Args>(args)...) + "\n";
  }
  /// What the statements that follow are for.
  void heading(std::string_view lines) { text_ += fmt::format("\n# {}\n", lines); }

  [[nodiscard]] std::string ports(bool ipv6) const {
    std::vector<std::string> ranges;
    for (const auto& [first, last] : ports_of(ruleset_, ipv6))
      ranges.push_back(first == last ? std::to_string(first) : fmt::format("{}:{}", first, last));
    if (ranges.empty()) return {};
    if (ranges.size() == 1) return " port " + ranges.front();
    return fmt::format(" port {{ {} }}", fmt::join(ranges, ", "));
  }

  /// Only rdr on lo0 could take IPv6 that came in on another loopback interface: for pf all of it
  /// has come in on lo0 (FreeBSD: pf_check6_in).
  [[nodiscard]] bool leaves_own_v6() const {
    return dialect_ == Dialect::freebsd && ruleset_.loopback;
  }
  /// Where what is bent comes in again.
  [[nodiscard]] const char* loopback_of(const PfFamily& family) const {
    return needs_loopback_interface(ruleset_, dialect_) && family.alias.is_v4() ? kLoopbackInterface
                                                                                : "lo0";
  }
  [[nodiscard]] std::string_view left_alone(bool ipv6) const {
    return ipv6 && leaves_own_v6() ? kTableV6 : kTable;
  }
  [[nodiscard]] std::string to_others(bool ipv6) const {
    return fmt::format("to ! {}", left_alone(ipv6));
  }
  /// A listener's answer to an address of a VPN would be routed into its tunnel. For IPv4
  /// add_replies() sees to that.
  [[nodiscard]] std::string from_here(bool ipv6) const {
    return ipv6 && !ruleset_.tunnels.empty() ? fmt::format("from ! {}", kTunnels) : "from any";
  }
  [[nodiscard]] std::string between(bool ipv6) const {
    return fmt::format("{} {}{}", from_here(ipv6), to_others(ipv6), ports(ipv6));
  }

  /// Packets that are only forwarded have no user: unknown ones match = and !=, never >=.
  [[nodiscard]] std::string whose() const {
    return ruleset_.capture_gid ? fmt::format("group {}", *ruleset_.capture_gid)
                                : fmt::format("user >= 0 group != {}", ruleset_.exempt_gid);
  }
  /// "new connections of ... are bent to lo0."
  [[nodiscard]] std::string comment_on(std::string_view what, std::string_view happens) const {
    if (!ruleset_.capture_gid) {
      return fmt::format(
          "{} of this machine's sockets {},\n"
          "# but for those with the proxy's group: the rules behind this anchor decide about "
          "them. (What is only\n# forwarded has no user.)",
          what, happens);
    }
    return fmt::format("{} of sockets made with group {} {}; no other program is touched.", what,
                       *ruleset_.capture_gid, happens);
  }

  /// By which the states of what was bent are ended with the rules.
  [[nodiscard]] std::string label() const {
    return dialect_ == Dialect::freebsd ? fmt::format(" label \"{}\"", kBentLabel) : "";
  }

  void add_tables() {
    std::vector<std::string> others{"169.254.0.0/16", "fe80::/10", "224.0.0.0/4", "255.255.255.255",
                                    "ff00::/8"};
    for (const auto& network : ruleset_.excluded) others.push_back(base::to_string(network));
    std::vector<std::string> own;
    if (!ruleset_.loopback) {
      own = {"self", "127.0.0.0/8", "::1"};
    } else if (dialect_ != Dialect::openbsd) {
      for (const auto& family : diverted_) own.push_back(family.alias.to_string());
    }
    heading(fmt::format("Destinations left alone: {}link-local, multicast, broadcast{}.{}",
                        own_addresses_comment(),
                        ruleset_.excluded.empty() ? "" : ", and excluded networks",
                        ruleset_.loopback ? ""
                                          : "\n# The own addresses are those of the moment of "
                                            "loading: load again when they change."));
    add_table(kTable, own, others);
    if (leaves_own_v6() && ruleset_.ipv6) {
      heading(
          "IPv6 of this machine itself is left alone: "
          "FreeBSD could not tell the proxy's own apart.");
      add_table(kTableV6, {"self", "::1"}, others);
    }
    if (own_source_ports(ruleset_, dialect_)) {
      heading("This machine itself, as it was when the rules were loaded.");
      add_table(kOwn, {"self", "127.0.0.0/8", "::1"}, {});
    }
    if (!ruleset_.tunnels.empty()) add_tunnels();
  }
  void add_table(std::string_view name, std::vector<std::string> own,
                 const std::vector<std::string>& others) {
    own.insert(own.end(), others.begin(), others.end());
    statement("table {}{} {{ {} }}", name, dialect_ == Dialect::openbsd ? "" : " const",
              fmt::join(own, ", "));
  }
  void add_tunnels() {
    std::vector<std::string> addresses;
    for (const auto& address : ruleset_.tunnels) addresses.push_back(address.to_string());
    heading("A VPN's addresses: IPv6 connections from them are left alone.");
    statement("table {} const {{ {} }}", kTunnels, fmt::join(addresses, ", "));
  }
  [[nodiscard]] const char* own_addresses_comment() const {
    if (!ruleset_.loopback) return "this machine's own addresses, loopback, ";
    return dialect_ == Dialect::openbsd ? "" : "the listeners' addresses, ";
  }

  void add_answers() {
    std::vector<const PfFamily*> guarded;
    for (const auto& family : diverted_) {
      const bool reached = reaches(ruleset_, family.alias.is_v6(), first_ephemeral(dialect_));
      if (reached && loopback_of(family) == std::string_view{"lo0"}) guarded.push_back(&family);
    }
    if (guarded.empty()) return;
    heading(
        "The listeners' answers come in on lo0 as well, to ports that are among those diverted. "
        "They belong to\n"
        "# states; one that has lost its state is not to be redirected.");
    for (const auto* family : guarded)
      statement("no rdr on lo0 {} proto tcp from {} to any", family->word,
                family->alias.to_string());
  }

  /// pf's tags do not survive lo0, and nothing else of a packet tells whose it is.
  void add_own_local() {
    const auto range = own_source_ports(ruleset_, dialect_);
    if (!range) return;
    heading(fmt::format(
        "The proxy's own connections to this machine come in on lo0 as well. Their source ports "
        "are {} to {},\n"
        "# which no other program gets unless it asks for one. (What was bent to lo0 for other "
        "machines may have such\n# ports as well.)",
        range->first, range->last));
    for (const auto& family : diverted_) {
      statement("no rdr on lo0 {} proto tcp from any port {}:{} to {}", family.word, range->first,
                range->last, kOwn);
      statement("no rdr on lo0 {} proto tcp from any to {} port {}:{}", family.word, kOwn,
                range->first, range->last);
    }
  }

  void add_second_step_heading() {
    if (!ruleset_.loopback) {
      heading("Second step: packets on lo0 for another machine go to the listeners.");
    } else if (dialect_ == Dialect::openbsd) {
      heading(
          "Second step: what was bent to lo0 goes to the listeners, and only that: the proxy's "
          "own connections to\n"
          "# this machine come in on lo0 as well, where nothing but the tag tells them apart.");
    } else if (dialect_ == Dialect::freebsd) {
      heading(fmt::format(
          "Second step: packets on {} were bent there, and go to the listeners. The "
          "proxy's own\n"
          "# connections to this machine come in on lo0. IPv6 counts as lo0's wherever it comes "
          "in.",
          kLoopbackInterface));
    } else {
      heading("Second step: what else comes in on lo0 goes to the listeners.");
    }
  }

  void add_redirects() {
    add_second_step_heading();
    for (const auto& family : diverted_) {
      const bool ipv6 = family.alias.is_v6();
      statement("rdr{} on {} {} proto tcp from any {}{} -> {} port {}",
                dialect_ == Dialect::darwin && !ipv6 ? "" : " pass", loopback_of(family),
                family.word, to_others(ipv6), ports(ipv6), family.alias.to_string(),
                family.listener);
    }
  }

  /// In place of `rdr pass`.
  void add_replies() {
    if (!ruleset_.ipv4) return;
    heading(
        "The listener's answers go back through lo0, also those to an address of a VPN, which "
        "would be routed\n# into its tunnel.");
    statement(
        "pass in quick on lo0 reply-to (lo0 127.0.0.1) inet proto tcp from any to {} port {} "
        "flags S/SA keep state",
        ruleset_.alias_v4.to_string(), ruleset_.listener_v4);
  }

  void add_diverts() {
    add_second_step_heading();
    for (const auto& family : diverted_) {
      statement("pass in quick on lo0 {} proto tcp from any {}{}{} divert-to {} port {}",
                family.word, to_others(family.alias.is_v6()), ports(family.alias.is_v6()),
                ruleset_.loopback ? fmt::format(" tagged {}", kTag) : "", family.loopback,
                family.listener);
    }
  }

  void add_bend(const PfFamily& family) {
    const bool ipv6 = family.alias.is_v6();
    heading(fmt::format(
        "First step, {}: {}", ipv6 ? "IPv6" : "IPv4",
        comment_on("new connections", fmt::format("are bent to {}", loopback_of(family)))));
    if (dialect_ == Dialect::openbsd) {
      statement("pass out quick {} proto tcp {} {} flags S/SA{} route-to {} keep state",
                family.word, between(ipv6), whose(),
                ruleset_.loopback ? fmt::format(" tag {}", kTag) : "", family.loopback);
    } else {
      statement("pass out quick route-to ({} {}) {} proto tcp {} {} flags S/SA keep state{}",
                loopback_of(family), family.loopback, family.word, between(ipv6), whose(), label());
    }
  }

  void add_refusals_of_held() {
    heading(fmt::format(
        "How the proxy refuses a first packet that it holds: a reset or an ICMP error to the "
        "program (type of\n# service {:#04x}), which no rule behind this anchor may keep from it.",
        kTosRefusal));
    statement("pass quick on lo0 inet proto tcp from any to any flags R/R tos {:#04x} no state",
              kTosRefusal);
    statement(
        "pass quick on lo0 inet proto icmp from any to any icmp-type unreach tos {:#04x} no state",
        kTosRefusal);
  }

  // The reinjected packet passes the rules once more; its type of service says what became of it.
  void add_verdicts(const PfFamily& family) {
    heading(fmt::format(
        "First step, IPv4: a first packet with the verdict \"divert\" (type of service {:#04x}) "
        "is bent to {}.",
        kTosDivert, loopback_of(family)));
    statement(
        "pass out quick route-to ({} {}) inet proto tcp {} {} flags S/SA tos {:#04x} keep state{}",
        loopback_of(family), family.loopback, between(false), whose(), kTosDivert, label());
    heading(
        fmt::format("With the verdict \"pass\" ({:#04x}) it is not asked about again. This is no "
                    "`quick` rule: those behind this\n"
                    "# anchor decide what becomes of it.",
                    kTosPass));
    statement("pass out inet proto tcp {} {} flags S/SA tos {:#04x} tag {} no state",
              between(false), whose(), kTosPass, kJudged);
    heading(fmt::format(
        "{}\n# divert(4) looks at the port only; the proxy sends the packet again, with a verdict.",
        comment_on("The other first packets", "wait for one")));
    statement(
        "pass out quick inet proto tcp {} {} flags "
        "S/SA ! tagged {} divert-to 127.0.0.1 port {} no state",
        between(false), whose(), kJudged, ruleset_.queueing->first);
  }

  void add_refusal() {
    heading(
        "IPv6 cannot be diverted here. New connections "
        "are refused, so that programs turn to IPv4.");
    statement("block return out quick inet6 proto tcp from any {}{} {} flags S/SA", to_others(true),
              ports(true), whose());
  }

  void add_quic() {
    const auto families = refuses_quic_of(ruleset_);
    if (families.empty()) return;
    heading(fmt::format(
        "QUIC is refused, so that programs fall back to TCP{}.",
        ruleset_.capture_gid ? "" : ": every program's, for pf cannot tell them apart"));
    for (const bool ipv6 : families) {
      statement("block return out quick {} proto udp {} {} port {} {}", ipv6 ? "inet6" : "inet",
                from_here(ipv6), to_others(ipv6), kHttps, whose());
    }
  }

  const Ruleset& ruleset_;
  Dialect dialect_;
  std::vector<PfFamily> diverted_;
  std::string text_;
};

base::Result<> check_groups(const Ruleset& ruleset, Dialect dialect) {
  if (dialect != Dialect::darwin) return {};
  for (const std::uint32_t gid : {ruleset.exempt_gid, ruleset.capture_gid.value_or(0)}) {
    if (gid > kLargestDarwinGid) {
      return base::failure("group {} is too large for macOS; choose one up to {}", gid,
                           kLargestDarwinGid);
    }
  }
  return {};
}

base::Result<> check_queueing(const Queueing& queueing, Dialect dialect) {
  if (dialect != Dialect::freebsd) {
    return base::failure("{} cannot hold packets until a verdict; use the engine redirect",
                         dialect == Dialect::darwin ? "macOS" : "OpenBSD");
  }
  if (queueing.first == 0 || queueing.count != 1) {
    return base::failure("divert(4) takes one port, found {} from {} on", queueing.count,
                         queueing.first);
  }
  return {};
}

}  // namespace

const char* anchor_of(Dialect dialect) {
  return dialect == Dialect::darwin ? "com.apple/osproxy" : "osproxy";
}

bool needs_loopback_interface(const Ruleset& ruleset, Dialect dialect) {
  return dialect == Dialect::freebsd && ruleset.loopback && ruleset.ipv4;
}

std::optional<base::PortRange> own_source_ports(const Ruleset& ruleset, Dialect dialect) {
  if (dialect != Dialect::darwin || !ruleset.loopback) return std::nullopt;
  return base::PortRange{28600, 32599};
}

std::vector<std::string> cautions(const Ruleset& ruleset, Dialect dialect) {
  std::vector<std::string> lines;
  if (ruleset.loopback && ruleset.ipv6 && dialect == Dialect::freebsd)
    lines.emplace_back("--loopback: IPv6 connections of this machine to itself are left alone");
  if (!ruleset.tunnels.empty() && ruleset.ipv6) {
    std::vector<std::string> addresses;
    for (const auto& address : ruleset.tunnels) addresses.push_back(address.to_string());
    lines.push_back(fmt::format("IPv6 connections from a VPN's addresses are left alone: {}",
                                fmt::join(addresses, ", ")));
  }
  if (!refuses_quic_of(ruleset).empty()) {
    lines.push_back(
        fmt::format("UDP to port 443 is refused{}, so that programs fall back from QUIC to TCP; "
                    "--quic allow lets it pass",
                    ruleset.capture_gid ? "" : ", every program's"));
  }
  return lines;
}

base::Result<std::string> render_pf(const Ruleset& ruleset, Dialect dialect) {
  if (ruleset.cgroup) {
    return base::failure(
        "pf knows no cgroups: {} cannot be diverted alone; use a group (capture_gid)",
        ruleset.cgroup->name);
  }
  if (auto good = check_groups(ruleset, dialect); !good) return good.error();
  if (ruleset.queueing) {
    if (auto good = check_queueing(*ruleset.queueing, dialect); !good) return good.error();
  }
  return PfText{ruleset, dialect}.render();
}

}  // namespace pfctl
