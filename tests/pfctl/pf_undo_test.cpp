// What is undone by whom, and what cannot be.
#include "pfctl/pf_undo.h"

#include <string>
#include <utility>

#include <doctest/doctest.h>
#include <unistd.h>

#include "pfctl/rules_owner.h"
#include "tests/pfctl/pf_fixture.h"

using pfctl::Dialect;
using pfctl::PfSession;
using namespace test;

TEST_CASE("pf_plan: a forked child that lets go undoes nothing and keeps nobody from cleaning up") {
  const Folder folder;
  PfMachine machine(Dialect::freebsd);
  auto held = session(machine, Dialect::freebsd, folder);
  REQUIRE(start(held).has_value());
  const PfState diverting = machine.state;
  CHECK(pfctl::journal_owner(folder.journal()).value() == ::getpid());
  {
    PfSession child = std::move(held);
    child.abandon();
  }
  CHECK(machine.state == diverting);
  CHECK(pfctl::journal_owner(folder.journal()).value() == pfctl::kNoOwner);
}

TEST_CASE("pf_plan: the rules of a dying process go first, and only its") {
  const Folder folder;
  PfMachine machine(Dialect::freebsd);
  auto held = session(machine, Dialect::freebsd, folder);
  REQUIRE(start(held).has_value());
  PfState diverting = machine.state;
  const pfctl::Machine same{Dialect::freebsd, "osproxy", machine.runner()};
  REQUIRE(pfctl::flush_rules_of(same, folder.journal(), ::getpid() + 1).has_value());
  CHECK(machine.state == diverting);
  REQUIRE(pfctl::flush_rules_of(same, folder.journal(), ::getpid()).has_value());
  diverting.anchors.clear();
  CHECK(machine.state == diverting);
  CHECK(held.undo().failures.empty());
  CHECK(machine.state == PfState{});
  CHECK(pfctl::flush_rules_of(same, folder.journal(), ::getpid()).has_value());
}

TEST_CASE("pf_plan: somebody's pfctl -d makes our token void, which is no failure") {
  const Folder folder;
  PfMachine machine(Dialect::darwin);
  machine.state = stock();
  const PfState before = machine.state;
  auto held = session(machine, Dialect::darwin, folder);
  REQUIRE(start(held).has_value());
  machine.state.tokens.clear();
  CHECK(held.undo().failures.empty());
  CHECK(machine.state == before);
}

TEST_CASE(
    "pf_plan: what cannot be undone is reported and kept in the journal, the rest is undone") {
  const Folder folder;
  PfMachine machine(Dialect::freebsd);
  {
    auto held = session(machine, Dialect::freebsd, folder);
    REQUIRE(start(held).has_value());
    machine.fail_at = machine.changes;  // the first of the undoing
    const auto undone = held.undo();
    CHECK(undone.failures == Lines{"cannot disable pf: out of luck"});
  }
  CHECK(machine.state == PfState{.switched_on = true});
  auto next = session(machine, Dialect::freebsd, folder);
  CHECK(next.clean_up().value().lines == Lines{"disabled pf"});
  CHECK(next.clean_up().value().lines.empty());
  CHECK(machine.state == PfState{});
}

TEST_CASE("pf_plan: an anchor that is not there any more is flushed, whatever pfctl says to that") {
  for (const bool strict : {false, true}) {
    const Folder folder;
    PfMachine machine(Dialect::freebsd);
    machine.strict = strict;
    {
      auto held = session(machine, Dialect::freebsd, folder);
      REQUIRE(start(held).has_value());
      machine.state.anchors.clear();
      CHECK(held.undo().failures.empty());
    }
    CHECK(machine.state == PfState{});
    CHECK(!std::filesystem::exists(folder.journal()));
  }
}

TEST_CASE("pf_plan: an anchor that keeps its rules is a failure with pfctl's words") {
  const Folder folder;
  PfMachine machine(Dialect::darwin);
  machine.state = stock();
  auto held = session(machine, Dialect::darwin, folder);
  REQUIRE(start(held).has_value());
  machine.fail_at = machine.changes + 1;  // after the token
  CHECK(held.undo().failures == Lines{"cannot flush our anchor com.apple/osproxy: out of luck"});
}

TEST_CASE("pf_plan: with pf's module everything in pf is undone") {
  const Folder folder;
  PfMachine machine(Dialect::freebsd);
  machine.state.module = false;
  {
    auto held = session(machine, Dialect::freebsd, folder);
    REQUIRE(start(held).has_value());
    // kldunload -f
    machine.state = {.module = false, .aliases = machine.state.aliases, .mtu = machine.state.mtu};
    const auto undone = held.undo();
    CHECK(undone.failures == Lines{});
    CHECK(undone.lines == Lines{"set the MTU of lo0 back to 16384", "took fdff:6f73::1 from lo0",
                                "took 198.18.0.1 from lo0"});
  }
  CHECK(machine.state == PfState{.module = false});
  CHECK(!std::filesystem::exists(folder.journal()));
}

TEST_CASE("pf_plan: a module that stays loaded is no failure") {
  const Folder folder;
  PfMachine machine(Dialect::freebsd);
  machine.state.module = false;
  machine.keeps_module = true;
  auto held = session(machine, Dialect::freebsd, folder);
  REQUIRE(start(held).has_value());
  const auto undone = held.undo();
  CHECK(undone.failures == Lines{});
  CHECK(undone.lines.back() ==
        "left the module pf loaded: kldunload: can't unload file: Device busy");
  CHECK(machine.state == PfState{});
  CHECK(!std::filesystem::exists(folder.journal()));
}
