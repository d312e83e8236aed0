// An administrator's firewall comes up, or is there, while osproxy starts, runs and ends.
#include <algorithm>
#include <string>

#include <doctest/doctest.h>

#include "pfctl/pf_load.h"
#include "pfctl/pf_machine.h"
#include "tests/pfctl/pf_fixture.h"

namespace {

using pfctl::Dialect;
using pfctl::ProbeResult;
using namespace test;

constexpr const char* kFirewall = "block drop all\npass out all flags S/SA keep state\n";

/// rc.d/pf: `pfctl -F all`, `pfctl -f`, and -e only when it is not enabled.
void start_service(PfMachine& machine) {
  machine.state.nat.clear();
  machine.state.rules = kFirewall;
  if (!machine.state.enabled()) machine.state.switched_on = true;
}

/// Others load kFirewall in front of call number `at`. Not between the last look and the loading
/// itself: pf has nothing that would make these two one. True: it came to that.
class Intruder {
 public:
  Intruder(PfMachine& machine, int at) : machine_(machine) {
    machine.before_call = [this, at, number = 0](const std::string& call) mutable {
      if (number++ != at || call.ends_with(" -N -R -f -")) return;
      machine_.state.nat.clear();
      machine_.state.rules = kFirewall;
      was_there = true;
    };
  }
  Intruder(const Intruder&) = delete;
  Intruder& operator=(const Intruder&) = delete;
  ~Intruder() { machine_.before_call = nullptr; }

  bool was_there = false;

 private:
  PfMachine& machine_;
};

constexpr int kMoreThanAllCalls = 120;

}  // namespace

TEST_CASE("pf_others: a firewall that is started during a run is in force after it") {
  for (const bool module : {false, true}) {
    for (const bool noticed : {false, true}) {
      for (const bool killed : {false, true}) {
        CAPTURE(module);
        CAPTURE(noticed);
        CAPTURE(killed);
        const Folder folder;
        PfMachine machine(Dialect::freebsd);
        machine.state.module = module;
        {
          auto held = session(machine, Dialect::freebsd, folder);
          REQUIRE(start(held).has_value());
          start_service(machine);
          if (noticed) {
            const auto lines = held.put_right(kLoaded);
            REQUIRE(lines.size() == 2);
            CHECK(contains(lines.front(),
                           "(`block drop all`): osproxy had enabled pf, and leaves it enabled"));
            CHECK(held.put_right(kLoaded).empty());
          }
          if (killed) held.abandon();
        }
        if (killed) {
          const auto cleaned = session(machine, Dialect::freebsd, folder).clean_up();
          REQUIRE(cleaned.has_value());
          CHECK(cleaned->failures.empty());
        }
        CHECK(machine.state == PfState{.switched_on = true, .rules = kFirewall});
        CHECK(!std::filesystem::exists(folder.journal()));
      }
    }
  }
}

TEST_CASE(
    "pf_others: a firewall that is started anew between two looks is in force after the run") {
  const Folder folder;
  PfMachine machine(Dialect::freebsd);
  auto held = session(machine, Dialect::freebsd, folder);
  REQUIRE(start(held).has_value());
  start_service(machine);
  CHECK(held.put_right(kLoaded).size() == 2);
  machine.state.switched_on = false;
  start_service(machine);
  CHECK(held.put_right(kLoaded).size() == 1);
  CHECK(held.undo().lines.front() == "took our anchor out of the main ruleset of pf");
  CHECK(machine.state == PfState{.switched_on = true, .rules = kFirewall});
}

TEST_CASE("pf_others: pf's module stays while others have rules in it, enabled or not") {
  const Folder folder;
  PfMachine machine(Dialect::freebsd);
  machine.state.module = false;
  auto held = session(machine, Dialect::freebsd, folder);
  REQUIRE(start(held).has_value());
  machine.state.nat.clear();
  machine.state.rules = kFirewall;
  machine.state.switched_on = false;
  const auto undone = held.undo();
  CHECK(undone.failures.empty());
  CHECK(undone.lines.back() ==
        "left the module pf loaded: others have loaded "
        "rules into its main ruleset (`block drop all`)");
  CHECK(machine.state == PfState{.rules = kFirewall});
}

