#include "pfctl/pf_plan.h"

#include <algorithm>
#include <string>
#include <utility>

#include <doctest/doctest.h>

#include "pfctl/pf_machine.h"
#include "tests/pfctl/pf_fixture.h"

namespace {

using pfctl::Dialect;
using pfctl::ProbeResult;
using namespace test;

// A machine as it may be found.
struct Found {
  const char* name;
  Dialect dialect;
  PfState state;
};

std::vector<Found> machines() {
  return {
      {"macOS as delivered", Dialect::darwin, stock()},
      {"macOS, pf wanted by others",
       Dialect::darwin,
       {.tokens = {"77"},
        .nat = kStockNat,
        .rules = kStockRules,
        .dummynet = kStockDummynet,
        .anchors = {{"com.apple/vpn", "pass all\n"}}}},
      {"macOS, another main ruleset",
       Dialect::darwin,
       {.switched_on = true, .rules = "block drop in all\n"}},
      {"FreeBSD without the module", Dialect::freebsd, {.module = false}},
      {"FreeBSD, disabled and empty", Dialect::freebsd, {}},
      {"FreeBSD with a firewall",
       Dialect::freebsd,
       {.switched_on = true,
        .nat = "nat on em0 inet from 10.0.0.0/8 to any -> (em0)\n",
        .rules = "scrub in all fragment reassemble\nblock drop in "
                 "all\npass out all flags S/SA keep state\n",
        .mtu = 65535}},
      {"FreeBSD, referred to by hand",
       Dialect::freebsd,
       {.switched_on = true,
        .nat = "rdr-anchor \"osproxy\" all\n",
        .rules = "anchor \"osproxy\" all\npass all\n"}},
      {"FreeBSD, referred to by half and with an alias",
       Dialect::freebsd,
       {.switched_on = true,
        .rules = "pass all\nanchor \"osproxy\" all\n",
        .aliases = {"198.18.0.1"}}},
  };
}

void check_diverting(const PfMachine& machine, Dialect dialect) {
  const PfState& state = machine.state;
  CHECK(state.enabled());
  CHECK(state.anchors.at(anchor_for(dialect)) == kAnchorText);
  CHECK(pfctl::refers_to(state.nat, "rdr-anchor", anchor_for(dialect)));
  CHECK(pfctl::refers_to(state.rules, "anchor", anchor_for(dialect)));
  CHECK(state.aliases.count("198.18.0.1") == 1);
  CHECK(state.aliases.count("fdff:6f73::1") == 1);
  CHECK(state.mtu == 65535);
}

}  // namespace

TEST_CASE("pf_plan: diverts on every machine, and leaves it as it was") {
  for (const auto& found : machines()) {
    CAPTURE(found.name);
    const Folder folder;
    PfMachine machine(found.dialect);
    machine.state = found.state;
    {
      auto held = session(machine, found.dialect, folder);
      REQUIRE(start(held).has_value());
      check_diverting(machine, found.dialect);
      CHECK(std::filesystem::exists(folder.journal()));
      REQUIRE(held.stop().has_value());
      CHECK(machine.state.anchors.count(anchor_for(found.dialect)) == 0);
      REQUIRE(held.divert_again({kAnchorText, {}}).has_value());
      check_diverting(machine, found.dialect);
    }
    CHECK(machine.state == found.state);
    CHECK(!std::filesystem::exists(folder.journal()));
  }
}

TEST_CASE("pf_plan: a failure at any step undoes all before it") {
  for (const auto& found : machines()) {
    CAPTURE(found.name);
    int steps = 0;
    for (bool complete = false; !complete; ++steps) {
      CAPTURE(steps);
      const Folder folder;
      PfMachine machine(found.dialect);
      machine.state = found.state;
      machine.fail_at = steps;
      auto held = session(machine, found.dialect, folder);
      const auto loaded = start(held);
      complete = loaded.has_value();
      if (complete) continue;
      CHECK(loaded.error().text.find("out of luck") != std::string::npos);
      CHECK(machine.state == found.state);
      CHECK(!std::filesystem::exists(folder.journal()));
    }
    CHECK(steps > 2);
  }
}

