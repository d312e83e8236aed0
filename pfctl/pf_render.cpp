// The anchor as text. Local traffic takes two steps in pf: a filter rule bends the first packet to lo0 on its
// way out, and what comes in there is handed to our listeners (rdr; divert-to on OpenBSD). Filter rules can
// tell whose socket it was, translation rules cannot: the choice is made on the way out.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "pfctl/pf.h"

namespace pfctl {
namespace {

constexpr std::string_view kTable = "<osproxy_left_alone>";

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
    add_header();
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
    if (ruleset_.ipv6 && ruleset_.ipv6_refused) {
      comment("IPv6 cannot be diverted here: it is refused, so that programs turn to IPv4");
      statement("block return out quick inet6 proto tcp{}{}", to_ports(), whose());
    }
    if (ruleset_.block_quic && has_port(ruleset_, 443)) add_quic();
    return std::move(text_);
  }

 private:
  template <class... Args>
  void statement(fmt::format_string<Args...> text, Args&&... args) {
    text_ += fmt::format(text, std::forward<Args>(args)...) + "\n";
  }
  void comment(std::string_view line) { statement("# {}", line); }

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

  void add_header() {
    const char* anchor = anchor_of(dialect_);
    if (dialect_ == Dialect::openbsd) {
      comment(
          "TCP connections of local programs that are handed to osproxy. For OpenBSD 6.9 and later, where");
      comment(
          "nobody has tried them yet. The main ruleset must be without `set skip on lo` and refer to this");
      comment(fmt::format("anchor, before other quick rules: anchor \"{}\"", anchor));
      return;
    }
    comment(fmt::format("TCP connections of local programs that are handed to osproxy: pfctl -a {} -f FILE",
                        anchor));
    if (dialect_ == Dialect::darwin) {
      comment("The stock main ruleset evaluates com.apple/*; `set skip on lo0` must not be in it.");
    } else {
      comment(
          fmt::format("The main ruleset must be without `set skip on lo0`, and refer to this anchor:\n"
                      "# rdr-anchor \"{0}\" among its translation rules, anchor \"{0}\" before other quick "
                      "rules.",
                      anchor));
    }
  }

  void add_table() {
    std::vector<std::string> networks;
    if (!ruleset_.loopback) {
      networks = {"self", "127.0.0.0/8", "::1"};
    } else {
      for (const auto& family : diverted_) networks.push_back(family.alias.to_string());
    }
    for (const char* usual : {"169.254.0.0/16", "fe80::/10", "224.0.0.0/4", "255.255.255.255", "ff00::/8"})
      networks.emplace_back(usual);
    for (const auto& network : ruleset_.excluded) networks.push_back(base::to_string(network));
    comment("destinations left alone");
    statement("table {}{} {{ {} }}", kTable, dialect_ == Dialect::openbsd ? "" : " const",
              fmt::join(networks, ", "));
  }

  // The listeners' answers come in on lo0 as well, and go to ports that programs connected from.
  void add_answers() {
    const unsigned first = first_ephemeral(dialect_);
    if (diverted_.empty() || !reaches(ruleset_, first)) return;
    if (!ruleset_.loopback)
      comment("answers of the listeners (to addresses of this machine, left alone anyway)");
    if (ruleset_.loopback)
      comment("answers of the listeners; with them, connections to the ports that answers go to");
    for (const auto& family : diverted_) {
      statement("no rdr on lo0 {} proto tcp from {} to any", family.word, family.alias.to_string());
      if (ruleset_.loopback)
        statement("no rdr on lo0 {} proto tcp from any to any port >= {}", family.word, first);
    }
  }

  void add_redirects() {
    comment("what has been bent to lo0, to the listeners");
    if (ruleset_.loopback && ruleset_.capture_gid)
      comment("(and what others connect to this machine's own addresses: osproxy passes it on)");
    for (const auto& family : diverted_) {
      statement("rdr pass on lo0 {} proto tcp{} -> {} port {}", family.word, to_ports(),
                family.alias.to_string(), family.listener);
    }
  }

  void add_own() {
    comment("osproxy's own connections");
    statement("pass out quick proto tcp from any to any{} group {} keep state", ports(), ruleset_.exempt_gid);
  }

  void add_diverts() {
    comment("what has been bent to lo0, to the listeners");
    for (const auto& family : diverted_) {
      statement("pass in quick on lo0 {} proto tcp{} divert-to {} port {}", family.word, to_ports(),
                family.loopback, family.listener);
    }
  }

  void add_bend(const PfFamily& family) {
    comment(
        fmt::format("{} connections made on this machine, to lo0", family.alias.is_v4() ? "IPv4" : "IPv6"));
    if (dialect_ == Dialect::openbsd) {
      statement("pass out quick {} proto tcp{}{} flags S/SA route-to {} keep state", family.word, to_ports(),
                whose(), family.loopback);
    } else {
      statement("pass out quick route-to (lo0 {}) {} proto tcp{}{} flags S/SA keep state", family.loopback,
                family.word, to_ports(), whose());
    }
  }

  // The reinjected packet passes the rules once more; its type of service says what became of it.
  void add_verdicts(const PfFamily& family) {
    comment("IPv4: first packets with a verdict, to lo0 or on their way; the others wait for one");
    statement("pass out quick route-to (lo0 {}) inet proto tcp{} flags S/SA tos {:#04x} keep state",
              family.loopback, to_ports(), kTosDivert);
    statement("pass out quick inet proto tcp{} flags S/SA tos {:#04x} keep state", to_ports(), kTosPass);
    statement("pass out quick inet proto tcp{}{} flags S/SA divert-to 127.0.0.1 port {} no state", to_ports(),
              whose(), ruleset_.queueing->first);
  }

  void add_quic() {
    comment("QUIC, so that programs fall back to TCP");
    for (const auto* word : {"inet", "inet6"}) {
      if (word == std::string_view{"inet"} ? !ruleset_.ipv4 : !ruleset_.ipv6) continue;
      statement("block return out quick {} proto udp from any to ! {} port 443{}", word, kTable, whose());
    }
  }

  const Ruleset& ruleset_;
  Dialect dialect_;
  std::vector<PfFamily> diverted_;
  std::string text_;
};

}  // namespace

const char* anchor_of(Dialect dialect) {
  return dialect == Dialect::darwin ? "com.apple/osproxy" : "osproxy";
}

base::Result<std::string> render_pf(const Ruleset& ruleset, Dialect dialect) {
  if (ruleset.cgroup) {
    return base::failure("pf knows no cgroups: {} cannot be diverted alone; use a group (capture_gid)",
                         ruleset.cgroup->name);
  }
  if (ruleset.queueing && dialect != Dialect::freebsd) {
    return base::failure("{} cannot hold packets until a verdict; use the engine redirect",
                         dialect == Dialect::darwin ? "macOS" : "OpenBSD");
  }
  if (ruleset.queueing && (ruleset.queueing->first == 0 || ruleset.queueing->count != 1)) {
    return base::failure("divert(4) takes one port, found {} from {} on", ruleset.queueing->count,
                         ruleset.queueing->first);
  }
  return PfText{ruleset, dialect}.render();
}

}  // namespace pfctl
