// Rules that a real kernel tells of, and the same bytes cut.
#include "pfctl/other_rules.h"

#include "tests/pfctl/namespace.h"
#include "tests/test.h"

namespace {

using pfctl_test::Namespace;
using pfctl_test::run;

using Lines = std::vector<std::string>;

pfctl::Ruleset ours() {
  pfctl::Ruleset ruleset;
  ruleset.own_mark = 0x10000000;
  return ruleset;
}

std::string both_kinds(const std::string& rules) {
  return "nft 'table inet a { chain out { type filter hook output priority 0; " + rules + "; }; }'";
}

}  // namespace

TEST_CASE("other_rules: nothing is said of rules that do not matter") {
  const Namespace fresh;
  run("nft 'table inet a { chain out { type filter hook output priority 0; meta skuid 1000 drop; "
      "meta mark 7 drop; ct state established accept; }; chain pre { type filter hook prerouting "
      "priority -300; notrack; jump more; }; chain more { notrack; }; chain unused { notrack; }; "
      "chain nat { type nat hook output priority -100; }; }'");
  run("iptables-legacy -A OUTPUT -m owner --uid-owner 1000 -j DROP; ip6tables-legacy -t mangle "
      "-A OUTPUT -m owner --gid-owner 7 -j ACCEPT; iptables-legacy -t raw -A OUTPUT -p udp -j CT "
      "--zone 3; ip link set lo up");
  // Of what comes in.
  run("iptables-legacy -t raw -N in; iptables-legacy -t raw -A in -j CT --notrack; "
      "iptables-legacy -t raw -A PREROUTING -p udp -j in; iptables-legacy -t raw -A PREROUTING "
      "-p udp -j CT --notrack; iptables-legacy -t raw -A OUTPUT -p udp; ip6tables-legacy -t raw "
      "-A PREROUTING -p udp -j CT --notrack");
  CHECK(pfctl::find_conflicts(ours()).value() == Lines{});
}

TEST_CASE("other_rules: cgroups, no tracking, nat before ours, routing by our mark, lo") {
  const Namespace fresh;
  run("ip link set lo up");
  run(both_kinds("meta cgroup 7 drop"));
  const std::string by_cgroup =
      "rules by cgroup in inet a judge osproxy's cgroup where it connects in a program's place";
  CHECK(pfctl::find_conflicts(ours()).value() == Lines{by_cgroup});
  run("nft delete table inet a; nft 'table ip b { chain raw { type filter hook output priority "
      "-300; udp dport 53 notrack; }; chain first { type nat hook output priority -110; }; }'");
  CHECK(pfctl::find_conflicts(ours()).value() ==
        Lines{"ip b first (priority -110) translates before osproxy: what it redirects is not seen",
              "ip b takes packets out of connection tracking: those are not intercepted"});
  run("nft delete table ip b; ip rule add fwmark 0x10000000/0x10000000 priority 77 lookup 7; ip "
      "link set lo down");
  CHECK(
      pfctl::find_conflicts(ours()).value() ==
      Lines{"`ip rule` 77 looks at the bit 0x10000000 of packet marks, which osproxy sets (--mark)",
            "the device lo is down: nothing can be intercepted"});
}

TEST_CASE("other_rules: tables of iptables, legacy and over nft") {
  const Namespace fresh;
  run("ip link set lo up");
  run("iptables-legacy -t raw -A OUTPUT -p tcp --dport 80 -j CT --notrack; ip6tables-legacy -A "
      "OUTPUT -m cgroup --cgroup 7 -j DROP");
  CHECK(pfctl::find_conflicts(ours()).value() ==
        Lines{"iptables raw takes packets out of connection tracking: those are not intercepted",
              "rules by cgroup in ip6tables filter judge osproxy's cgroup where it connects in "
              "a program's place"});
  run("iptables-legacy -t raw -F; ip6tables-legacy -F; iptables-nft -t raw -A OUTPUT -p tcp "
      "--dport 80 -j CT --notrack; iptables-nft -A OUTPUT -m cgroup --cgroup 7 -j DROP");
  CHECK(pfctl::find_conflicts(ours()).value() ==
        Lines{"ip raw takes packets out of connection tracking: those are not intercepted",
              "rules by cgroup in ip filter judge osproxy's "
              "cgroup where it connects in a program's place"});
}

TEST_CASE("other_rules: chains that the output hook comes to by way of others") {
  const Namespace fresh;
  run("ip link set lo up");
  run("nft 'table ip cali { chain out { type filter hook output priority -300; tcp dport 80 jump "
      "cali-OUT; }; chain cali-OUT { goto cali-last; }; chain cali-last { notrack; }; }'");
  CHECK(pfctl::find_conflicts(ours()).value() ==
        Lines{"ip cali takes packets out of connection tracking: those are not intercepted"});
  run("nft delete table ip cali; for i in iptables ip6tables; do for each in a b c; do $i-legacy "
      "-t raw -N $each; done; $i-legacy -t raw -A a -p tcp; $i-legacy -t raw -A a -j b; "
      "$i-legacy -t raw -A b -g c; $i-legacy -t raw -A c -j CT --notrack; $i-legacy -t raw -A "
      "OUTPUT -p tcp; done; iptables-legacy -t raw -A OUTPUT -p tcp -j a; ip6tables-legacy -t "
      "raw -A PREROUTING -p tcp -j a");
  CHECK(pfctl::find_conflicts(ours()).value() ==
        Lines{"iptables raw takes packets out of connection tracking: those are not intercepted"});
}

TEST_CASE("other_rules: entries of iptables that lie about their length") {
  std::string entry(200, '\0');
  const auto put = [&](std::size_t at, unsigned value) {
    entry[at] = static_cast<char>(value);
    entry[at + 1] = static_cast<char>(value >> 8);
  };
  put(88, 112 + 40);  // the target
  put(90, 200);       // the next entry
  put(112, 40);       // a match
  entry.replace(114, 6, "cgroup");
  std::vector<pfctl::OtherRule> rules;
  const pfctl::XtablesChain output{0, 0};
  pfctl::read_xtables_entries(entry, false, "t", output, rules);
  CHECK(rules == std::vector<pfctl::OtherRule>{{"t", {}, true, false}});
  for (std::size_t at : {88U, 90U, 112U}) {
    const std::string good = entry;
    for (const unsigned value : {0U, 1U, 31U, 111U, 201U, 65535U}) {
      put(at, value);
      pfctl::read_xtables_entries(entry, false, "t", output, rules);
    }
    entry = good;
  }
  for (std::size_t size = 0; size < entry.size(); ++size)
    pfctl::read_xtables_entries(std::string_view{entry}.substr(0, size), false, "t", output, rules);
}