TEST_CASE(
    "pf_plan: killed at any step, the next one puts all right, even when it is killed as well") {
  for (const auto& found : machines()) {
    for (const bool after : {false, true}) {
      bool complete = false;
      for (int step = 0; !complete; ++step) {
        CAPTURE(found.name);
        CAPTURE(after);
        CAPTURE(step);
        const Folder folder;
        PfMachine machine(found.dialect);
        machine.state = found.state;
        machine.killed_at = step;
        machine.after = after;
        std::string left;
        {
          auto held = session(machine, found.dialect, folder);
          machine.on_death = [&] { left = content(folder.journal()); };
          complete = start(held).has_value();
          if (complete) machine.on_death();
          machine.on_death = nullptr;
          machine.dead = true;
        }
        // What it wrote after that is not what a killed process writes.
        if (!left.empty()) REQUIRE(base::replace_file(folder.journal(), left, 0600).has_value());
        const bool token_unknown =
            left.find("release_token\",\n      \"value\": \"\"") != std::string::npos;
        for (const int again : {0, 1, 2, -1}) {
          machine.revive();
          machine.killed_at = again;
          machine.after = after;
          const std::string before = content(folder.journal());
          const auto cleaned = session(machine, found.dialect, folder).clean_up();
          if (again >= 0 && !before.empty()) {
            REQUIRE(base::replace_file(folder.journal(), before, 0600).has_value());
            continue;
          }
          REQUIRE(cleaned.has_value());
          CHECK(cleaned->failures.empty());
          if (!token_unknown) continue;
          CHECK(std::ranges::any_of(cleaned->lines, [](const std::string& line) {
            return line.find("may have been left enabled") != std::string::npos;
          }));
        }
        // The one thing that nobody can know: a token that `pfctl -E` gave to the dead.
        if (token_unknown) machine.state.tokens = found.state.tokens;
        CHECK(machine.state == found.state);
        CHECK(!std::filesystem::exists(folder.journal()));
      }
    }
  }
}

TEST_CASE(
    "pf_plan: an anchor that is not evaluated is named in the main ruleset, which is put back") {
  const Folder folder;
  PfMachine machine(Dialect::freebsd);
  const std::string rival =
      "rdr pass on lo0 inet proto tcp from any to any port = 80 -> 127.0.0.1 port 3128\n";
  machine.state = {
      .switched_on = true,
      .nat = rival + "rdr-anchor \"osproxy\" all\n",
      .rules = "scrub in all fragment reassemble\nanchor \"osproxy\" all\nblock drop in all\n"};
  const PfState before = machine.state;
  {
    auto held = session(machine, Dialect::freebsd, folder);
    const auto notes = start(held, [&](bool ipv6) -> base::Result<ProbeResult> {
      CHECK(!ipv6);
      return machine.state.nat.starts_with("rdr-anchor") ? ProbeResult::reached
                                                         : ProbeResult::missed;
    });
    REQUIRE(notes.has_value());
    REQUIRE(notes->size() == 1);
    CHECK(notes->front().find("did not come to osproxy by itself") != std::string::npos);
    CHECK(machine.state.nat == "rdr-anchor \"osproxy\" all\n" + rival);
    CHECK(machine.state.rules == before.rules);
  }
  CHECK(machine.state == before);
}

TEST_CASE("pf_plan: macOS's main ruleset is never written anew when a wildcard refers to us") {
  struct {
    const char* vpn;
    const char* told;
  } constexpr kCases[] = {
      {"", "nothing in its main ruleset (pfctl -s rules) comes before them"},
      {"utun4", "it leaves through utun4, a VPN's interface"},
      {"en0", "nothing in its main ruleset (pfctl -s rules) comes before them"},
  };
  for (const auto& each : kCases) {
    CAPTURE(each.vpn);
    const Folder folder;
    PfMachine machine(Dialect::darwin);
    machine.state = stock();
    machine.vpn = each.vpn;
    auto held = session(machine, Dialect::darwin, folder);
    const auto loaded =
        start(held, [](bool) -> base::Result<ProbeResult> { return ProbeResult::missed; });
    REQUIRE(!loaded.has_value());
    CHECK(loaded.error().text.find(each.told) != std::string::npos);
    CHECK(machine.state == stock());
    for (const auto& call : machine.calls) CHECK(call.find(" -N ") == std::string::npos);
  }
}

TEST_CASE("pf_plan: a reference behind a quick rule is moved in front of it, and put back") {
  using Proof = pfctl::RulesetVariants::Proof;
  // The packet engine has nothing to prove it with.
  for (const Proof proof : {Proof::ipv4, Proof::none}) {
    const Folder folder;
    PfMachine machine(Dialect::freebsd);
    machine.state = {.switched_on = true,
                     .nat = "rdr-anchor \"osproxy\" all\n",
                     .rules = "pass out quick all flags S/SA keep state\nanchor \"osproxy\" all\n"};
    const PfState before = machine.state;
    {
      auto held = session(machine, Dialect::freebsd, folder);
      REQUIRE(held.prepare(kPreferred).has_value());
      const auto loaded =
          held.load(offer(kAnchorText, proof),
                    [&](bool ipv6) -> base::Result<ProbeResult> { return machine.connect(ipv6); });
      REQUIRE(loaded.has_value());
      REQUIRE(loaded->notes.size() == 1);
      CHECK(loaded->notes.front().find("`pass out quick all flags S/SA "
                                       "keep state` in the main ruleset of "
                                       "pf would come before osproxy") != std::string::npos);
      CHECK(machine.state.rules ==
            "anchor \"osproxy\" all\npass out quick all flags S/SA keep state\n");
    }
    CHECK(machine.state == before);
  }
}

