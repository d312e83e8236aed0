// What the rules want of a machine beside pf: an interface of our own, a place in front of `block`,
// VPNs told.
#include "pfctl/pf_machine.h"
#include "pfctl/pf_plan.h"
#include "pfctl/pf_status.h"
#include "tests/pfctl/pf_fixture.h"
#include "tests/test.h"

namespace {

using pfctl::Dialect;
using pfctl::ProbeResult;
using test::Folder;
using test::kHoldingText;
using test::kLoopbackText;
using test::PfMachine;
using test::PfState;

bool load(pfctl::PfSession& held, const char* text) {
  return held.clean_up() && held.prepare(test::kPreferred) && held.load(test::offer(text), {});
}

bool has_note(const pfctl::Loaded& loaded, std::string_view what) {
  return std::ranges::any_of(
      loaded.notes, [&](const std::string& note) { return note.find(what) != std::string::npos; });
}

}  // namespace

TEST_CASE("pf_loopback: the interface that rules name is made for them, and destroyed with them") {
  const Folder folder;
  PfMachine machine(Dialect::freebsd);
  const PfState before = machine.state;
  {
    auto held = test::session(machine, Dialect::freebsd, folder);
    REQUIRE(load(held, kLoopbackText));
    CHECK(machine.state.loopbacks == std::set<std::string>{"lo28531"});
    CHECK(std::ranges::count(machine.calls, "/sbin/ifconfig lo28531 create mtu 65535 up") == 1);
    CHECK(test::content(folder.journal()).find("destroy_loopback") != std::string::npos);
  }
  CHECK(machine.state == before);
  auto held = test::session(machine, Dialect::freebsd, folder);
  REQUIRE(load(held, test::kAnchorText));
  CHECK(machine.state.loopbacks.empty());
}

TEST_CASE("pf_loopback: one that is there already is used, and stays") {
  const Folder folder;
  PfMachine machine(Dialect::freebsd);
  machine.state.loopbacks = {"lo1", "lo28531"};
  const PfState before = machine.state;
  {
    auto held = test::session(machine, Dialect::freebsd, folder);
    REQUIRE(load(held, kLoopbackText));
  }
  CHECK(machine.state == before);
}

TEST_CASE("pf_loopback: killed or failing at any step, the interface goes") {
  for (const bool killed : {false, true}) {
    for (const bool after : {false, true}) {
      bool complete = false;
      for (int step = 0; !complete; ++step) {
        CAPTURE(killed);
        CAPTURE(step);
        const Folder folder;
        PfMachine machine(Dialect::freebsd);
        const PfState before = machine.state;
        (killed ? machine.killed_at : machine.fail_at) = step;
        machine.after = after;
        std::string left;
        {
          auto held = test::session(machine, Dialect::freebsd, folder);
          machine.on_death = [&] { left = test::content(folder.journal()); };
          complete = load(held, kLoopbackText);
          if (complete) machine.revive();
        }
        if (killed && !complete) {
          if (!left.empty()) REQUIRE(base::replace_file(folder.journal(), left, 0600).has_value());
          machine.revive();
          machine.on_death = nullptr;
          REQUIRE(test::session(machine, Dialect::freebsd, folder).clean_up().has_value());
        }
        CHECK(machine.state == before);
        CHECK(!std::filesystem::exists(folder.journal()));
      }
    }
  }
}

// The rule by which a judged packet passes is not `quick` and keeps no state: behind a `block` it
// would take that back, behind a `pass` its state, queue and route.
TEST_CASE(
    "pf_loopback: with the packet engine the anchor stands "
    "in front of all that matches what goes out") {
  struct Case {
    const char* rules;
    const char* text;
    bool moved;
  };
  const Case cases[] = {
      {"block drop all\nanchor \"osproxy\" all\npass out all\n", kHoldingText, true},
      {"block drop out on em0 all\nanchor \"osproxy\" all\n", kHoldingText, true},
      {"block drop in all\nanchor \"osproxy\" all\npass out all\n", kHoldingText, false},
      {"pass out all no state\nanchor \"osproxy\" all\n", kHoldingText, true},
      {"block drop in all\npass out all flags S/SA keep state\nanchor \"osproxy\" all\n",
       kHoldingText, true},
      {"match out all tag lan\nanchor \"osproxy\" all\n", kHoldingText, true},
      {"pass out proto tcp all keep state label \"let in\"\nanchor \"osproxy\" all\n", kHoldingText,
       true},
      {"block return-icmp(net-unr, port-unr) in log (all, to pflog1) all\nanchor \"osproxy\" all\n",
       kHoldingText, false},
      {"scrub out all no-df fragment reassemble\nanchor \"osproxy\" all\n", kHoldingText, false},
      {"pass out all no state\nanchor \"osproxy\" all\n", test::kAnchorText, false},
      {"anchor \"osproxy\" all\nblock drop all\n", kHoldingText, false},
      {"block drop all\nanchor \"osproxy\" all\n", test::kAnchorText, false},
  };
  for (const auto& each : cases) {
    CAPTURE(each.rules);
    const Folder folder;
    PfMachine machine(Dialect::freebsd);
    machine.state = {
        .switched_on = true, .nat = "rdr-anchor \"osproxy\" all\n", .rules = each.rules};
    const PfState before = machine.state;
    {
      auto held = test::session(machine, Dialect::freebsd, folder);
      REQUIRE(held.prepare(test::kPreferred).has_value());
      const auto loaded =
          held.load(test::offer(each.text, pfctl::RulesetVariants::Proof::none), {});
      REQUIRE(loaded.has_value());
      CHECK((machine.state.rules != before.rules) == each.moved);
      if (!each.moved) continue;
      CHECK(machine.state.rules.starts_with("anchor \"osproxy\" all\n"));
      CHECK(has_note(*loaded, "in the main ruleset of pf would come before osproxy"));
    }
    CHECK(machine.state == before);
  }
}

