// What real pf does to rulesets of others, and to ours.
#include "pfctl/pf_load.h"

#include <algorithm>
#include <string>

#include <doctest/doctest.h>

#include "tests/pfctl/pf_fixture.h"

namespace {

using pfctl::Dialect;
using pfctl::ProbeResult;
using namespace test;

const std::string kSsh =
    "pass in inet proto tcp from 10.0.0.1 to any port = 22 flags S/SA keep state\n";
const std::string kSshOfAnother =
    "pass in inet proto tcp from 10.0.0.2 to any port = 22 flags S/SA keep state\n";
const std::string kFirewall = "block drop in all\n" + kSsh + kSshOfAnother;

pfctl::Probe connecting(PfMachine& machine) {
  return [&](bool ipv6) -> base::Result<ProbeResult> { return machine.connect(ipv6); };
}

}  // namespace

TEST_CASE("pf_load: a user's firewall stays in force during a run, and after it") {
  const std::string firewalls[] = {
      // pfctl's optimizer would empty it.
      kFirewall,
      // Printed as http-alt, which is port 591.
      "block drop in all\npass in inet proto tcp from "
      "any to any port = 8080 flags S/SA keep state\n",
      // Translation rules are printed by their kind.
      "pass all flags S/SA keep state\n",
  };
  for (const auto& rules : firewalls) {
    for (const Dialect dialect : {Dialect::darwin, Dialect::freebsd}) {
      CAPTURE(rules);
      const Folder folder;
      PfMachine machine(dialect);
      machine.state = {.switched_on = true,
                       .nat = "nat on em0 inet from 10.0.0.0/8 to any -> (em0) round-robin\n",
                       .rules = rules};
      const PfState before = machine.state;
      {
        auto held = session(machine, dialect, folder);
        const auto started = start(held, connecting(machine));
        REQUIRE(started.has_value());
        CHECK(machine.state.rules ==
              fmt::format("anchor \"{}\" all\n", anchor_for(dialect)) + rules);
      }
      CHECK(machine.state == before);
    }
  }
}

TEST_CASE("pf_load: a main ruleset that pfctl does not print faithfully is not touched") {
  struct {
    Dialect dialect;
    const char* rule;
    const char* add;
  } constexpr kCases[] = {
      {Dialect::freebsd, "block drop in proto tcp from any os \"NMAP\" to any\n", "osproxy"},
      {Dialect::darwin, "block drop in proto tcp from any os \"NMAP\" to any\n", "com.apple/*"},
      {Dialect::darwin, "anchor \"com.apple.internet-sharing\" all\n", "com.apple/*"},
      {Dialect::freebsd, "block return-icmp(net-unr, 3) all\n", "osproxy"},
  };
  for (const auto& each : kCases) {
    CAPTURE(each.rule);
    const Folder folder;
    PfMachine machine(each.dialect);
    machine.state = {.switched_on = true, .rules = kFirewall + each.rule};
    const PfState before = machine.state;
    auto held = session(machine, each.dialect, folder);
    const auto started = start(held, connecting(machine));
    REQUIRE(!started.has_value());
    CHECK(machine.state == before);
    for (const auto& call : machine.calls) CHECK(!contains(call, " -f -"));
    const std::string& told = started.error().text;
    CHECK(contains(told, "is not written anew"));
    CHECK(contains(
        told,
        fmt::format("`rdr-anchor \"{}\"` in front of all nat, binat and rdr rules of /etc/pf.conf",
                    each.add)));
    CHECK(contains(
        told,
        fmt::format("`anchor \"{}\"` in front of all its pass, block and anchor rules", each.add)));
    CHECK(contains(told, "pfctl -f /etc/pf.conf"));
    // When that has been done, it works.
    machine.state.nat = fmt::format("rdr-anchor \"{}\" all\n", each.add);
    machine.state.rules = fmt::format("anchor \"{}\" all\n", each.add) + machine.state.rules;
    CHECK(start(held, connecting(machine)).has_value());
  }
}

// pfctl of FreeBSD 15 reads it and never prints it.
TEST_CASE("pf_load: a pf.conf with allow-related is not written anew") {
  for (const char* option : {" (allow-related)", ""}) {
    for (const Dialect dialect : {Dialect::darwin, Dialect::freebsd}) {
      const Folder folder;
      PfMachine machine(dialect);
      machine.state = {.switched_on = true, .rules = "pass out proto udp all keep state\n"};
      const PfState before = machine.state;
      const std::string conf = folder.path + "/pf.conf";
      const std::string text = fmt::format("pass out proto udp keep state{}\n", option);
      REQUIRE(base::replace_file(conf, text, 0600).has_value());
      pfctl::PfSession held({dialect, anchor_for(dialect), machine.runner(), conf},
                            pfctl::JournalFile::open(folder.journal()).value());
      const auto started = start(held, connecting(machine));
      const bool refused = *option && dialect == Dialect::freebsd;
      CHECK(started.has_value() == !refused);
      if (!refused) continue;
      CHECK(
          contains(started.error().text, "pfctl does not print the `allow-related` that " + conf));
      CHECK(machine.state == before);
      machine.state.nat = "rdr-anchor \"osproxy\" all\n";
      machine.state.rules = "anchor \"osproxy\" all\n" + machine.state.rules;
      CHECK(start(held, connecting(machine)).has_value());
    }
  }
}

