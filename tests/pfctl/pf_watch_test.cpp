// What an administrator does to pf during a run.
#include "pfctl/pf_watch.h"

#include <algorithm>
#include <string>

#include <doctest/doctest.h>

#include "tests/pfctl/pf_fixture.h"

namespace {

using pfctl::Dialect;
using pfctl::ProbeResult;
using namespace test;

struct Run {
  explicit Run(Dialect dialect, PfState state = {}) : machine(dialect), before(state) {
    machine.state = std::move(state);
    held.emplace(session(machine, dialect, folder));
    REQUIRE(start(*held).has_value());
    diverting = machine.state;
  }
  Lines put_right() { return held->put_right(kLoaded); }
  bool settled() {
    const auto view =
        pfctl::query_view({machine.dialect(), anchor_for(machine.dialect()), machine.runner()});
    return held->is_settled(view ? *view : pfctl::PfView{}, kLoaded);
  }
  bool captures() { return machine.connect(false) == ProbeResult::reached; }

  Folder folder;
  PfMachine machine;
  PfState before;
  PfState diverting;
  std::optional<pfctl::PfSession> held;
};

/// With rules that hold packets.
struct Holding {
  explicit Holding(PfState state) {
    machine.state = std::move(state);
    held.emplace(session(machine, Dialect::freebsd, folder));
    REQUIRE(held->prepare(kPreferred).has_value());
    loaded = held->load(offer(kHoldingText, pfctl::RulesetVariants::Proof::none), {}).value();
  }
  Lines put_right() { return held->put_right(loaded); }

  Folder folder;
  PfMachine machine{Dialect::freebsd};
  std::optional<pfctl::PfSession> held;
  pfctl::Loaded loaded;
};

}  // namespace

TEST_CASE("pf_watch: nothing has changed, nothing is done") {
  for (const Dialect dialect : kDialects) {
    Run run(dialect, stock_of(dialect));
    const auto calls = run.machine.calls.size();
    CHECK(run.put_right().empty());
    CHECK(run.machine.calls.size() == calls);
  }
}

TEST_CASE("pf_watch: another main ruleset comes to our rules again, and is what is left") {
  const PfState replacements[] = {
      {.nat = "nat on em0 inet from 10.0.0.0/8 to any -> (em0) round-robin\n",
       .rules = "block drop in all\n"},
      {},  // -F all
      {.rules = "pass out quick all flags S/SA keep state\n"},
  };
  for (const Dialect dialect : kDialects) {
    for (const auto& main : replacements) {
      CAPTURE(main.rules);
      Run run(dialect, {.switched_on = true});
      run.machine.state.nat = main.nat;
      run.machine.state.rules = main.rules;
      CHECK(!run.captures());
      const auto lines = run.put_right();
      REQUIRE(lines.size() == 1);
      CHECK(contains(lines.front(),
                     "the main ruleset of pf was changed by others and no longer came to our "
                     "rules: it names "));
      CHECK(run.captures());
      CHECK(run.put_right().empty());
      CHECK(run.held->undo().failures.empty());
      CHECK(run.machine.state.nat == main.nat);
      CHECK(run.machine.state.rules == main.rules);
      CHECK(!std::filesystem::exists(run.folder.journal()));
    }
  }
}

TEST_CASE(
    "pf_watch: killed after another main ruleset was made to refer to us, that one is put back") {
  Run run(Dialect::freebsd, {.switched_on = true});
  run.machine.state.rules = "block drop in all\n";
  CHECK(run.put_right().size() == 1);
  {
    auto killed = std::move(*run.held);
    killed.abandon();
  }
  CHECK(session(run.machine, Dialect::freebsd, run.folder).clean_up()->failures.empty());
  CHECK(run.machine.state == PfState{.switched_on = true, .rules = "block drop in all\n"});
}

TEST_CASE("pf_watch: a quick rule in front of ours is passed by") {
  Run run(Dialect::freebsd, {.switched_on = true});
  run.machine.state.rules = "pass out quick all flags S/SA keep state\n" + run.machine.state.rules;
  const auto lines = run.put_right();
  REQUIRE(lines.size() == 1);
  CHECK(contains(lines.front(), "`pass out quick all flags S/SA keep state` would come first"));
  CHECK(run.captures());
}

TEST_CASE("pf_watch: our rules come back into our anchor") {
  for (const Dialect dialect : kDialects) {
    for (const char* others : {"", "pass all\n"}) {
      Run run(dialect, stock_of(dialect));
      auto& anchors = run.machine.state.anchors;
      anchors.clear();
      if (*others) anchors[anchor_for(dialect)] = others;
      const auto lines = run.put_right();
      REQUIRE(lines.size() == 1);
      CHECK(contains(lines.front(), "were changed by others: ours are in force again"));
      CHECK(run.machine.state == run.diverting);
      CHECK(run.put_right().empty());
    }
  }
}

