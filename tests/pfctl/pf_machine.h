// A small model of a machine with pf, as its programs show it: enough to try every step on, and what becomes
// of it when osproxy is killed between any two.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "pfctl/pf_plan.h"

namespace test {

struct PfState {
  bool module = true;
  bool switched_on = false;        // pfctl -e
  std::set<std::string> tokens{};  // pfctl -E
  std::string nat{};
  std::string rules{};
  std::string dummynet{};
  std::map<std::string, std::string> anchors{};
  std::set<std::string> aliases{};
  unsigned mtu = 16384;

  bool operator==(const PfState&) const = default;
  [[nodiscard]] bool enabled() const { return switched_on || !tokens.empty(); }
};

class PfMachine {
 public:
  explicit PfMachine(pfctl::Dialect dialect) : dialect_(dialect) {}

  PfState state;
  bool skips_lo0 = false;
  bool ipv6 = true;
  bool tso = true;
  bool strict = false;  // as pfctl of FreeBSD 15: an anchor that is not there is an error
  bool keeps_module = false;
  std::string more_interfaces;
  std::string more_routes;
  std::vector<std::string> calls;

  std::string refuses;  // this call fails, always
  int fail_at = -1;     // the number of the changing call that fails
  int killed_at = -1;   // osproxy is killed in front of the changing call of this number
  bool after = false;   // or behind it
  int changes = 0;
  bool dead = false;
  std::function<void()> on_death;

  pfctl::Runner runner() {
    return [this](const std::vector<std::string>& argv, std::string_view input) { return run(argv, input); };
  }

  // Forgets the failures, not the state.
  void revive() {
    fail_at = killed_at = -1;
    changes = 0;
    dead = false;
  }

 private:
  using Result = base::Result<pfctl::Output>;

  static pfctl::Output said(std::string out) { return {0, std::move(out), {}}; }
  static pfctl::Output refused(std::string err) { return {1, {}, "pfctl: " + std::move(err) + "\n"}; }

  Result run(const std::vector<std::string>& argv, std::string_view input) {
    if (dead) return base::failure("killed");
    std::string call;
    for (const auto& each : argv) call += (call.empty() ? "" : " ") + each;
    if (auto answer = ask(call)) return *answer;
    const int number = changes++;
    if (number == killed_at && !after) return die();
    if (number == fail_at || call == refuses) return refused("out of luck");
    calls.push_back(call);
    Result done = change(argv, call, input);
    if (number == killed_at) return die();
    return done;
  }

  base::Error die() {
    dead = true;
    if (on_death) on_death();
    return base::failure("killed");
  }

  std::optional<pfctl::Output> ask(const std::string& call) const {
    if (call == "/sbin/kldstat -q -m pf") return pfctl::Output{state.module ? 0 : 1, {}, {}};
    if (call == "/sbin/ifconfig" || call == "/sbin/ifconfig lo0")
      return said(interfaces(call.ends_with("lo0")));
    if (call.ends_with("/netstat -rn")) return said(routes());
    if (call.starts_with("/sbin/pfctl") && call.find(" -s ") != std::string::npos) {
      if (!state.module) return refused("/dev/pf: No such file or directory");
      return show(call.substr(call.find("pfctl ") + 6));
    }
    return {};
  }

  pfctl::Output show(const std::string& what) const {
    if (what == "-s info")
      return said(state.enabled() ? "Status: Enabled for 0 days\n" : "Status: Disabled\n");
    if (what == "-v -s Interfaces") return said(skips_lo0 ? "lo0 (skip)\n" : "lo0\n");
    if (what == "-s nat") return said(state.nat);
    if (what == "-s rules") return said(state.rules);
    if (what == "-s dummynet" && dialect_ == pfctl::Dialect::darwin) return said(state.dummynet);
    if (what == "-s References") {
      std::string text = "TOKENS:\n";
      for (const auto& each : state.tokens) text += "412 pfctl " + each + " 0 days 00:00:12\n";
      return said(text);
    }
    const auto listing = what.find(" -s ");
    if (what.starts_with("-a ") && listing != std::string::npos) {
      const auto found = state.anchors.find(what.substr(3, listing - 3));
      if (found == state.anchors.end()) return strict ? refused("Anchor does not exist.") : said({});
      return said(found->second);
    }
    return refused("unknown: " + what);
  }

