// Rules of the redirect engine in a namespace of the test's own, tried by a connection.
#include "divert/probe.h"

#include "divert/listeners.h"
#include "tests/pfctl/namespace.h"
#include "tests/test.h"

namespace {

using pfctl::Tried;
using namespace std::chrono_literals;

constexpr auto kLimit = 300ms;

pfctl::Ruleset rules_for(const divert::Listeners& listeners) {
  pfctl::Ruleset rules;
  rules.ports = {{8443, 8444}};
  rules.exempt_gid = 54321;
  rules.listener_v4 = listeners.port_v4;
  rules.listener_v6 = listeners.port_v6;
  rules.ipv6 = listeners.port_v6 != 0;
  return pfctl::validated(rules).value();
}

}  // namespace

TEST_CASE("probe: goes where nobody answers, on a port that is diverted") {
  pfctl::Ruleset rules;
  CHECK(base::to_string(divert::probe_destination(rules, false)) == "198.51.100.77:443");
  rules.ports = {{8000, 8100}, {9000, 9000}};
  CHECK(base::to_string(divert::probe_destination(rules, true)) == "[2001:db8:6f73::77]:8000");
}

TEST_CASE("probe: arrives when the rules are in force, and only then") {
  pfctl_test::Namespace space;
  const auto landing = pfctl::Landing::prepare(true, true);
  REQUIRE_MESSAGE(landing.has_value(), landing);
  const auto listeners = divert::bind_listeners(1, true, true, 0, {landing->v4(), landing->v6()});
  REQUIRE_MESSAGE(listeners.has_value(), listeners);
  const pfctl::Ruleset rules = rules_for(*listeners);
  const auto tried = [&](bool ipv6, std::optional<gid_t> group = std::nullopt) {
    return divert::try_connection(divert::probe_destination(rules, ipv6), group, kLimit).value();
  };
  CHECK(tried(false) == Tried::no_route);
  CHECK(tried(true) == Tried::no_route);
  space.add_uplink();
  CHECK(tried(false) == Tried::astray);
  CHECK(tried(true) == Tried::astray);
  {
    const auto loaded = pfctl::load_rules(rules, *landing);
    REQUIRE_MESSAGE(loaded.has_value(), loaded);
    CHECK(loaded->notes().empty());
    CHECK(tried(false) == Tried::arrived);
    CHECK(tried(true) == Tried::arrived);
    CHECK(tried(false, 4242) == Tried::arrived);
    // As our own group it is let through.
    CHECK(tried(false, rules.exempt_gid) == Tried::astray);
  }
  CHECK(tried(false) == Tried::astray);
}

TEST_CASE("probe: rules of others that come first are noticed") {
  pfctl_test::Namespace space;
  space.add_uplink();
  const auto landing = pfctl::Landing::prepare(true, false);
  REQUIRE_MESSAGE(landing.has_value(), landing);
  CHECK(landing->v6().is_unspecified());
  const auto listeners = divert::bind_listeners(1, true, false, 0, {landing->v4(), landing->v6()});
  REQUIRE_MESSAGE(listeners.has_value(), listeners);
  const pfctl::Ruleset rules = rules_for(*listeners);
  const auto loaded = pfctl::load_rules(rules, *landing);
  REQUIRE_MESSAGE(loaded.has_value(), loaded);
  pfctl_test::run(
      "/usr/sbin/nft 'table ip vpn { chain first { type nat hook output priority -150; ip daddr "
      "198.51.100.0/24 dnat "
      "to "
      "192.0.2.99; }; }'");
  CHECK(divert::try_connection(divert::probe_destination(rules, false), std::nullopt, kLimit).value() ==
        Tried::astray);
}
