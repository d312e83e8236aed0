// The anchor as text. Local traffic takes two steps in pf: a filter rule bends the first packet to lo0 on its
// way out, and what comes in there is handed to our listeners (rdr; divert-to on OpenBSD). Filter rules can
// tell whose socket it was, translation rules cannot: the choice is made on the way out.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "pfctl/pf.h"
#include "pfctl/pf_header.h"

namespace pfctl {
namespace {

constexpr std::string_view kTable = "<osproxy_left_alone>";
constexpr std::string_view kTag = "osproxy";
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

bool reaches(const Ruleset& ruleset, unsigned port) {
  return ruleset.ports.empty() || ruleset.ports.back().last >= port;
}

bool has_port(const Ruleset& ruleset, std::uint16_t port) {
  const auto holds = [&](const base::PortRange& range) { return range.contains(port); };
  return ruleset.ports.empty() || std::ranges::any_of(ruleset.ports, holds);
}

/// One anchor in the making. Statements end in a newline, clauses begin with a space.
class PfText {
 public:
  PfText(const Ruleset& ruleset, Dialect dialect) : ruleset_(ruleset), dialect_(dialect) {
    if (ruleset.ipv4) diverted_.push_back({"inet", "127.0.0.1", ruleset.alias_v4, ruleset.listener_v4});
    if (ruleset.ipv6 && !ruleset.ipv6_refused)
      diverted_.push_back({"inet6", "::1", ruleset.alias_v6, ruleset.listener_v6});
  }

  std::string render() {
    text_ = render_pf_header(ruleset_, dialect_);
    add_table();
    if (dialect_ != Dialect::openbsd) {
      add_answers();
      add_redirects();
    }
    add_own();
    if (dialect_ == Dialect::openbsd) add_diverts();
    for (const auto& family : diverted_) {
      const bool held = ruleset_.queueing && family.alias.is_v4();
      held ? add_verdicts(family) : add_bend(family);
    }
    if (ruleset_.ipv6 && ruleset_.ipv6_refused) add_refusal();
    if (ruleset_.block_quic && has_port(ruleset_, kHttps)) add_quic();
    return std::move(text_);
  }

 private:
  template <class... Args>
  void statement(fmt::format_string<Args...> text, Args&&... args) {
    text_ += fmt::format(text, std::forward<Args>(args)...) + "\n";
  }
  /// What the statements that follow are for.
  void heading(std::string_view lines) { text_ += fmt::format("\n# {}\n", lines); }

  [[nodiscard]] std::string ports() const {
    std::vector<std::string> ranges;
    for (const auto& [first, last] : ruleset_.ports)
      ranges.push_back(first == last ? std::to_string(first) : fmt::format("{}:{}", first, last));
    if (ranges.empty()) return {};
    if (ranges.size() == 1) return " port " + ranges.front();
    return fmt::format(" port {{ {} }}", fmt::join(ranges, ", "));
  }
  [[nodiscard]] std::string to_ports() const { return fmt::format(" from any to ! {}{}", kTable, ports()); }

  /// Packets that are only forwarded have no user: unknown ones match = and !=, never >=.
  [[nodiscard]] std::string whose() const {
    return ruleset_.capture_gid ? fmt::format(" group {}", *ruleset_.capture_gid) : " user >= 0";
  }
  /// "new connections of ... are bent to lo0."
  [[nodiscard]] std::string comment_on(std::string_view what, std::string_view happens) const {
    if (!ruleset_.capture_gid) {
      return fmt::format("{} of this machine's sockets {}. (What is only forwarded has no user.)", what,
                         happens);
    }
    return fmt::format("{} of sockets made with group {} {}; no other program is touched.", what,
                       *ruleset_.capture_gid, happens);
  }

  /// With loopback, what comes in on lo0 for this machine itself may be for the listeners or not, and only
  /// the way out knows.
  [[nodiscard]] std::string tag() const { return ruleset_.loopback ? fmt::format(" tag {}", kTag) : ""; }
  [[nodiscard]] std::string tagged() const {
    return ruleset_.loopback ? fmt::format(" tagged {}", kTag) : "";
  }

  /// By which the states of what was bent are ended with the rules.
  [[nodiscard]] std::string label() const {
    return dialect_ == Dialect::freebsd ? fmt::format(" label \"{}\"", kBentLabel) : "";
  }

  void add_table() {
    std::vector<std::string> networks;
    if (!ruleset_.loopback) {
      networks = {"self", "127.0.0.0/8", "::1"};
    } else if (dialect_ != Dialect::openbsd) {
      for (const auto& family : diverted_) networks.push_back(family.alias.to_string());
    }
    for (const char* usual : {"169.254.0.0/16", "fe80::/10", "224.0.0.0/4", "255.255.255.255", "ff00::/8"})
      networks.emplace_back(usual);
    for (const auto& network : ruleset_.excluded) networks.push_back(base::to_string(network));
    heading(fmt::format("Destinations left alone: {}link-local, multicast, broadcast{}.{}",
                        own_addresses_comment(), ruleset_.excluded.empty() ? "" : ", and excluded networks",
                        ruleset_.loopback ? ""
                                          : "\n# The own addresses are those of the moment of loading: load "
                                            "again when they change."));
    statement("table {}{} {{ {} }}", kTable, dialect_ == Dialect::openbsd ? "" : " const",
              fmt::join(networks, ", "));
  }
  [[nodiscard]] const char* own_addresses_comment() const {
    if (!ruleset_.loopback) return "this machine's own addresses, loopback, ";
    return dialect_ == Dialect::openbsd ? "" : "the listeners' addresses, ";
  }

