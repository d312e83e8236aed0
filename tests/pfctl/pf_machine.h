// A small model of a machine with pf, as its programs show it: enough to try every step on, and
// what becomes of it when osproxy is killed between any two.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "pfctl/pf_session.h"
#include "tests/pfctl/pf_printed.h"

namespace test {

/// pfctl(8)'s options, as far as they are used.
struct PfctlCall {
  std::string anchor, show, flush, token, optimizer;
  std::vector<std::string> kill;
  bool numeric = false, nat = false, rules = false, dry = false, verbose = false, both_ways = false;
  bool enable = false, disable = false, enable_reference = false, load = false;
};

struct PfState {
  bool module = true;
  bool switched_on = false;        // pfctl -e
  std::set<std::string> tokens{};  // pfctl -E
  std::string nat{};
  std::string rules{};
  std::string dummynet{};
  std::map<std::string, std::string> anchors{};
  std::set<std::string> aliases{};
  std::set<std::string> loopbacks{};  // beside lo0
  unsigned mtu = 16384;

  bool operator==(const PfState&) const = default;
  [[nodiscard]] bool enabled() const { return switched_on || !tokens.empty(); }
};

class PfMachine {
 public:
  explicit PfMachine(pfctl::Dialect dialect) : dialect_(dialect) {}
  [[nodiscard]] pfctl::Dialect dialect() const { return dialect_; }

  PfState state;
  bool skips_lo0 = false;
  bool ipv6 = true;
  bool tso = true;
  bool strict = false;  // as pfctl of FreeBSD 15: an anchor that is not there is an error
  bool keeps_module = false;
  std::string more_interfaces;
  std::string more_routes;
  std::vector<std::string> calls;

  // pf's states. Those of connections that were bent to lo0, and others'.
  int states_of_ours = 0;
  int states_of_others = 0;
  // FreeBSD: pf was enabled while there were states; new ones have their numbers.
  bool collides = false;
  int insert_failures = 0;

  // So many listings of rules to come are cut short, for others load in the middle of them.
  int cut_listings = 0;
  // Before each call, whatever it is: what others do between two of ours.
  std::function<void(const std::string& call)> before_call;

  std::string loses;  // rules with this text get lost on the way to the kernel, and nobody says so,
  int losses = 1;     // so many times
  bool dies_of_states = false;  // pfctl of a snapshot of FreeBSD 14, when it has cleared them
  std::string vpn;              // macOS: the interface that the world is reached through
  std::string refuses;          // this call fails, always
  int fail_at = -1;             // the number of the changing call that fails
  int killed_at = -1;           // osproxy is killed in front of the changing call of this number
  bool after = false;           // or behind it
  int changes = 0;
  bool dead = false;
  std::function<void()> on_death;

  pfctl::Runner runner() {
    return [this](const std::vector<std::string>& argv, std::string_view input) {
      return run(argv, input);
    };
  }

  /// What becomes of a connection of this machine to far away that the rules are meant for.
  pfctl::ProbeResult connect(bool over_ipv6) {
    const std::string anchor = pfctl::anchor_of(dialect_);
    const auto rules = state.anchors.find(anchor);
    const bool evaluated = pfctl::refers_to(state.nat, "rdr-anchor", anchor) &&
                           pfctl::refers_to(state.rules, "anchor", anchor) &&
                           pfctl::first_to_decide(state.rules, anchor).empty();
    const bool redirects =
        rules != state.anchors.end() &&
        rules->second.find(over_ipv6 ? "rdr pass on lo0 inet6 " : "rdr pass on lo0 inet ") !=
            std::string::npos;
    if (!state.enabled() || skips_lo0 || !evaluated || !redirects || !vpn.empty())
      return pfctl::ProbeResult::missed;
    if (collides) {
      ++insert_failures;
      return pfctl::ProbeResult::missed;
    }
    ++states_of_ours;
    return pfctl::ProbeResult::reached;
  }

  // Forgets the failures, not the state.
  void revive() {
    fail_at = killed_at = -1;
    changes = 0;
    dead = false;
  }

 private:
  using Result = base::Result<base::Finished>;

  static base::Finished said(std::string out) { return {0, std::move(out), {}}; }
  static base::Finished usage() { return {1, {}, "usage: pfctl [-AdeghMmNnOqRrvz] ...\n"}; }
  static base::Finished refused(std::string err) {
    return {1, {}, "pfctl: " + std::move(err) + "\n"};
  }