TEST_CASE(
    "pf_load: a main ruleset that is not loaded as it was given is put back, and the run refused") {
  const Folder folder;
  PfMachine machine(Dialect::freebsd);
  machine.state = {.switched_on = true, .rules = kFirewall};
  const PfState before = machine.state;
  machine.loses = "10.0.0.2";
  auto held = session(machine, Dialect::freebsd, folder);
  const auto once = start(held, connecting(machine));
  REQUIRE(!once.has_value());
  CHECK(contains(once.error().text,
                 "did not load the rules as they were given to it: `pass in inet proto tcp from "
                 "10.0.0.2 to any port = 22 flags S/SA keep state` is missing; the main ruleset "
                 "is what it was before"));
  CHECK(machine.state == before);
  CHECK(machine.losses == 0);

  machine.losses = 2;
  const auto twice = start(held, connecting(machine));
  REQUIRE(!twice.has_value());
  CHECK(contains(twice.error().text, "what was in force before is NOT"));
  CHECK(contains(twice.error().text, "load it by hand (pfctl -f /etc/pf.conf)"));
}

TEST_CASE(
    "pf_load: rules of ours that are not loaded as "
    "they were given are taken out, and the run refused") {
  for (const Dialect dialect : {Dialect::darwin, Dialect::freebsd}) {
    for (const char* lost : {"route-to", "rdr"}) {
      const Folder folder;
      PfMachine machine(dialect);
      machine.state = stock_of(dialect);
      const PfState before = machine.state;
      machine.loses = lost;
      auto held = session(machine, dialect, folder);
      const auto started = start(held, connecting(machine));
      REQUIRE(!started.has_value());
      CHECK(contains(started.error().text,
                     "pfctl did not load our rules as they were given to it: "));
      CHECK(machine.state == before);
    }
  }
}

TEST_CASE("pf_load: states of an earlier run are in nobody's way") {
  for (const Dialect dialect : {Dialect::darwin, Dialect::freebsd}) {
    const Folder folder;
    PfMachine machine(dialect);
    if (dialect == Dialect::darwin) machine.state = stock();
    machine.states_of_others = 3;  // somebody had pf enabled once
    for (int run = 0; run < 8; ++run) {
      CAPTURE(run);
      auto held = session(machine, dialect, folder);
      REQUIRE(start(held, connecting(machine)).has_value());
      CHECK(machine.states_of_others == 0);
      CHECK(held.undo().failures.empty());
      CHECK(machine.states_of_ours == 0);
    }
  }
}

TEST_CASE("pf_load: a pfctl that dies when it has cleared the states has cleared them") {
  const Folder folder;
  PfMachine machine(Dialect::freebsd);
  machine.states_of_others = 3;
  machine.dies_of_states = true;
  auto held = session(machine, Dialect::freebsd, folder);
  CHECK(start(held, connecting(machine)).has_value());
}

TEST_CASE("pf_load: with pf enabled by others their states stay, and ours go") {
  for (const Dialect dialect : {Dialect::darwin, Dialect::freebsd}) {
    const Folder folder;
    PfMachine machine(dialect);
    machine.state = stock();
    if (dialect == Dialect::darwin) machine.state.tokens = {"77"};
    if (dialect == Dialect::freebsd) machine.state.switched_on = true;
    machine.states_of_others = 3;
    {
      auto held = session(machine, dialect, folder);
      REQUIRE(start(held, connecting(machine)).has_value());
      CHECK(machine.states_of_ours > 0);
    }
    CHECK(machine.states_of_others == 3);
    CHECK(machine.states_of_ours == 0);
  }
}

TEST_CASE("pf_load: states that collide are reported, and nobody else is blamed") {
  const Folder folder;
  PfMachine machine(Dialect::freebsd);
  machine.state = {.switched_on = true, .rules = kFirewall};
  machine.states_of_others = 3;
  machine.collides = true;
  auto held = session(machine, Dialect::freebsd, folder);
  const auto started = start(held, connecting(machine));
  REQUIRE(!started.has_value());
  CHECK(contains(started.error().text, "counter state-insert: 2 more"));
  CHECK(contains(started.error().text, "`pfctl -F states`"));
  CHECK(machine.states_of_others == 3);
}

TEST_CASE("pf_load: one connection that is lost on its way proves nothing") {
  const Folder folder;
  PfMachine machine(Dialect::darwin);
  machine.state = stock();
  auto held = session(machine, Dialect::darwin, folder);
  int probes = 0;
  const auto notes = start(held, [&](bool) -> base::Result<ProbeResult> {
    return ++probes == 1 ? ProbeResult::missed : ProbeResult::reached;
  });
  REQUIRE(notes.has_value());
  CHECK(notes->empty());
}

TEST_CASE("pf_load: macOS's pfctl is never given -P, FreeBSD's always when it prints rules") {
  CHECK(pfctl::show_command(Dialect::darwin, "nat") == Lines{"/sbin/pfctl", "-s", "nat"});
  CHECK(pfctl::show_command(Dialect::freebsd, "rules", "osproxy") ==
        Lines{"/sbin/pfctl", "-a", "osproxy", "-P", "-s", "rules"});
}