TEST_CASE("pf_watch: while new connections are let pass, rules stay out") {
  Run run(Dialect::freebsd);
  REQUIRE(run.held->stop().has_value());
  CHECK(run.put_right().empty());
  CHECK(run.machine.state.anchors.empty());
  run.machine.state.rules.clear();
  CHECK(run.put_right().size() == 1);
  CHECK(run.machine.state.anchors.empty());
  REQUIRE(run.held->divert_again(kLoaded).has_value());
  CHECK(run.captures());
}

TEST_CASE(
    "pf_watch: a pf that was disabled stays so, is "
    "told once, and is captured with when it is enabled") {
  for (const Dialect dialect : kDialects) {
    Run run(dialect);
    run.machine.state.switched_on = false;
    run.machine.state.tokens.clear();
    const auto lines = run.put_right();
    REQUIRE(lines.size() == 1);
    CHECK(contains(lines.front(), "nothing is captured any more: pf was disabled"));
    CHECK(run.put_right().empty());
    CHECK(!run.machine.state.enabled());
    // The administrator's, and not ours to disable.
    run.machine.state.switched_on = true;
    CHECK(run.put_right() == Lines{"pf is enabled again, and new connections are captured"});
    CHECK(run.captures());
    CHECK(run.held->undo().failures.empty());
    CHECK(run.machine.state == PfState{.switched_on = true});
  }
}

TEST_CASE("pf_watch: set skip on lo0 takes our rules out, until it is gone") {
  for (const Dialect dialect : kDialects) {
    Run run(dialect);
    run.machine.skips_lo0 = true;
    const auto lines = run.put_right();
    REQUIRE(lines.size() == 1);
    CHECK(contains(lines.front(),
                   "pf skips lo0 now, and our rules are taken out; take lo0 out of `set skip`"));
    CHECK(run.machine.state.anchors.empty());
    CHECK(run.put_right().empty());
    run.machine.skips_lo0 = false;
    CHECK(run.put_right().front() == "pf no longer skips lo0: new connections are captured");
    CHECK(run.captures());
    CHECK(run.put_right().empty());
  }
}

TEST_CASE("pf_watch: rules that had to be taken out are not loaded by a terminal that comes back") {
  for (const Dialect dialect : kDialects) {
    Run run(dialect);
    run.machine.skips_lo0 = true;
    CHECK(run.put_right().size() == 1);
    REQUIRE(run.held->stop().has_value());
    REQUIRE(run.held->divert_again(kLoaded).has_value());
    CHECK(run.machine.state.anchors.empty());
    CHECK(run.put_right().empty());
    CHECK(run.machine.state.anchors.empty());
    run.machine.skips_lo0 = false;
    CHECK(run.put_right() == Lines{"pf no longer skips lo0: new connections are captured"});
    CHECK(run.captures());
  }
}

TEST_CASE("pf_watch: rules that are loaded anew are in force, whatever was before") {
  Run run(Dialect::freebsd);
  run.machine.state.switched_on = false;
  CHECK(run.put_right().size() == 1);
  CHECK(run.held->unload().failures.empty());
  REQUIRE(run.held->load(offer(kAnchorText), {}).has_value());
  REQUIRE(run.held->stop().has_value());
  REQUIRE(run.held->divert_again(kLoaded).has_value());
  CHECK(run.captures());
}

TEST_CASE("pf_watch: rules that could not be taken out while pf skips lo0 are taken out later") {
  for (const Dialect dialect : kDialects) {
    Run run(dialect);
    run.machine.skips_lo0 = true;
    run.machine.fail_at = run.machine.changes;
    const auto lines = run.put_right();
    REQUIRE(lines.size() == 2);
    CHECK(contains(lines[0], "nothing is captured any more: pf skips lo0 now; take lo0 out"));
    CHECK(lines[1] == "cannot take our rules out of pf: out of luck");
    CHECK(!run.settled());
    CHECK(!run.machine.state.anchors.empty());
    CHECK(run.put_right().empty());
    CHECK(run.machine.state.anchors.empty());
    CHECK(run.settled());
  }
}

TEST_CASE("pf_watch: what fails once is tried again") {
  Run run(Dialect::freebsd, {.switched_on = true});
  run.machine.state.nat.clear();
  run.machine.state.rules.clear();
  run.machine.fail_at = run.machine.changes;
  CHECK(contains(run.put_right().front(),
                 "nothing is captured any more: others have changed pf, and "));
  CHECK(!run.settled());
  const auto lines = run.put_right();
  REQUIRE(lines.size() == 2);
  CHECK(lines[1] == "new connections are captured again");
  CHECK(run.captures());
  CHECK(run.settled());

  run.machine.state.nat.clear();
  run.machine.cut_listings = 1000;
  CHECK(run.put_right().empty());
  run.machine.cut_listings = 0;
  CHECK(!run.settled());
  CHECK(run.put_right().size() == 1);
  CHECK(run.settled());
}