  Result run(const std::vector<std::string>& argv, std::string_view input) {
    if (dead) return base::failure("killed");
    std::string call;
    for (const auto& each : argv) call += (call.empty() ? "" : " ") + each;
    if (before_call) before_call(call);
    if (auto answer = ask(argv, call, input)) return *answer;
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

  std::optional<base::Finished> ask(const std::vector<std::string>& argv, const std::string& call,
                                    std::string_view input) {
    if (call == "/sbin/kldstat -q -m pf") return base::Finished{state.module ? 0 : 1, {}, {}};
    if (call == "/sbin/ifconfig" || call == "/sbin/ifconfig lo0")
      return said(interfaces(call.ends_with("lo0")));
    if (argv[0] == "/sbin/ifconfig" && argv.size() == 2)
      return state.loopbacks.count(argv[1]) > 0
                 ? said(loopback(argv[1]))
                 : refused("interface " + argv[1] + " does not exist");
    if (call.ends_with("/netstat -rn")) return said(routes());
    if (call.starts_with("/sbin/route -n get ") && dialect_ == pfctl::Dialect::darwin)
      return said("   route to: 198.51.100.77\n  interface: " + (vpn.empty() ? "en0" : vpn) + "\n");
    if (argv[0] != "/sbin/pfctl") return {};
    const auto options = parsed(argv);
    if (!options) return usage();
    if (options->show.empty() && !options->dry) return {};
    if (!state.module) return refused("/dev/pf: No such file or directory");
    if (options->dry) return dry_run(*options, input);
    auto shown = show(*options);
    const bool rules = options->show == "nat" || options->show == "rules";
    if (rules && shown.err.empty() && cut_listings > 0) {
      --cut_listings;
      shown.out = first_half(shown.out);
      shown.err = "pfctl: DIOCGETRULE: Device busy\n";
    }
    return shown;
  }

  static std::string first_half(const std::string& text) {
    const auto lines = rule_lines(text);
    std::string half;
    for (std::size_t i = 0; i < lines.size() / 2; ++i) half += lines[i] + "\n";
    return half;
  }

  /// Empty: the usage.
  std::optional<PfctlCall> parsed(const std::vector<std::string>& argv) const {
    const bool freebsd = dialect_ == pfctl::Dialect::freebsd;
    PfctlCall call;
    const std::map<std::string, std::string*> values{{"-a", &call.anchor},
                                                     {"-s", &call.show},
                                                     {"-F", &call.flush},
                                                     {"-X", &call.token},
                                                     {"-o", &call.optimizer}};
    const std::map<std::string, bool*> switches{
        {"-P", &call.numeric}, {"-N", &call.nat},     {"-R", &call.rules},
        {"-n", &call.dry},     {"-v", &call.verbose}, {"-M", &call.both_ways},
        {"-e", &call.enable},  {"-d", &call.disable}, {"-E", &call.enable_reference}};
    for (std::size_t i = 1; i < argv.size(); ++i) {
      const std::string& option = argv[i];
      if (freebsd ? option == "-E" || option == "-X" : option == "-P" || option == "-M") return {};
      if (const auto found = switches.find(option); found != switches.end()) {
        *found->second = true;
        continue;
      }
      if (++i == argv.size()) return {};
      if (const auto found = values.find(option); found != values.end()) {
        *found->second = argv[i];
      } else if (option == "-k") {
        call.kill.push_back(argv[i]);
      } else if (option == "-f" && argv[i] == "-") {
        call.load = true;
      } else {
        return {};
      }
    }
    return call;
  }

  /// What a text would become: tables, filter rules, translation rules.
  base::Finished dry_run(const PfctlCall& call, std::string_view input) const {
    if (!call.load) return usage();
    if (input.find("syntax") != std::string_view::npos) return refused("stdin:1: syntax error");
    std::string parts[3];
    for (const auto& line : rule_lines(input)) {
      const int part = is_table(line) ? 0 : is_translation(line) ? 2 : 1;
      parts[part] += (part == 0 ? line : as_printed(as_read(line), dialect_, call.numeric)) + "\n";
    }
    return said(call.verbose ? parts[0] + "\n" + parts[1] + "\n" + parts[2] + "\n" : "");
  }

  std::string printed(std::string_view rules, bool translations, bool numeric) const {
    std::string text;
    for (const auto& line : rule_lines(rules)) {
      if (!is_table(line) && is_translation(line) == translations)
        text += as_printed(line, dialect_, numeric) + "\n";
    }
    return text;
  }

  base::Finished show(const PfctlCall& call) const {
    const bool translations = call.show == "nat";
    if (!call.anchor.empty() && (translations || call.show == "rules")) {
      const auto found = state.anchors.find(call.anchor);
      if (found == state.anchors.end()) {
        if (strict) return refused("Anchor does not exist.");
        return base::Finished{0, {}, "pfctl: DIOCGETRULES: Invalid argument\n"};
      }
      return said(printed(found->second, translations, call.numeric));
    }
    if (translations) return said(printed(state.nat, true, call.numeric));
    if (call.show == "rules") return said(printed(state.rules, false, call.numeric));
    if (call.show == "dummynet" && dialect_ == pfctl::Dialect::darwin) return said(state.dummynet);
    if (call.show == "Interfaces")
      return said(skips_lo0 && call.verbose ? "lo0 (skip)\n" : "lo0\n");
    if (call.show == "info") {
      std::string text = state.enabled() ? "Status: Enabled for 0 days\n" : "Status: Disabled\n";
      if (call.verbose)
        text += "Checksum: 0x" + std::to_string(std::hash<std::string>{}(state.nat + state.rules)) +
                "\n";
      return said(text + "Counters\n  state-insert   " + std::to_string(insert_failures) +
                  "    0.0/s\n");
    }
    if (call.show == "states") {
      std::string text;
      for (int i = 0; i < states_of_ours + states_of_others; ++i)
        text += "all tcp 10.0.2.15:1 -> 192.0.2.1:80\n";
      return said(text);
    }
    if (call.show == "References" && dialect_ == pfctl::Dialect::darwin) {
      std::string text = "TOKENS:\n";
      for (const auto& each : state.tokens) text += "412 pfctl " + each + " 0 days 00:00:12\n";
      return said(text);
    }
    return refused("Unknown show modifier '" + call.show + "'");
  }

  static std::string loopback(const std::string& name) {
    return name + ": flags=8049<UP,LOOPBACK> metric 0 mtu 65535\n\tinet6 fe80::1%" + name +
           " prefixlen 64 scopeid 0x4\n";
  }

  std::string interfaces(bool only_lo0) const {
    std::string text = "lo0: flags=8049<UP,LOOPBACK> metric 0 mtu " + std::to_string(state.mtu) +
                       "\n\tinet 127.0.0.1 netmask 0xff000000\n" +
                       (ipv6 ? "\tinet6 ::1 prefixlen 128\n" : "");
    for (const auto& each : state.aliases) {
      const bool v4 = each.find(':') == std::string::npos;
      text +=
          v4 ? "\tinet " + each + " netmask 0xffffffff\n" : "\tinet6 " + each + " prefixlen 128\n";
    }
    if (only_lo0) return text;
    for (const auto& each : state.loopbacks) text += loopback(each);
    text += "em0: flags=8843<UP> metric 0 mtu 1500\n";
    if (tso) text += "\toptions=4c07bb<RXCSUM,TSO4>\n";
    return text + "\tinet 10.0.2.15 netmask 0xffffff00\n" + more_interfaces;
  }

  std::string routes() const {
    std::string text = "Internet:\ndefault 10.0.2.2 UGS em0\n10.0.2.0/24 link#1 U em0\n";
    for (const auto& each : state.aliases) text += each + " link#2 UHS lo0\n";
    return text + more_routes;
  }

  Result change(const std::vector<std::string>& argv, const std::string& call,
                std::string_view input) {
    const bool freebsd = dialect_ == pfctl::Dialect::freebsd;
    if (call == "/sbin/kldload pf" && freebsd && !state.module) {
      state.module = true;
    } else if (call == "/sbin/kldunload pf" && keeps_module) {
      return base::Finished{1, {}, "kldunload: can't unload file: Device busy\n"};
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
      return change_pf(*parsed(argv), input);
    } else {
      return base::failure("no such program on this machine: {}", call);
    }
    return said({});
  }

  Result change_lo0(const std::vector<std::string>& argv) {
    const bool freebsd = dialect_ == pfctl::Dialect::freebsd;
    if (argv.size() == 6 && argv[2] == "create" && argv[5] == "up" && freebsd) {
      if (!state.loopbacks.insert(argv[1]).second)
        return refused("ifconfig: SIOCIFCREATE2: File exists");
    } else if (argv.size() == 3 && argv[2] == "destroy" && freebsd) {
      if (state.loopbacks.erase(argv[1]) == 0) return refused("interface does not exist");
    } else if (argv.size() == 4 && argv[2] == "mtu") {
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

  Result change_pf(const PfctlCall& call, std::string_view input) {
    if (call.enable) {
      if (state.enabled()) return refused("pf already enabled");
      state.switched_on = true;
      collides = states_of_ours + states_of_others > 0;
    } else if (call.disable) {
      state.switched_on = false;
      state.tokens.clear();
    } else if (call.enable_reference) {
      const std::string token = std::to_string(1000 + next_token_++);
      state.tokens.insert(token);
      return base::Finished{
          0, {}, "No ALTQ support in kernel\npf enabled\nToken : " + token + "\n"};
    } else if (!call.token.empty()) {
      if (state.tokens.erase(call.token) == 0) return refused("pf not enabled");
    } else if (call.load && call.anchor.empty()) {
      return load_main(call, input);
    } else if (call.load) {
      if (input.find("syntax") != std::string_view::npos) return refused("stdin:1: syntax error");
      state.anchors[call.anchor] = loaded(input);
    } else if (call.flush == "all" && !call.anchor.empty()) {
      if (state.anchors.erase(call.anchor) == 0 && strict) return refused("Anchor does not exist.");
    } else if (call.flush == "states") {
      states_of_ours = states_of_others = 0;
      collides = false;
      if (dies_of_states) return base::Finished{134, {}, "<jemalloc>: Failed assertion\n"};
    } else if (call.kill.size() == 2) {
      return kill_states(call);
    } else {
      return usage();
    }
    return said({});
  }

  /// What pf keeps of it.
  std::string loaded(std::string_view text) {
    const bool loses_some =
        !loses.empty() && text.find(loses) != std::string_view::npos && losses > 0;
    if (loses_some) --losses;
    std::string kept;
    while (!text.empty()) {
      const std::string line(text.substr(0, text.find('\n')));
      text.remove_prefix(std::min(text.size(), line.size() + 1));
      if (!loses_some || line.find(loses) == std::string::npos) kept += as_read(line) + "\n";
    }
    return kept;
  }

  Result kill_states(const PfctlCall& call) {
    const bool by_label = call.kill[0] == "label";
    if (by_label && dialect_ == pfctl::Dialect::darwin) return refused("cannot resolve label");
    // Without -M the halves on lo0 stay. A destination is the translated one on macOS only.
    const bool ours =
        by_label ? call.kill[1] == pfctl::kBentLabel && call.both_ways
                 : dialect_ == pfctl::Dialect::darwin && state.aliases.count(call.kill[1]) > 0;
    if (ours) states_of_ours = 0;
    return said({});
  }

  Result load_main(const PfctlCall& call, std::string_view input) {
    // The options, tables and queues of others would go.
    if (!call.nat || !call.rules) return base::failure("pfctl: the whole main ruleset is not ours");
    std::vector<std::string> sections[4];
    std::size_t at = 0;
    for (const auto& line : rule_lines(loaded(input))) {
      const std::size_t section = section_of(line);
      if (section < at) return refused("stdin:1: Rules must be in order");
      at = section;
      sections[section].push_back(line);
    }
    const auto text = [](const std::vector<std::string>& lines) {
      std::string all;
      for (const auto& each : lines) all += each + "\n";
      return all;
    };
    state.nat = text(by_kind(sections[1]));
    state.dummynet = text(sections[2]);
    state.rules = text(sections[0]) + text(sections[3]);
    if (call.optimizer == "none") return said({});
    // The optimizer makes a table of what two rules differ in, which -N -R do not let it load: it
    // gives up, and so does pfctl, content.
    if (std::ranges::adjacent_find(sections[3], combineable) == sections[3].end()) return said({});
    state.rules.clear();
    return base::Finished{0, {}, "pfctl: Must enable table loading for optimizations\n"};
  }

  static std::size_t section_of(const std::string& line) {
    if (line.starts_with("scrub")) return 0;
    if (is_translation(line)) return 1;
    return line.starts_with("dummynet") || line.starts_with("no dummynet") ? 2 : 3;
  }

  pfctl::Dialect dialect_;
  int next_token_ = 0;
};

}  // namespace test