TEST_CASE("pf_others: a firewall that is disabled is not put in force") {
  struct {
    const char* nat;
    const char* rules;
    const char* told;
  } constexpr kCases[] = {
      {"", kFirewall, "(`block drop all`)"},
      {"rdr-anchor \"osproxy\" all\n", "anchor \"osproxy\" all\nblock drop all\n",
       "(`block drop all`)"},
      {"nat on em0 inet from 10.0.0.0/8 to any -> (em0)\n", "", "(`nat on em0 "},
  };
  for (const auto& each : kCases) {
    const Folder folder;
    PfMachine machine(Dialect::freebsd);
    machine.state.nat = each.nat;
    machine.state.rules = each.rules;
    machine.states_of_others = 3;
    const PfState before = machine.state;
    auto held = session(machine, Dialect::freebsd, folder);
    const auto started = start(held);
    REQUIRE(!started.has_value());
    CHECK(contains(started.error().text, "pf is disabled, but its main ruleset holds rules "));
    CHECK(contains(started.error().text, each.told));
    CHECK(contains(started.error().text, "pfctl -e"));
    CHECK(machine.state == before);
    CHECK(machine.states_of_others == 3);
    // Enabled, they are the administrator's.
    machine.state.switched_on = true;
    CHECK(start(held).has_value());
  }
  // macOS loads its rules at boot, and does not enable pf.
  const Folder folder;
  PfMachine machine(Dialect::darwin);
  machine.state = stock();
  auto held = session(machine, Dialect::darwin, folder);
  CHECK(start(held).has_value());
}

TEST_CASE("pf_others: a listing that is cut short is no ruleset") {
  const std::string rules =
      "block drop all\npass in proto tcp from any to any port = 22\npass out all\n";
  for (const Dialect dialect : {Dialect::darwin, Dialect::freebsd}) {
    for (const int cut : {1, 2, 3, 4}) {
      CAPTURE(cut);
      const Folder folder;
      PfMachine machine(dialect);
      machine.state = {.switched_on = true, .rules = rules};
      const PfState before = machine.state;
      {
        auto held = session(machine, dialect, folder);
        machine.cut_listings = cut;
        REQUIRE(start(held).has_value());
        CHECK(machine.state.rules ==
              fmt::format("anchor \"{}\" all\n", anchor_for(dialect)) + rules);
        machine.cut_listings = cut;
      }
      CHECK(machine.state == before);
    }
    const Folder folder;
    PfMachine machine(dialect);
    machine.state = {.switched_on = true, .rules = rules};
    const PfState before = machine.state;
    auto held = session(machine, dialect, folder);
    machine.cut_listings = 1000;
    const auto started = start(held);
    REQUIRE(!started.has_value());
    CHECK(started.error().text == "cannot read the main ruleset of pf: DIOCGETRULE: Device busy");
    machine.cut_listings = 0;
    CHECK(held.undo().failures.empty());
    CHECK(machine.state == before);
  }
}

TEST_CASE("pf_others: what others load between two listings is not half of each") {
  for (const int at : {0, 1, 2}) {
    PfMachine machine(Dialect::freebsd);
    machine.state.nat = "nat on em0 inet from 10.0.0.0/8 to any -> (em0) round-robin\n";
    const pfctl::MainRuleset before{.nat = machine.state.nat, .dummynet = {}, .rules = {}};
    machine.before_call = [&, listed = 0](const std::string& call) mutable {
      if (!call.ends_with(" -s rules") || listed++ != at) return;
      machine.state.nat.clear();
      machine.state.rules = kFirewall;
    };
    const auto main = pfctl::query_main({Dialect::freebsd, "osproxy", machine.runner()});
    REQUIRE(main.has_value());
    const pfctl::MainRuleset after{.nat = {}, .dummynet = {}, .rules = kFirewall};
    CHECK(*main == (at < 2 ? after : before));
  }
}