TEST_CASE("pf_watch: what others do between two looks is not taken for good") {
  Run run(Dialect::freebsd, {.switched_on = true});
  CHECK(run.settled());
  const PfState good = run.machine.state;
  const std::function<void(PfState&)> changes[] = {
      [](PfState& state) { state.switched_on = false; },
      [](PfState& state) { state.nat.clear(); },
      [](PfState& state) { state.rules.clear(); },
      [](PfState& state) { state.anchors.clear(); },
      [](PfState& state) { state.module = false; },
      [](PfState& state) { state.rules = "pass out quick all\n" + state.rules; },
  };
  for (const auto& change : changes) {
    change(run.machine.state);
    CHECK(!run.settled());
    run.machine.state = good;
  }
  run.machine.state.switched_on = false;
  CHECK(run.put_right().size() == 1);
  CHECK(run.settled());
  run.machine.state.switched_on = true;
  CHECK(!run.settled());
}

TEST_CASE("pf_watch: what cannot be put right is reported once, with the lines to add") {
  Run run(Dialect::freebsd, {.switched_on = true});
  run.machine.state.nat.clear();
  run.machine.state.rules = "block drop in proto tcp from any os \"NMAP\" to any\n";
  const auto lines = run.put_right();
  REQUIRE(lines.size() == 1);
  CHECK(contains(lines.front(),
                 "nothing is captured any more: others have changed pf, and the main ruleset of "
                 "pf is not written anew"));
  CHECK(contains(lines.front(), "`rdr-anchor \"osproxy\"`"));
  CHECK(run.put_right().empty());
  CHECK(run.machine.state.rules == "block drop in proto tcp from any os \"NMAP\" to any\n");
}

TEST_CASE("pf_watch: an address that this machine gets or loses is known to the rules") {
  for (const Dialect dialect : kDialects) {
    Run run(dialect, stock_of(dialect));
    int loads = 0;
    const auto count = [&] {
      loads =
          static_cast<int>(std::ranges::count_if(run.machine.calls, [](const std::string& call) {
            return contains(call, " -a ") && contains(call, "-o none -f -");
          }));
      return loads;
    };
    const int before = count();
    run.machine.more_interfaces =
        "lo1: flags=8049<UP> mtu 16384\n\tinet 10.7.7.7 netmask 0xffffffff\n";
    CHECK(run.put_right() ==
          Lines{"this machine has other addresses now: the rules in pf know them"});
    CHECK(count() == before + 1);
    CHECK(run.put_right().empty());
    run.machine.more_interfaces.clear();
    CHECK(run.put_right().size() == 1);
    CHECK(count() == before + 2);
    CHECK(run.machine.state == run.diverting);
    // Out of force they are not loaded, but with the right ones when they come back.
    REQUIRE(run.held->stop().has_value());
    run.machine.more_interfaces =
        "lo1: flags=8049<UP> mtu 16384\n\tinet 10.7.7.7 netmask 0xffffffff\n";
    CHECK(run.put_right().empty());
    CHECK(count() == before + 2);
  }
}

TEST_CASE("pf_watch: an address of ours that lo0 has lost comes back, and goes at the end") {
  for (const Dialect dialect : kDialects) {
    for (const bool there_before : {false, true}) {
      PfState state = stock_of(dialect);
      if (there_before) state.aliases = {"198.18.0.1"};
      Run run(dialect, state);
      run.machine.state.aliases.erase("198.18.0.1");
      CHECK(run.put_right() ==
            Lines{"lo0 had lost 198.18.0.1, osproxy's address: it has it again"});
      CHECK(run.machine.state == run.diverting);
      CHECK(run.put_right().empty());
      CHECK(run.held->undo().failures.empty());
      CHECK(run.machine.state.aliases.empty());
      CHECK(!std::filesystem::exists(run.folder.journal()));
    }
  }
}

TEST_CASE("pf_watch: the interface that rules name comes back when it is destroyed") {
  const Folder folder;
  PfMachine machine(Dialect::freebsd);
  const PfState before = machine.state;
  {
    auto held = session(machine, Dialect::freebsd, folder);
    REQUIRE(held.prepare(kPreferred).has_value());
    const auto loaded = held.load(offer(kLoopbackText), {});
    REQUIRE(loaded.has_value());
    CHECK(held.put_right(*loaded).empty());
    machine.state.loopbacks.clear();
    CHECK(held.put_right(*loaded) == Lines{"the interface lo28531 was gone: it is there again"});
    CHECK(machine.state.loopbacks.count("lo28531") == 1);
  }
  CHECK(machine.state == before);
}