// It cannot be moved in front of them.
TEST_CASE(
    "pf_loopback: the packet engine does not start behind rules that cannot be written anew") {
  const std::string unreadable = "block drop in proto tcp from any os \"NMAP\" to any\n";
  const std::pair<std::string, bool> cases[] = {
      {"block drop all\n" + unreadable + "anchor \"osproxy\" all\n", true},
      {unreadable + "pass out all flags S/SA keep state\nanchor \"osproxy\" all\n", true},
      {unreadable + "anchor \"osproxy\" all\nblock drop all\n", false},
  };
  for (const auto& [rules, refused] : cases) {
    CAPTURE(rules);
    const Folder folder;
    PfMachine machine(Dialect::freebsd);
    machine.state = {.switched_on = true, .nat = "rdr-anchor \"osproxy\" all\n", .rules = rules};
    const PfState before = machine.state;
    auto held = test::session(machine, Dialect::freebsd, folder);
    REQUIRE(held.prepare(test::kPreferred).has_value());
    const auto loaded =
        held.load(test::offer(kHoldingText, pfctl::RulesetVariants::Proof::none), {});
    CHECK(loaded.has_value() == !refused);
    CHECK(machine.state.rules == before.rules);
    if (!refused) continue;
    CHECK(loaded.error().text.find("precedes osproxy") != std::string::npos);
    CHECK(loaded.error().text.find("`anchor \"osproxy\"` in front of all its pass, block") !=
          std::string::npos);
    CHECK(machine.state.anchors.empty());
    // The redirect engine takes nothing back.
    CHECK(held.load(test::offer(test::kAnchorText), {}).has_value());
  }
}

// pf makes states for what is held then: it comes back for ever, or is nobody's.
TEST_CASE(
    "pf_loopback: the packet engine does not start "
    "beside nat of local sockets and reassembly of TCP") {
  struct Case {
    const char* nat;
    const char* rules;
    const char* named;  ///< empty: packets can be held
    const char* noted;  ///< with the redirect engine
  };
  const Case cases[] = {
      {"", "scrub on em0 all reassemble tcp fragment reassemble\n",
       "`scrub on em0 all reassemble tcp", ""},
      {"", "scrub in on em0 all reassemble tcp fragment reassemble\n", "", ""},
      {"nat on em0 inet from <jails> to any -> (em0:0) round-robin\n", "",
       "`nat on em0 inet from <jails> to any -> (em0:0) round-robin`",
       "`nat on em0 inet from <jails>"},
      {"nat on em0 inet from 192.168.0.0/16 to any -> (em0) round-robin\n", "", "", ""},
  };
  for (const auto& each : cases) {
    CAPTURE(each.nat);
    CAPTURE(each.rules);
    const Folder folder;
    PfMachine machine(Dialect::freebsd);
    machine.state = {.switched_on = true, .nat = each.nat, .rules = each.rules};
    auto held = test::session(machine, Dialect::freebsd, folder);
    REQUIRE(held.prepare(test::kPreferred).has_value());
    const auto holding =
        held.load(test::offer(kHoldingText, pfctl::RulesetVariants::Proof::none), {});
    CHECK(holding.has_value() == (each.named[0] == '\0'));
    if (!holding) {
      CHECK(holding.error().text.find(each.named) != std::string::npos);
      CHECK(machine.state.anchors.empty());
    }
    (void)held.unload();
    const auto redirecting = held.load(test::offer(test::kAnchorText), {});
    REQUIRE(redirecting.has_value());
    CHECK(has_note(*redirecting, "the owners of such connections are unknown") ==
          (each.noted[0] != '\0'));
  }
}