TEST_CASE("pf_others: our anchor cut short is an error, one that is not there is none") {
  PfMachine machine(Dialect::freebsd);
  const pfctl::Machine same{Dialect::freebsd, "osproxy", machine.runner()};
  for (const bool strict : {false, true}) {
    machine.strict = strict;
    CHECK(pfctl::query_anchor(same).value().empty());
  }
  machine.state.anchors["osproxy"] = kAnchorText;
  const auto whole = pfctl::query_anchor(same).value();
  machine.cut_listings = 2;
  CHECK(pfctl::query_anchor(same).value() == whole);
  machine.cut_listings = 1000;
  CHECK(pfctl::query_anchor(same).error().text ==
        "cannot read what the anchor osproxy holds: DIOCGETRULE: Device busy");
}

TEST_CASE(
    "pf_others: a ruleset that others load in the middle of our loading is the one that stays") {
  const PfState before{.switched_on = true, .rules = "pass all flags S/SA keep state\n"};
  int met = 0;
  for (int at = 0; at < kMoreThanAllCalls; ++at) {
    CAPTURE(at);
    const Folder folder;
    PfMachine machine(Dialect::freebsd);
    machine.state = before;
    auto held = session(machine, Dialect::freebsd, folder);
    bool intruded = false;
    bool started = false;
    {
      const Intruder intruder(machine, at);
      started = start(held).has_value();
      intruded = intruder.was_there;
    }
    if (started && intruded) (void)held.put_right(kLoaded);
    if (started) CHECK(machine.connect(false) == ProbeResult::reached);
    CHECK(held.undo().failures.empty());
    CHECK(machine.state.nat.empty());
    CHECK(machine.state.rules == (intruded ? kFirewall : before.rules));
    met += intruded ? 1 : 0;
  }
  CHECK(met > 20);
}

TEST_CASE("pf_others: nor do we undo what others load while we put right, or undo") {
  for (const bool undoing : {false, true}) {
    int met = 0;
    for (int at = 0; at < kMoreThanAllCalls; ++at) {
      CAPTURE(undoing);
      CAPTURE(at);
      const Folder folder;
      PfMachine machine(Dialect::freebsd);
      machine.state = {.switched_on = true, .rules = "pass all flags S/SA keep state\n"};
      auto held = session(machine, Dialect::freebsd, folder);
      REQUIRE(start(held).has_value());
      const std::string flushed = "block drop in all\n";
      if (!undoing) {
        machine.state.nat.clear();
        machine.state.rules = flushed;
      }
      bool intruded = false;
      {
        const Intruder intruder(machine, at);
        if (undoing) CHECK(held.undo().failures.empty());
        if (!undoing) (void)held.put_right(kLoaded);
        intruded = intruder.was_there;
      }
      if (!undoing) {
        (void)held.put_right(kLoaded);
        CHECK(machine.connect(false) == ProbeResult::reached);
        CHECK(held.undo().failures.empty());
      }
      const std::string otherwise = undoing ? "pass all flags S/SA keep state\n" : flushed;
      CHECK(machine.state.nat.empty());
      CHECK(machine.state.rules == (intruded ? kFirewall : otherwise));
      met += intruded ? 1 : 0;
    }
    CHECK(met > 10);
  }
}

TEST_CASE(
    "pf_others: a main ruleset that is loaded all the time is no reason to load one of ours") {
  const Folder folder;
  PfMachine machine(Dialect::freebsd);
  machine.state = {.switched_on = true, .rules = kFirewall};
  auto held = session(machine, Dialect::freebsd, folder);
  machine.before_call = [&, number = 0](const std::string&) mutable {
    machine.state.rules = fmt::format("pass in proto tcp from any to any port = {}\n", ++number);
  };
  const auto started = start(held);
  REQUIRE(!started.has_value());
  CHECK(contains(started.error().text, "others change it all the time"));
  for (const auto& call : machine.calls) CHECK(!contains(call, "-N -R"));
}