TEST_CASE("pf_plan: who decides first, and stays in front, is reported") {
  struct {
    Dialect dialect;
    PfState state;
    const char* told;
  } const kCases[] = {
      {Dialect::darwin,
       {.nat = kStockNat, .rules = "pass out quick all\nanchor \"com.apple/*\" all\n"},
       "`anchor \"com.apple/*\"`"},
      {Dialect::freebsd,
       {.switched_on = true,
        .nat = "rdr-anchor \"osproxy\" all\n",
        .rules = "pass out quick all\nblock in os \"NMAP\"\nanchor \"osproxy\" all\n"},
       "`anchor \"osproxy\"`"},
  };
  for (const auto& each : kCases) {
    const Folder folder;
    PfMachine machine(each.dialect);
    machine.state = each.state;
    auto held = session(machine, each.dialect, folder);
    REQUIRE(held.prepare(kPreferred).has_value());
    const auto loaded =
        held.load(offer(kAnchorText, pfctl::RulesetVariants::Proof::none),
                  [](bool) -> base::Result<ProbeResult> { return base::failure("tried"); });
    REQUIRE(loaded.has_value());
    REQUIRE(loaded->notes.size() == 1);
    CHECK(loaded->notes.front().find("what `pass out quick all` in the "
                                     "main ruleset of pf decides on first "
                                     "is not captured") != std::string::npos);
    CHECK(loaded->notes.front().find(each.told) != std::string::npos);
    CHECK(machine.state.rules == each.state.rules);
  }
}

TEST_CASE("pf_plan: rules come and go, the addresses of the listeners stay") {
  for (const auto& found : machines()) {
    CAPTURE(found.name);
    const Folder folder;
    PfMachine machine(found.dialect);
    machine.state = found.state;
    {
      auto held = session(machine, found.dialect, folder);
      REQUIRE(held.prepare(kPreferred).has_value());
      const PfState prepared = machine.state;
      const std::string journal = content(folder.journal());
      CHECK(!held.load(offer("syntax"), {}).has_value());
      CHECK(machine.state == prepared);
      CHECK(content(folder.journal()) == journal);
      REQUIRE(held.load(offer(kAnchorText), {}).has_value());
      check_diverting(machine, found.dialect);
      CHECK(held.unload().failures.empty());
      CHECK(machine.state == prepared);
      CHECK(content(folder.journal()) == journal);
      REQUIRE(held.load(offer(kAnchorText), {}).has_value());
    }
    CHECK(machine.state == found.state);
    CHECK(!std::filesystem::exists(folder.journal()));
  }
}

TEST_CASE("pf_plan: without IPv6 on lo0 there is no alias of it") {
  const Folder folder;
  PfMachine machine(Dialect::freebsd);
  machine.ipv6 = false;
  auto held = session(machine, Dialect::freebsd, folder);
  const auto chosen = held.prepare(kPreferred);
  REQUIRE(chosen.has_value());
  CHECK(chosen->v6.is_unspecified());
  CHECK(machine.state.aliases == std::set<std::string>{"198.18.0.1"});
}

TEST_CASE("pf_plan: set skip on lo0 is an error that says what to do, before anything is loaded") {
  for (const Dialect dialect : {Dialect::darwin, Dialect::freebsd}) {
    const Folder folder;
    PfMachine machine(dialect);
    machine.skips_lo0 = true;
    auto held = session(machine, dialect, folder);
    const auto loaded = start(held);
    REQUIRE(!loaded.has_value());
    CHECK(loaded.error().text.find("take lo0 out of `set skip`") != std::string::npos);
    CHECK((loaded.error().text.find("Internet Sharing") != std::string::npos) ==
          (dialect == Dialect::darwin));
    CHECK(machine.state == PfState{});
  }
}

