// Whether what osproxy loads is what decides: probes, and what is offered for those that do not
// arrive.
#include <algorithm>
#include <string>

#include <doctest/doctest.h>

#include "pfctl/pf_session.h"
#include "tests/pfctl/pf_fixture.h"

using pfctl::Dialect;
using pfctl::ProbeResult;
using namespace test;

TEST_CASE("pf_plan: a probe that never arrives is an error that undoes all") {
  const Folder folder;
  PfMachine machine(Dialect::darwin);
  machine.state = {.nat = kStockNat, .rules = "pass out quick on utun3 all\n"};
  const PfState before = machine.state;
  auto held = session(machine, Dialect::darwin, folder);
  int probes = 0;
  const auto missed = [&](bool) -> base::Result<ProbeResult> {
    ++probes;
    return ProbeResult::missed;
  };
  const auto loaded = start(held, missed);
  REQUIRE(!loaded.has_value());
  CHECK(probes == 2);  // twice, for a packet may be lost: the main ruleset named us from the start,
                       // in front of that rule
  CHECK(loaded.error().text.find("utun3") == std::string::npos);
  CHECK(loaded.error().text.find("something else than pf decides") != std::string::npos);
  CHECK(machine.state == before);

  machine.state = stock();
  CHECK(!start(held, missed).has_value());
  CHECK(probes == 4);
  CHECK(machine.state == stock());
  const auto broken =
      start(held, [](bool) -> base::Result<ProbeResult> { return base::failure("no network"); });
  REQUIRE(!broken.has_value());
  CHECK(broken.error().text == "no network");
  CHECK(machine.state == stock());
}

TEST_CASE("pf_plan: a probe that never arrives names who has come in front of us meanwhile") {
  const Folder folder;
  PfMachine machine(Dialect::freebsd);
  auto held = session(machine, Dialect::freebsd, folder);
  const auto loaded = start(held, [&](bool) -> base::Result<ProbeResult> {
    machine.state.rules = "pass out quick all\n" + machine.state.rules;
    return ProbeResult::missed;
  });
  REQUIRE(!loaded.has_value());
  CHECK(loaded.error().text.find("`pass out quick all` in its main ruleset decides first") !=
        std::string::npos);
}

TEST_CASE("pf_plan: IPv6 that does not arrive is refused, and only that") {
  constexpr const char* kRefusing = "rdr pass on lo0 inet\nblock return out quick inet6\n";
  struct {
    ProbeResult ipv4, ipv6;
    pfctl::RulesetVariants::Proof proof;
    bool loads;
    const char* text;
  } constexpr kCases[] = {
      {ProbeResult::reached, ProbeResult::reached, pfctl::RulesetVariants::Proof::ipv4, true,
       kAnchorText},
      {ProbeResult::reached, ProbeResult::missed, pfctl::RulesetVariants::Proof::ipv4, true,
       kRefusing},
      {ProbeResult::reached, ProbeResult::no_route, pfctl::RulesetVariants::Proof::ipv4, true,
       kAnchorText},
      {ProbeResult::missed, ProbeResult::reached, pfctl::RulesetVariants::Proof::ipv4, false,
       nullptr},
      // The packet engine holds IPv4.
      {ProbeResult::missed, ProbeResult::reached, pfctl::RulesetVariants::Proof::none, true,
       kAnchorText},
      {ProbeResult::missed, ProbeResult::missed, pfctl::RulesetVariants::Proof::none, true,
       kRefusing},
  };
  for (const Dialect dialect : {Dialect::darwin, Dialect::freebsd}) {
    for (const auto& each : kCases) {
      const Folder folder;
      PfMachine machine(dialect);
      auto held = session(machine, dialect, folder);
      REQUIRE(held.prepare(kPreferred).has_value());
      pfctl::RulesetVariants wanted = offer(kAnchorText, each.proof);
      wanted.without_ipv6 = kRefusing;
      const auto loaded = held.load(wanted, [&](bool ipv6) -> base::Result<ProbeResult> {
        return ipv6 ? each.ipv6 : each.ipv4;
      });
      REQUIRE(loaded.has_value() == each.loads);
      if (!each.loads) continue;
      CHECK(loaded->text == each.text);
      CHECK(machine.state.anchors.at(anchor_for(dialect)) == each.text);
      const bool told = std::ranges::any_of(loaded->notes, [](const std::string& note) {
        return note.find("does not divert IPv6") != std::string::npos;
      });
      CHECK(told == (loaded->text == kRefusing));
    }
  }
}

TEST_CASE("pf_plan: what is offered for a ruleset") {
  using Proof = pfctl::RulesetVariants::Proof;
  pfctl::Ruleset rules;
  rules.exempt_gid = 4242;
  rules.listener_v4 = rules.listener_v6 = 28531;
  const auto both = pfctl::offer_of(rules, Dialect::freebsd).value();
  CHECK(both.proof == Proof::ipv4);
  CHECK(both.text == pfctl::render_pf(rules, Dialect::freebsd).value());
  CHECK(both.without_ipv6.find("block return out quick inet6 proto tcp") != std::string::npos);
  CHECK(both.without_ipv6.find("-> 198.18.0.1") != std::string::npos);

  rules.queueing.emplace();
  rules.queueing->first = 28531;
  const auto held = pfctl::offer_of(rules, Dialect::freebsd).value();
  CHECK(held.proof == Proof::none);
  CHECK(held.without_ipv6.find("divert-to") != std::string::npos);
  CHECK(!pfctl::offer_of(rules, Dialect::darwin));
  rules.queueing.reset();

  rules.ipv4 = false;
  CHECK(pfctl::offer_of(rules, Dialect::darwin)->proof == Proof::ipv6);
  CHECK(pfctl::offer_of(rules, Dialect::darwin)->without_ipv6.empty());
  rules.ipv4 = true;
  rules.ipv6 = false;
  CHECK(pfctl::offer_of(rules, Dialect::darwin)->proof == Proof::ipv4);
  CHECK(pfctl::offer_of(rules, Dialect::darwin)->without_ipv6.empty());
}

TEST_CASE("pf_plan: a machine without any route proves nothing, and is believed") {
  const Folder folder;
  PfMachine machine(Dialect::darwin);
  machine.state = stock();
  auto held = session(machine, Dialect::darwin, folder);
  const auto notes =
      start(held, [](bool) -> base::Result<ProbeResult> { return ProbeResult::no_route; });
  REQUIRE(notes.has_value());
  CHECK(notes->empty());
}