TEST_CASE("pf_others: lines that the administrator has added by hand stay") {
  const std::string rules[] = {
      "anchor \"osproxy\" all\nblock drop in proto tcp from any os \"NMAP\" to any\npass all\n",
      "anchor \"osproxy\" all\nblock drop in all\n",
      "pass all flags S/SA keep state\nanchor \"osproxy\" all\n",
  };
  for (const auto& main : rules) {
    for (const bool noticed : {false, true}) {
      for (const bool killed : {false, true}) {
        // Else it looks as if it were ours.
        if (!noticed && main.starts_with("pass")) continue;
        const Folder folder;
        PfMachine machine(Dialect::freebsd);
        machine.state = {.switched_on = true, .rules = "pass all flags S/SA keep state\n"};
        {
          auto held = session(machine, Dialect::freebsd, folder);
          REQUIRE(start(held).has_value());
          machine.state.nat = "rdr-anchor \"osproxy\" all\n";
          machine.state.rules = main;
          machine.calls.clear();
          if (noticed) CHECK(held.put_right(kLoaded).empty());
          CHECK(machine.connect(false) == ProbeResult::reached);
          if (killed) held.abandon();
        }
        if (killed) CHECK(session(machine, Dialect::freebsd, folder).clean_up()->failures.empty());
        CHECK(machine.state ==
              PfState{.switched_on = true, .nat = "rdr-anchor \"osproxy\" all\n", .rules = main});
        for (const auto& call : machine.calls) CHECK(!contains(call, "-N -R"));
        CHECK(!std::filesystem::exists(folder.journal()));
      }
    }
  }
}

TEST_CASE("pf_others: of a reference beside rules of others, ours goes and theirs stays") {
  const std::string nat = "rdr-anchor \"osproxy\" all\n";
  const std::string rules = "anchor \"osproxy\" all\n";
  struct {
    PfState during;
    PfState left;
  } const kCases[] = {
      // pfctl -R -f, -F rules, -F nat
      {{.nat = nat, .rules = kFirewall}, {.rules = kFirewall}},
      {{.nat = nat}, {}},
      {{.rules = rules + "pass all\n"}, {.rules = "pass all\n"}},
      // pfctl -f
      {{.nat = nat, .rules = rules + kFirewall}, {.nat = nat, .rules = rules + kFirewall}},
      {{.rules = rules + kFirewall}, {.rules = rules + kFirewall}},
  };
  for (const auto& each : kCases) {
    CAPTURE(each.during.rules);
    const Folder folder;
    PfMachine machine(Dialect::freebsd);
    machine.state = {.switched_on = true, .rules = "pass all\n"};
    auto held = session(machine, Dialect::freebsd, folder);
    REQUIRE(start(held).has_value());
    machine.state.nat = each.during.nat;
    machine.state.rules = each.during.rules;
    (void)held.put_right(kLoaded);
    CHECK(machine.connect(false) == ProbeResult::reached);
    CHECK(held.undo().failures.empty());
    CHECK(machine.state.nat == each.left.nat);
    CHECK(machine.state.rules == each.left.rules);
  }
}

TEST_CASE("pf_plan: what others change in the meantime stays theirs") {
  const Folder folder;
  PfMachine machine(Dialect::freebsd);
  {
    auto held = session(machine, Dialect::freebsd, folder);
    REQUIRE(start(held).has_value());
    // A firewall comes up: it keeps our anchor, adds rules, takes lo0 for itself.
    machine.state.rules += "block drop in on em0 all\n";
    machine.state.mtu = 20000;
    machine.state.aliases.erase("198.18.0.1");
    const auto undone = held.undo();
    CHECK(undone.failures == Lines{});
    CHECK(
        undone.lines ==
        Lines{"left pf enabled: others have loaded rules into its main ruleset since (`block drop "
              "in on em0 all`)",
              "left the main ruleset of pf as others have loaded it since: it refers to osproxy, "
              "which is empty now",
              "flushed the anchor osproxy", "took fdff:6f73::1 from lo0"});
  }
  CHECK(machine.state == PfState{.switched_on = true,
                                 .nat = "rdr-anchor \"osproxy\" all\n",
                                 .rules = "anchor \"osproxy\" all\nblock drop in on em0 all\n",
                                 .mtu = 20000});

  PfMachine replaced(Dialect::freebsd);
  {
    auto held = session(replaced, Dialect::freebsd, folder);
    REQUIRE(start(held).has_value());
    replaced.state.nat.clear();
    replaced.state.rules = "pass all\n";
    replaced.state.switched_on = false;
  }
  CHECK(replaced.state == PfState{.rules = "pass all\n"});
}