TEST_CASE("pf_plan: what an earlier run left and nobody can undo keeps nobody from starting") {
  const Folder folder;
  PfMachine machine(Dialect::freebsd);
  for (const char* refused : {"/sbin/pfctl -d", "/sbin/pfctl -a osproxy -F all"}) {
    CAPTURE(refused);
    machine.refuses = refused;
    std::string left;
    for (int run = 0; run < 3; ++run) {
      CAPTURE(run);
      auto held = session(machine, Dialect::freebsd, folder);
      const auto cleaned = held.clean_up();
      REQUIRE(cleaned.has_value());
      CHECK(cleaned->failures.size() == (run == 0 ? 0 : 1));
      REQUIRE(held.prepare(kPreferred).has_value());
      REQUIRE(held.load(offer(kAnchorText), {}).has_value());
      check_diverting(machine, Dialect::freebsd);
      CHECK(held.undo().failures.size() == 1);
      // It does not pile up.
      if (run > 0) CHECK(content(folder.journal()) == left);
      left = content(folder.journal());
    }
    machine.refuses.clear();
    CHECK(session(machine, Dialect::freebsd, folder).clean_up().value().failures.empty());
    CHECK(machine.state == PfState{});
    CHECK(!std::filesystem::exists(folder.journal()));
  }
}

TEST_CASE("pf_plan: another address where the first is covered; none is an error") {
  struct {
    const char* interfaces;
    const char* routes;
    const char* v4;
    const char* v6;
  } constexpr kCases[] = {
      {"", "", "198.18.0.1", "fdff:6f73::1"},
      {"", "198.18/15 utun4 USc utun4\n", "192.0.2.111", "fdff:6f73::1"},
      {"utun4: flags=1<UP> mtu 9000\n\tinet 198.18.0.9 --> 198.18.0.9 netmask 0xfffffff0\n", "",
       "192.0.2.111", "fdff:6f73::1"},
      {"", "198.18/15 x U utun4\n192.0.2.0/24 x U em1\nfdff:6f73::/48 x U em1\n", "198.51.100.111",
       "fdff:6f73:1::1"},
      {"", "0/1 x U utun4\n128.0/1 x U utun4\n", "198.18.0.1", "fdff:6f73::1"},
  };
  for (const auto& each : kCases) {
    CAPTURE(each.routes);
    const Folder folder;
    PfMachine machine(Dialect::freebsd);
    machine.more_interfaces = each.interfaces;
    machine.more_routes = each.routes;
    auto held = session(machine, Dialect::freebsd, folder);
    const auto chosen = held.prepare(kPreferred);
    REQUIRE(chosen.has_value());
    CHECK(chosen->v4.to_string() == each.v4);
    CHECK(chosen->v6.to_string() == each.v6);
    CHECK(machine.state.aliases == std::set<std::string>{each.v4, each.v6});
  }
  const Folder folder;
  PfMachine machine(Dialect::freebsd);
  machine.more_routes = "fdff:6f73::/32 utun4 U utun4\n";
  auto held = session(machine, Dialect::freebsd, folder);
  const auto none = held.prepare(kPreferred);
  REQUIRE(!none.has_value());
  CHECK(none.error().text.find("fdff:6f73::1, fdff:6f73:1::1, fdff:6f73:2::1") !=
        std::string::npos);
  CHECK(machine.state == PfState{});
  CHECK(held.prepare({.v4 = kPreferred.v4}).has_value());
  CHECK(machine.state.aliases == std::set<std::string>{"198.18.0.1"});
}

TEST_CASE("pf_plan: the MTU of lo0 is raised only for TSO") {
  for (const Dialect dialect : {Dialect::darwin, Dialect::freebsd}) {
    for (const bool tso : {false, true}) {
      const Folder folder;
      PfMachine machine(dialect);
      machine.tso = tso;
      auto held = session(machine, dialect, folder);
      REQUIRE(start(held).has_value());
      CHECK(machine.state.mtu == (tso ? 65535 : 16384));
    }
  }
}

TEST_CASE("pf_plan: pf enabled by somebody else in the very moment stays enabled") {
  const Folder folder;
  PfMachine machine(Dialect::freebsd);
  {
    pfctl::Machine racing{Dialect::freebsd, "osproxy",
                          [&](const std::vector<std::string>& argv, std::string_view in) {
                            if (argv.back() == "-e") machine.state.switched_on = true;
                            return machine.runner()(argv, in);
                          }};
    pfctl::PfSession held(std::move(racing), pfctl::JournalFile::open(folder.journal()).value());
    REQUIRE(start(held).has_value());
  }
  CHECK(machine.state == PfState{.switched_on = true});
}

TEST_CASE("pf_plan: rules that pfctl refuses are an error with its words") {
  const Folder folder;
  PfMachine machine(Dialect::freebsd);
  auto held = session(machine, Dialect::freebsd, folder);
  const auto loaded = held.load(offer("syntax"), {});
  REQUIRE(!loaded.has_value());
  CHECK(loaded.error().text == "cannot load our rules into pf: stdin:1: syntax error");
  const auto empty = held.load(offer("# nothing\n"), {});
  REQUIRE(!empty.has_value());
  CHECK(empty.error().text.find("no redirect in the anchor osproxy") != std::string::npos);
  CHECK(machine.state == PfState{});
}