  void add_answers() {
    if (diverted_.empty() || !reaches(ruleset_, first_ephemeral(dialect_))) return;
    heading(
        "The listeners' answers come in on lo0 as well, to ports that are among those diverted. They belong "
        "to\n"
        "# states; one that has lost its state is not to be redirected.");
    for (const auto& family : diverted_)
      statement("no rdr on lo0 {} proto tcp from {} to any", family.word, family.alias.to_string());
  }

  void add_second_step_heading() {
    if (!ruleset_.loopback) {
      heading("Second step: what comes in on lo0 for another machine goes to the listeners.");
      return;
    }
    heading(
        "Second step: what was bent to lo0 goes to the listeners, and only that: the proxy's own connections "
        "to\n"
        "# this machine come in on lo0 as well, where nothing but the tag tells them apart.");
  }

  void add_redirects() {
    add_second_step_heading();
    for (const auto& family : diverted_) {
      statement("rdr pass on lo0 {} proto tcp{}{} -> {} port {}", family.word, to_ports(), tagged(),
                family.alias.to_string(), family.listener);
    }
  }

  void add_own() {
    heading(
        "The proxy's own connections, before anything else: it would proxy itself for ever. No rule behind "
        "this\n"
        "# anchor judges them.");
    statement("pass out quick proto tcp from any to any{} group {} keep state", ports(), ruleset_.exempt_gid);
  }

  void add_diverts() {
    add_second_step_heading();
    for (const auto& family : diverted_) {
      statement("pass in quick on lo0 {} proto tcp{}{} divert-to {} port {}", family.word, to_ports(),
                tagged(), family.loopback, family.listener);
    }
  }

  void add_bend(const PfFamily& family) {
    heading(fmt::format("First step, {}: {}", family.alias.is_v4() ? "IPv4" : "IPv6",
                        comment_on("new connections", "are bent to lo0")));
    if (dialect_ == Dialect::openbsd) {
      statement("pass out quick {} proto tcp{}{} flags S/SA{} route-to {} keep state", family.word,
                to_ports(), whose(), tag(), family.loopback);
    } else {
      statement("pass out quick route-to (lo0 {}) {} proto tcp{}{} flags S/SA{} keep state{}",
                family.loopback, family.word, to_ports(), whose(), tag(), label());
    }
  }

  // The reinjected packet passes the rules once more; its type of service says what became of it.
  void add_verdicts(const PfFamily& family) {
    heading(fmt::format(
        "First step, IPv4: a first packet with the verdict \"divert\" (type of service {:#04x}) is "
        "bent to lo0.",
        kTosDivert));
    statement("pass out quick route-to (lo0 {}) inet proto tcp{} flags S/SA tos {:#04x}{} keep state{}",
              family.loopback, to_ports(), kTosDivert, tag(), label());
    heading(fmt::format(
        "With the verdict \"pass\" ({:#04x}) it goes its way. No rule behind this anchor judges it.",
        kTosPass));
    statement("pass out quick inet proto tcp{} flags S/SA tos {:#04x} keep state", to_ports(), kTosPass);
    heading(fmt::format(
        "{}\n# divert(4) looks at the port only; the proxy sends the packet again, with a verdict.",
        comment_on("The other first packets", "wait for one")));
    statement("pass out quick inet proto tcp{}{} flags S/SA divert-to 127.0.0.1 port {} no state", to_ports(),
              whose(), ruleset_.queueing->first);
  }

  void add_refusal() {
    heading("IPv6 cannot be diverted here. New connections are refused, so that programs turn to IPv4.");
    statement("block return out quick inet6 proto tcp{}{} flags S/SA", to_ports(), whose());
  }

  void add_quic() {
    heading(fmt::format("QUIC is refused, so that programs fall back to TCP{}.",
                        ruleset_.capture_gid ? "" : ": every program's, for pf cannot tell them apart"));
    for (const auto* word : {"inet", "inet6"}) {
      if (word == std::string_view{"inet"} ? !ruleset_.ipv4 : !ruleset_.ipv6) continue;
      statement("block return out quick {} proto udp from any to ! {} port {}{}", word, kTable, kHttps,
                whose());
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
      return base::failure("group {} is too large for macOS; choose one up to {}", gid, kLargestDarwinGid);
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
    return base::failure("divert(4) takes one port, found {} from {} on", queueing.count, queueing.first);
  }
  return {};
}

}  // namespace

const char* anchor_of(Dialect dialect) {
  return dialect == Dialect::darwin ? "com.apple/osproxy" : "osproxy";
}

base::Result<std::string> render_pf(const Ruleset& ruleset, Dialect dialect) {
  if (ruleset.cgroup) {
    return base::failure("pf knows no cgroups: {} cannot be diverted alone; use a group (capture_gid)",
                         ruleset.cgroup->name);
  }
  if (auto good = check_groups(ruleset, dialect); !good) return good.error();
  if (ruleset.queueing) {
    if (auto good = check_queueing(*ruleset.queueing, dialect); !good) return good.error();
  }
  return PfText{ruleset, dialect}.render();
}

}  // namespace pfctl