TEST_CASE("pf_watch: macOS: the addresses of VPNs are those that there are") {
  pfctl::Ruleset ruleset;
  ruleset.ports = {{443, 443}};
  ruleset.listener_v4 = ruleset.listener_v6 = 28531;
  ruleset.exempt_gid = 1869837176;
  ruleset = pfctl::validated(ruleset).value();
  for (const bool refuses : {false, true}) {
    const Folder folder;
    PfMachine machine(Dialect::darwin);
    machine.state = stock();
    const pfctl::Machine shown{Dialect::darwin, anchor_for(Dialect::darwin), machine.runner()};
    auto held = session(machine, Dialect::darwin, folder);
    REQUIRE(held.prepare(kPreferred).has_value());
    const auto offered = pfctl::offer_of(ruleset, Dialect::darwin).value();
    auto loaded = held.load(offered,
                            [&](bool ipv6) -> base::Result<ProbeResult> {
                              return ipv6 && refuses ? ProbeResult::missed : ProbeResult::reached;
                            })
                      .value();
    auto followed = ruleset;
    REQUIRE(pfctl::follow_tunnels(shown, followed, loaded).has_value());
    CHECK(loaded.text == (refuses ? offered.without_ipv6 : offered.text));
    machine.more_interfaces = "utun4: flags=8051<UP> mtu 1380\n\tinet6 fd00:8::2 prefixlen 64\n";
    REQUIRE(pfctl::follow_tunnels(shown, followed, loaded).has_value());
    CHECK(contains(loaded.text, "block return out quick inet6 proto tcp") == refuses);
    CHECK(contains(loaded.text, "table <osproxy_tunnels> const { fd00:8::2 }"));
    CHECK(held.put_right(loaded).size() == 1);
    CHECK(contains(machine.state.anchors[anchor_for(Dialect::darwin)], "fd00:8::2"));
  }
}

TEST_CASE(
    "pf_watch: rules that hold packets give way to a "
    "firewall that they cannot be put in front of") {
  Holding run({.switched_on = true, .rules = "block drop all\n"});
  PfMachine& machine = run.machine;
  CHECK(machine.state.rules == "anchor \"osproxy\" all\nblock drop all\n");
  const std::string firewall =
      "block drop all\nblock drop in proto tcp from any os \"NMAP\" to any\n";
  machine.state.rules = firewall + "anchor \"osproxy\" all\n";
  const auto lines = run.put_right();
  REQUIRE(lines.size() == 1);
  CHECK(contains(lines.front(),
                 "our rules are taken out: `block drop all` in the main ruleset of pf precedes"));
  CHECK(machine.state.anchors.empty());
  CHECK(run.put_right().empty());
  REQUIRE(run.held->stop().has_value());
  REQUIRE(run.held->divert_again(run.loaded).has_value());
  CHECK(machine.state.anchors.empty());
  machine.state.rules = "anchor \"osproxy\" all\n" + firewall;
  CHECK(contains(run.put_right().front(),
                 "leaves room for osproxy again: new connections are captured"));
  CHECK(machine.state.anchors.count("osproxy") == 1);
}

TEST_CASE(
    "pf_watch: rules that hold packets give way to nat of local sockets and to reassembly of TCP") {
  for (const bool nat : {true, false}) {
    Holding run({.switched_on = true});
    PfMachine& machine = run.machine;
    const PfState holding = machine.state;
    if (nat)
      machine.state.nat = "nat on em0 inet from any to any -> 192.0.2.1\n" + machine.state.nat;
    if (!nat)
      machine.state.rules = "scrub all reassemble tcp fragment reassemble\n" + machine.state.rules;
    const auto lines = run.put_right();
    REQUIRE(lines.size() == 1);
    CHECK(contains(lines.front(), nat ? "`nat on em0 inet from any" : "`scrub all reassemble tcp"));
    CHECK(machine.state.anchors.empty());
    machine.state.nat = holding.nat;
    machine.state.rules = holding.rules;
    CHECK(!run.put_right().empty());
    CHECK(machine.state == holding);
  }
}

TEST_CASE(
    "pf_watch: rules that hold packets stay out while main cannot be loaded with them in front") {
  Holding run({.switched_on = true, .rules = "block drop all\n"});
  PfMachine& machine = run.machine;
  machine.state.rules = "block drop all\nanchor \"osproxy\" all\n";
  machine.loses = "block drop all";
  const auto lines = run.put_right();
  REQUIRE(!lines.empty());
  CHECK(contains(lines.front(), "nothing is captured any more"));
  CHECK(machine.state.anchors.empty());
  CHECK(machine.state.rules == "block drop all\nanchor \"osproxy\" all\n");
  CHECK(!run.put_right().empty());
  CHECK(machine.state.anchors.count("osproxy") == 1);
}