TEST_CASE("pf_loopback: macOS's VPN addresses, and no other system's") {
  constexpr const char* kInterfaces =
      "lo0: flags=8049<UP> mtu 16384\n\tinet6 ::1 prefixlen 128\n"
      "en0: flags=8863<UP> mtu 1500\n\tinet6 2001:db8::5 prefixlen 64\n"
      "utun0: flags=8051<UP> mtu 1380\n\tinet6 fe80::1%utun0 prefixlen 64 scopeid 0x10\n"
      "utun4: flags=8051<UP> mtu 1380\n\tinet 10.8.0.2 --> 10.8.0.1 netmask 0xffffffff\n"
      "\tinet6 fd00:8::2 prefixlen 64\n"
      "ipsec0: flags=8051<UP> mtu 1400\n\tinet6 fd00:9::2 prefixlen 64\n";
  const auto found = pfctl::tunnel_addresses_v6(pfctl::parse_ifconfig(kInterfaces));
  REQUIRE(found.size() == 2);
  CHECK(found[0].to_string() == "fd00:8::2");
  CHECK(found[1].to_string() == "fd00:9::2");
  for (const auto dialect : {Dialect::darwin, Dialect::freebsd}) {
    PfMachine machine(dialect);
    machine.more_interfaces = "utun4: flags=8051<UP> mtu 1380\n\tinet6 fd00:8::2 prefixlen 64\n";
    const auto queried =
        pfctl::query_tunnels({dialect, test::anchor_for(dialect), machine.runner()});
    REQUIRE(queried.has_value());
    CHECK(queried->size() == (dialect == Dialect::darwin ? 1 : 0));
  }
}

TEST_CASE("pf_loopback: IPv6 that leaves through a VPN proves nothing, and is not refused for it") {
  for (const bool vpn : {false, true}) {
    const Folder folder;
    PfMachine machine(Dialect::darwin);
    machine.state = test::stock();
    if (vpn) machine.vpn = "utun4";
    auto held = test::session(machine, Dialect::darwin, folder);
    REQUIRE(held.prepare(test::kPreferred).has_value());
    auto wanted = test::offer(test::kAnchorText);
    wanted.without_ipv6 = "rdr pass on lo0 inet\nblock return out quick inet6\n";
    const auto loaded = held.load(wanted, [](bool ipv6) -> base::Result<ProbeResult> {
      return ipv6 ? ProbeResult::missed : ProbeResult::reached;
    });
    REQUIRE(loaded.has_value());
    CHECK((loaded->text == wanted.text) == vpn);
  }
}

TEST_CASE("pf_loopback: what is left alone is reported") {
  pfctl::Ruleset rules;
  CHECK(pfctl::cautions(rules, Dialect::darwin).empty());
  CHECK(pfctl::cautions(rules, Dialect::freebsd).empty());
  rules.loopback = true;
  CHECK(pfctl::cautions(rules, Dialect::darwin).empty());
  CHECK(pfctl::cautions(rules, Dialect::freebsd).size() == 1);
  rules.tunnels = {boost::asio::ip::make_address("fd00:8::2"),
                   boost::asio::ip::make_address("fd00:9::2")};
  CHECK(pfctl::cautions(rules, Dialect::darwin) ==
        std::vector<std::string>{
            "IPv6 connections from a VPN's addresses are left alone: fd00:8::2, fd00:9::2"});
  rules.ipv6 = false;
  CHECK(pfctl::cautions(rules, Dialect::freebsd).empty());
}

// What osproxy sends for a program is its worker's.
TEST_CASE("pf_loopback: rules of others by user or group are reported") {
  const std::pair<const char*, bool> cases[] = {
      {"block return out proto tcp all user = 1001\npass all flags S/SA keep state\n", true},
      {"pass out proto tcp all group != 5 flags S/SA keep state\n", true},
      {"pass in proto tcp all user = 0 flags S/SA keep state\n", false},
      {"block drop out on user0 all\n", false},
      {"", false},
  };
  for (const auto& [rules, told] : cases) {
    CAPTURE(rules);
    const Folder folder;
    PfMachine machine(Dialect::freebsd);
    machine.state = {.switched_on = true, .rules = rules};
    auto held = test::session(machine, Dialect::freebsd, folder);
    REQUIRE(held.prepare(test::kPreferred).has_value());
    const auto loaded = held.load(test::offer(test::kAnchorText), {});
    REQUIRE(loaded.has_value());
    CHECK(has_note(*loaded, "by their user or group") == told);
  }
}
