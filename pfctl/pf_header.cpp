// What a person needs who finds these rules on a machine: who listens where, the commands of that
// system, and the ways in which the main ruleset can defeat them.
#include "pfctl/pf_header.h"

#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace pfctl {
namespace {

constexpr std::size_t kCommandColumn = 62;

bool diverts_ipv6(const Ruleset& ruleset) {
  return ruleset.ipv6 && !ruleset.ipv6_refused;
}

std::string command(std::string_view text, std::string_view why = {}) {
  if (why.empty()) return fmt::format("#   {}\n", text);
  return fmt::format("#   {:{}} # {}\n", text, kCommandColumn, why);
}

std::string alias_commands(const Ruleset& ruleset, bool add) {
  std::vector<std::string> commands;
  if (ruleset.ipv4) {
    commands.push_back(fmt::format("ifconfig lo0 inet {} {}", ruleset.alias_v4.to_string(),
                                   add ? "netmask 255.255.255.255 alias" : "-alias"));
  }
  if (diverts_ipv6(ruleset)) {
    commands.push_back(fmt::format("ifconfig lo0 inet6 {} {}", ruleset.alias_v6.to_string(),
                                   add ? "prefixlen 128 alias" : "-alias"));
  }
  std::string out;
  for (const auto& each : commands)
    out += command(each, add && out.empty() ? "first: the proxy listens there" : "");
  return out;
}

/// "198.18.0.1 port 28531 and fdff:6f73::1 port 28531"
std::string listeners(const Ruleset& ruleset, Dialect dialect) {
  const bool aliased = dialect != Dialect::openbsd;
  std::vector<std::string> out;
  if (ruleset.ipv4) {
    out.push_back(fmt::format("{} port {}", aliased ? ruleset.alias_v4.to_string() : "127.0.0.1",
                              ruleset.listener_v4));
  }
  if (diverts_ipv6(ruleset)) {
    out.push_back(fmt::format("{} port {}", aliased ? ruleset.alias_v6.to_string() : "::1",
                              ruleset.listener_v6));
  }
  return fmt::format("{}", fmt::join(out, " and "));
}

/// What the process that takes the connections must be.
std::string proxy(const Ruleset& ruleset, Dialect dialect) {
  std::string out = fmt::format(
      "# - listens on {}\n"
      "# - has the group number {}, by which its own connections are known\n",
      listeners(ruleset, dialect), ruleset.exempt_gid);
  if (const auto range = own_source_ports(ruleset, dialect))
    out += fmt::format("# - connects to this machine itself from ports {} to {}\n", range->first,
                       range->last);
  return out;
}

std::string two_steps(const Ruleset& ruleset, Dialect dialect) {
  return fmt::format(
      "# TCP connections that programs of this machine open are bent to lo0 on their way out, and "
      "handed to the\n"
      "# proxy where they come in again. It learns from pf where they were to go (DIOCNATLOOK), "
      "and\n{}",
      proxy(ruleset, dialect));
}

constexpr std::string_view kByHand =
    "#\n# `osproxy run` does all of this itself. By hand, as root:\n";
constexpr std::string_view kUndo =
    "# and to undo it (what is diverted already stays so until it ends):\n";
constexpr std::string_view kWhyMtu = "or TSO of an interface ruins uploads";
constexpr std::string_view kSkip =
    "# While pf skips lo0 (`set skip on lo0` in the main ruleset), what is diverted times out.\n";
constexpr std::string_view kUnattended =
    "# Rules that are loaded by hand outlive "
    "the proxy: without it, what they divert gets nowhere.\n";

std::string darwin_header(const Ruleset& ruleset) {
  const std::string anchor = anchor_of(Dialect::darwin);
  std::string out = fmt::format("# osproxy's pf rules for macOS: the anchor {}.\n#\n", anchor);
  out += two_steps(ruleset, Dialect::darwin);
  out += kByHand;
  out += alias_commands(ruleset, true);
  out += command("ifconfig lo0 mtu 65535", kWhyMtu);
  out += command(fmt::format("pfctl -a {} -f FILE", anchor), "FILE: this text");
  out += command("pfctl -E", "prints \"Token : N\"");
  out += kUndo;
  out += command(fmt::format("pfctl -a {} -F all", anchor));
  out += command("pfctl -X N", "pf stays on while others hold a token");
  out += command("ifconfig lo0 mtu 16384", "or what it was");
  out += alias_commands(ruleset, false);
  out +=
      "#\n# The stock /etc/pf.conf evaluates the anchor: it has rdr-anchor and anchor "
      "\"com.apple/*\". Where another\n"
      "# main ruleset is loaded, `osproxy rules --dialect darwin --into FILE` prints FILE with "
      "what it lacks.\n";
  out += kSkip;
  out += kUnattended;
  out +=
      "# While pf has rules like these, iCloud "
      "Private Relay switches itself off (macOS 14 and later).\n";
  return out;
}

std::string freebsd_header(const Ruleset& ruleset) {
  const std::string anchor = anchor_of(Dialect::freebsd);
  std::string out = fmt::format("# osproxy's pf rules for FreeBSD: the anchor {}.\n#\n", anchor);
  out += two_steps(ruleset, Dialect::freebsd);
  if (ruleset.queueing) {
    out += fmt::format(
        "# Before that, the first packet of each new IPv4 connection waits for its verdict: it is "
        "given to the\n"
        "# process that has port {} of divert(4), and lost while none has.\n",
        ruleset.queueing->first);
  }
  out += kByHand;
  out += command("kldload pf", "unless it is in the kernel");
  if (ruleset.queueing) {
    out += command("kldload ipdivert", "brings ipfw, which denies everything unless");
    out += command("", "loader.conf has net.inet.ip.fw.default_to_accept=1");
  }
  out += alias_commands(ruleset, true);
  out += command("ifconfig lo0 mtu 65535", kWhyMtu);
  if (needs_loopback_interface(ruleset, Dialect::freebsd)) {
    out += command(fmt::format("ifconfig {} create mtu 65535 up", kLoopbackInterface),
                   "where what is bent comes in again");
  }
  out += command(fmt::format("pfctl -a {} -f FILE", anchor), "FILE: this text");
  out += command("pfctl -e", "unless pf is enabled");
  out += kUndo;
  out += command(fmt::format("pfctl -a {} -F all", anchor));
  out += command("pfctl -d", "if it was not enabled before");
  if (needs_loopback_interface(ruleset, Dialect::freebsd))
    out += command(fmt::format("ifconfig {} destroy", kLoopbackInterface));
  out += command("ifconfig lo0 mtu 16384", "or what it was");
  out += alias_commands(ruleset, false);
  out += fmt::format(
      "#\n# The main ruleset must refer to it: rdr-anchor \"{0}\" before all other translation "
      "rules, anchor \"{0}\"\n"
      "# before all other filter rules. `osproxy rules --dialect freebsd --into FILE` prints FILE "
      "with both.\n",
      anchor);
  out += kSkip;
  out += kUnattended;
  return out;
}

std::string openbsd_header(const Ruleset& ruleset) {
  const std::string anchor = anchor_of(Dialect::openbsd);
  std::string out =
      fmt::format("# osproxy's pf rules for OpenBSD 6.9 and later: the anchor {}.\n#\n", anchor);
  out +=
      "# TCP connections that programs of this machine open are bent to lo0 on their way out "
      "(divert-to acts on\n"
      "# incoming packets only), and handed to a proxy where they come in again.\n"
      "#\n"
      "# osproxy does not run on OpenBSD, and these rules have not been tried there. They are for "
      "a transparent proxy\n"
      "# of your own, which learns from getsockname(2) where a connection was to go, and\n";
  out += proxy(ruleset, Dialect::openbsd);
  out += "#\n# By hand, as root:\n";
  out += command(fmt::format("pfctl -a {} -f FILE", anchor), "FILE: this text");
  out += kUndo;
  out += command(fmt::format("pfctl -a {} -F all", anchor));
  out += fmt::format(
      "#\n# The main ruleset must refer to it: anchor \"{}\" before all other filter rules; "
      "`osproxy rules\n"
      "# --dialect openbsd --into FILE` prints FILE with it. The stock /etc/pf.conf has `set skip "
      "on lo`: take it out,\n"
      "# or what is diverted times out.\n",
      anchor);
  return out;
}

}  // namespace

std::string render_pf_header(const Ruleset& ruleset, Dialect dialect) {
  if (dialect == Dialect::darwin) return darwin_header(ruleset);
  if (dialect == Dialect::freebsd) return freebsd_header(ruleset);
  return openbsd_header(ruleset);
}

}  // namespace pfctl
