// Rules of the redirect engine in a namespace of the test's own, tried by a connection.
#include "divert/broker/probe.h"

#include <poll.h>
#include <sys/socket.h>

#include "divert/worker/listeners.h"
#include "tests/pfctl/namespace.h"
#include "tests/test.h"

namespace {

using pfctl::ProbeResult;
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

/// Takes what has come to the listeners.
divert::Arrival arrival_at(const divert::Listeners& listeners) {
  return [&listeners](std::chrono::milliseconds limit) {
    const auto& pair = listeners.pairs.front();
    pollfd ends[] = {{pair.v4.get(), POLLIN, 0}, {pair.v6.get(), POLLIN, 0}};
    if (::poll(ends, 2, static_cast<int>(limit.count())) < 1) return false;
    const base::UniqueFd socket{
        ::accept(ends[0].revents ? ends[0].fd : ends[1].fd, nullptr, nullptr)};
    return static_cast<bool>(socket);
  };
}

}  // namespace

TEST_CASE("probe: goes where nobody answers, on a port that is diverted") {
  pfctl::Ruleset rules;
  CHECK(base::to_string(divert::probe_destination(rules, false).value()) == "198.51.100.77:443");
  rules.ports = {{8000, 8100}, {9000, 9000}};
  CHECK(base::to_string(divert::probe_destination(rules, true).value()) ==
        "[2001:db8:6f73::77]:8000");
  rules.ports_v6 = {{9443, 9443}};
  CHECK(base::to_string(divert::probe_destination(rules, true).value()) ==
        "[2001:db8:6f73::77]:9443");
  CHECK(base::to_string(divert::probe_destination(rules, false).value()) == "198.51.100.77:8000");
  rules.ports_v6.reset();
  rules.excluded = {base::parse_network("198.51.100.0/24").value(),
                    base::parse_network("2001:db8:6f73::/48").value()};
  CHECK(base::to_string(divert::probe_destination(rules, false).value()) == "203.0.113.77:8000");
  CHECK(base::to_string(divert::probe_destination(rules, true).value()) == "[2001:db8::77]:8000");
  rules.excluded = {base::parse_network("192.0.0.0/3").value(),
                    base::parse_network("::/0").value()};
  CHECK(!divert::probe_destination(rules, false));
  CHECK(!divert::probe_destination(rules, true));
}

TEST_CASE("probe: arrives when the rules are in force, and only then") {
  pfctl_test::Namespace space;
  const auto target = pfctl::RedirectTarget::prepare(true, true);
  REQUIRE_MESSAGE(target.has_value(), target);
  const auto listeners = divert::bind_listeners(1, true, true, 0, {target->v4(), target->v6()});
  REQUIRE_MESSAGE(listeners.has_value(), listeners);
  const pfctl::Ruleset rules = rules_for(*listeners);
  const auto tried = [&](bool ipv6, std::optional<gid_t> group = std::nullopt) {
    return divert::try_connection(divert::probe_destination(rules, ipv6).value(), group,
                                  arrival_at(*listeners), kLimit)
        .value();
  };
  CHECK(tried(false) == ProbeResult::no_route);
  CHECK(tried(true) == ProbeResult::no_route);
  space.add_uplink();
  CHECK(tried(false) == ProbeResult::missed);
  CHECK(tried(true) == ProbeResult::missed);
  {
    const auto loaded = pfctl::load_rules(rules, *target);
    REQUIRE_MESSAGE(loaded.has_value(), loaded);
    CHECK(loaded->notes().empty());
    CHECK(tried(false) == ProbeResult::reached);
    CHECK(tried(true) == ProbeResult::reached);
    CHECK(tried(false, 4242) == ProbeResult::reached);
    // As our own group it is let through.
    CHECK(tried(false, rules.exempt_gid) == ProbeResult::missed);
  }
  CHECK(tried(false) == ProbeResult::missed);
}

TEST_CASE("probe: rules of others that come first are noticed") {
  pfctl_test::Namespace space;
  space.add_uplink();
  const auto target = pfctl::RedirectTarget::prepare(true, false);
  REQUIRE_MESSAGE(target.has_value(), target);
  CHECK(target->v6().is_unspecified());
  const auto listeners = divert::bind_listeners(1, true, false, 0, {target->v4(), target->v6()});
  REQUIRE_MESSAGE(listeners.has_value(), listeners);
  const pfctl::Ruleset rules = rules_for(*listeners);
  const auto loaded = pfctl::load_rules(rules, *target);
  REQUIRE_MESSAGE(loaded.has_value(), loaded);
  pfctl_test::run(
      "/usr/sbin/nft 'table ip vpn { chain first { type nat hook output priority -150; ip daddr "
      "198.51.100.0/24 dnat to 192.0.2.99; }; }'");
  CHECK(divert::try_connection(divert::probe_destination(rules, false).value(), std::nullopt,
                               arrival_at(*listeners), kLimit)
            .value() == ProbeResult::missed);
}

TEST_CASE("probe: an answer from somebody else is no arrival") {
  pfctl_test::Namespace space;
  space.add_uplink();
  const auto listeners = divert::bind_listeners(1, true, false);
  const auto tunnel = divert::bind_listeners(1, true, false);
  REQUIRE_MESSAGE(listeners.has_value(), listeners);
  REQUIRE_MESSAGE(tunnel.has_value(), tunnel);
  // As a tunnel that takes every connection.
  pfctl_test::run(fmt::format(
      "/usr/sbin/nft 'table ip vpn {{ chain first {{ type nat hook output priority -150; ip daddr "
      "198.51.100.0/24 tcp dport 443 redirect to {}; }}; }}'",
      tunnel->port_v4));
  const base::Endpoint to{boost::asio::ip::make_address("198.51.100.77"), 443};
  const auto tried = [&](const divert::Listeners& at) {
    return divert::try_connection(to, std::nullopt, arrival_at(at), kLimit).value();
  };
  CHECK(tried(*tunnel) == ProbeResult::reached);
  CHECK(tried(*listeners) == ProbeResult::missed);
}