  std::string interfaces(bool only_lo0) const {
    std::string text = "lo0: flags=8049<UP,LOOPBACK> metric 0 mtu " + std::to_string(state.mtu) +
                       "\n\tinet 127.0.0.1 netmask 0xff000000\n" +
                       (ipv6 ? "\tinet6 ::1 prefixlen 128\n" : "");
    for (const auto& each : state.aliases) {
      const bool v4 = each.find(':') == std::string::npos;
      text += v4 ? "\tinet " + each + " netmask 0xffffffff\n" : "\tinet6 " + each + " prefixlen 128\n";
    }
    if (only_lo0) return text;
    text += "em0: flags=8843<UP> metric 0 mtu 1500\n";
    if (tso) text += "\toptions=4c07bb<RXCSUM,TSO4>\n";
    return text + "\tinet 10.0.2.15 netmask 0xffffff00\n" + more_interfaces;
  }

  std::string routes() const {
    std::string text = "Internet:\ndefault 10.0.2.2 UGS em0\n10.0.2.0/24 link#1 U em0\n";
    for (const auto& each : state.aliases) text += each + " link#2 UHS lo0\n";
    return text + more_routes;
  }

  Result change(const std::vector<std::string>& argv, const std::string& call, std::string_view input) {
    const bool freebsd = dialect_ == pfctl::Dialect::freebsd;
    if (call == "/sbin/kldload pf" && freebsd && !state.module) {
      state.module = true;
    } else if (call == "/sbin/kldunload pf" && keeps_module) {
      return pfctl::Output{1, {}, "kldunload: can't unload file: Device busy\n"};
    } else if (call == "/sbin/kldunload pf" && freebsd && state.module && !state.enabled()) {
      state.module = false;
      state.nat.clear();
      state.rules.clear();
      state.anchors.clear();
    } else if (argv[0] == "/sbin/ifconfig") {
      return change_lo0(argv);
    } else if (argv[0] == "/sbin/pfctl" && !state.module) {
      return refused("/dev/pf: No such file or directory");
    } else if (argv[0] == "/sbin/pfctl") {
      return change_pf(argv, call.substr(12), input);
    } else {
      return base::failure("no such program on this machine: {}", call);
    }
    return said({});
  }

  Result change_lo0(const std::vector<std::string>& argv) {
    if (argv.size() == 4 && argv[2] == "mtu") {
      state.mtu = static_cast<unsigned>(std::stoul(argv[3]));
    } else if (argv.back() == "-alias" && argv.size() == 5) {
      if (state.aliases.erase(argv[3]) == 0) return refused("ifconfig: ioctl (SIOCDIFADDR)");
    } else if (argv.back() == "alias" && argv.size() == 7) {
      state.aliases.insert(argv[3]);
    } else {
      return base::failure("ifconfig: bad value");
    }
    return said({});
  }

  Result change_pf(const std::vector<std::string>& argv, const std::string& what, std::string_view input) {
    if (what == "-e" && dialect_ == pfctl::Dialect::freebsd) {
      if (state.enabled()) return refused("pf already enabled");
      state.switched_on = true;
    } else if (what == "-d") {
      state.switched_on = false;
      state.tokens.clear();
    } else if (what == "-E" && dialect_ == pfctl::Dialect::darwin) {
      const std::string token = std::to_string(1000 + next_token_++);
      state.tokens.insert(token);
      return pfctl::Output{0, {}, "No ALTQ support in kernel\npf enabled\nToken : " + token + "\n"};
    } else if (argv[1] == "-X" && argv.size() == 3) {
      if (state.tokens.erase(argv[2]) == 0) return refused("pf not enabled");
    } else if (what == "-N -R -f -") {
      return load_main(input);
    } else if (argv[1] == "-a" && what.ends_with(" -f -")) {
      if (input.find("syntax") != std::string_view::npos) return refused("stdin:1: syntax error");
      state.anchors[argv[2]] = input;
    } else if (argv[1] == "-a" && what.ends_with(" -F all")) {
      if (state.anchors.erase(argv[2]) == 0 && strict) return refused("Anchor does not exist.");
    } else {
      return base::failure("pfctl: unknown {}", what);
    }
    return said({});
  }

  Result load_main(std::string_view input) {
    std::string sections[4];
    std::size_t at = 0;
    while (!input.empty()) {
      const std::string line(input.substr(0, input.find('\n')));
      input.remove_prefix(std::min(input.size(), line.size() + 1));
      const std::size_t section = section_of(line);
      if (section < at) return refused("stdin:1: Rules must be in order");
      at = section;
      sections[section] += line + "\n";
    }
    state.nat = sections[1];
    state.dummynet = sections[2];
    state.rules = sections[0] + sections[3];
    return said({});
  }

  static std::size_t section_of(const std::string& line) {
    if (line.starts_with("scrub")) return 0;
    if (line.starts_with("rdr") || line.starts_with("nat") || line.starts_with("no rdr")) return 1;
    return line.starts_with("dummynet") || line.starts_with("no dummynet") ? 2 : 3;
  }

  pfctl::Dialect dialect_;
  int next_token_ = 0;
};

}  // namespace test
