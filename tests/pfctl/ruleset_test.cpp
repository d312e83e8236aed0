// The one form of a ruleset, and what is refused.
#include "pfctl/ruleset.h"

#include "tests/test.h"

namespace {

pfctl::Ruleset minimal() {
  pfctl::Ruleset ruleset;
  ruleset.exempt_gid = 61234;
  ruleset.listener_v4 = 8899;
  ruleset.listener_v6 = 8898;
  return ruleset;
}

base::Network network(std::string_view text) {
  return base::parse_network(text).value();
}

std::string networks_of(const std::vector<std::string_view>& texts) {
  auto ruleset = minimal();
  for (const auto text : texts) ruleset.excluded.push_back(network(text));
  std::string kept;
  for (const auto& each : pfctl::validated(ruleset).value().excluded)
    kept += base::to_string(each) + " ";
  return kept;
}

std::string ports_of(std::vector<base::PortRange> ports) {
  auto ruleset = minimal();
  ruleset.ports = std::move(ports);
  std::string kept;
  for (const auto& each : pfctl::validated(ruleset).value().ports)
    kept += base::to_string(each) + " ";
  return kept;
}

}  // namespace

TEST_CASE("ruleset: ports are sorted and merged") {
  CHECK(ports_of({}) == "");
  CHECK(ports_of({{443, 443}, {80, 80}, {443, 443}}) == "80 443 ");
  CHECK(ports_of({{81, 81}, {80, 80}}) == "80-81 ");
  CHECK(ports_of({{8000, 8100}, {8050, 8060}, {8100, 8200}}) == "8000-8200 ");
  CHECK(ports_of({{1, 65535}, {65535, 65535}, {80, 80}}) == "1-65535 ");
  CHECK(ports_of({{65534, 65534}, {65535, 65535}, {65535, 65535}}) == "65534-65535 ");
}

TEST_CASE("ruleset: a network inside another is dropped, duplicates too") {
  CHECK(networks_of({"10.1.0.0/16", "10.0.0.0/8", "10.0.0.0/8", "10.0.0.0/9"}) == "10.0.0.0/8 ");
  CHECK(networks_of({"fe80::1", "192.0.2.1", "fe80::/10", "192.0.2.2"}) ==
        "192.0.2.1 192.0.2.2 fe80::/10 ");
  CHECK(networks_of({"0.0.0.0/0", "255.255.255.255", "::1"}) == "0.0.0.0/0 ::1 ");
  CHECK(networks_of({"::/0", "2001:db8::/32", "1.2.3.4"}) == "1.2.3.4 ::/0 ");
  CHECK(networks_of({"10.0.0.0/9", "10.128.0.0/9"}) == "10.0.0.0/9 10.128.0.0/9 ");
}

TEST_CASE("ruleset: v4-mapped networks become IPv4") {
  CHECK(networks_of({"::ffff:10.0.0.0/104", "10.2.0.0/16"}) == "10.0.0.0/8 ");
  CHECK(networks_of({"::ffff:192.0.2.1"}) == "192.0.2.1 ");
  CHECK(networks_of({"::fffe:0:0/95"}) == "::fffe:0:0/95 ");
}

TEST_CASE("ruleset: what cannot be loaded is refused with what to do") {
  const struct {
    void (*spoil)(pfctl::Ruleset&);
    const char* error;
  } cases[] = {
      {[](pfctl::Ruleset& r) { r.ipv4 = r.ipv6 = false; },
       "no address family to divert; switch on IPv4, IPv6 or both"},
      {[](pfctl::Ruleset& r) { r.listener_v4 = 0; },
       "no listener port for IPv4; open a listener on 127.0.0.1 or switch IPv4 off"},
      {[](pfctl::Ruleset& r) { r.listener_v6 = 0; },
       "no listener port for IPv6; open a listener on [::1] or switch IPv6 off"},
      {[](pfctl::Ruleset& r) { r.exempt_gid = 0; },
       "the exempt group must not be 0: no connection of root's would be diverted"},
      {[](pfctl::Ruleset& r) { r.exempt_gid = 0xffffffff; },
       "the exempt group 4294967295 is not a group number"},
      {[](pfctl::Ruleset& r) { r.capture_gid = 0; },
       "the capture group 0 is not a group that a single command can have"},
      {[](pfctl::Ruleset& r) { r.capture_gid = 0xffffffff; },
       "the capture group 4294967295 is not a group that a single command can have"},
      {[](pfctl::Ruleset& r) { r.capture_gid = r.exempt_gid; },
       "the capture group 61234 is the exempt group as well; nothing would be diverted"},
      {[](pfctl::Ruleset& r) { r.alias_v4 = boost::asio::ip::make_address("::1"); },
       "::1 is no IPv4 address for listeners; expected for example 198.18.0.1"},
      {[](pfctl::Ruleset& r) { r.alias_v6 = boost::asio::ip::make_address("::"); },
       ":: is no IPv6 address for listeners; expected for example fdff:6f73::1"},
      {[](pfctl::Ruleset& r) {
         r.ports = {{0, 80}};
       },
       "0-80 is not a range of ports; expected for example 8000-8100"},
      {[](pfctl::Ruleset& r) {
         r.ports = {{90, 80}};
       },
       "90-80 is not a range of ports; expected for example 8000-8100"},
      {[](pfctl::Ruleset& r) {
         r.excluded = {{boost::asio::ip::make_address("10.0.0.0"), 33}};
       },
       "10.0.0.0/33 is not a network: the prefix is too long"},
      {[](pfctl::Ruleset& r) {
         r.excluded = {{boost::asio::ip::make_address("10.0.0.1"), 8}};
       },
       "'10.0.0.1/8' has host bits set; the network is 10.0.0.0/8"},
  };
  for (const auto& each : cases) {
    auto ruleset = minimal();
    each.spoil(ruleset);
    const auto result = pfctl::validated(ruleset);
    REQUIRE(result.has_error());
    CHECK(result.error().text == each.error);
  }
}

TEST_CASE("ruleset: a family that is off needs no listener") {
  auto ruleset = minimal();
  ruleset.ipv6 = false;
  ruleset.listener_v6 = 0;
  CHECK(pfctl::validated(ruleset));
}

TEST_CASE("ruleset: a family that is off, or refused, needs neither listener nor address") {
  auto ruleset = minimal();
  ruleset.alias_v6 = base::Address();
  ruleset.listener_v6 = 0;
  ruleset.ipv6_refused = true;
  CHECK(pfctl::validated(ruleset));
  ruleset.ipv6_refused = false;
  ruleset.ipv6 = false;
  CHECK(pfctl::validated(ruleset));
  ruleset.ipv6_refused = true;
  ruleset.ipv6 = true;
  ruleset.ipv4 = false;
  CHECK_FALSE(pfctl::validated(ruleset));
}

TEST_CASE("ruleset: the ports of IPv6 are put in order, too") {
  pfctl::Ruleset ruleset;
  ruleset.exempt_gid = 7;
  ruleset.listener_v4 = ruleset.listener_v6 = 1;
  ruleset.ports_v6 = {{443, 443}, {80, 80}, {81, 90}};
  const auto good = pfctl::validated(ruleset);
  REQUIRE(good);
  CHECK(*good->ports_v6 == std::vector<base::PortRange>{{80, 90}, {443, 443}});
  ruleset.ports_v6 = {{9, 8}};
  CHECK(!pfctl::validated(ruleset));
}

TEST_CASE("ruleset: what is captured is said as it is") {
  pfctl::Ruleset ruleset;
  CHECK(pfctl::describe_ports(ruleset) == "all TCP ports");
  ruleset.ports_v6 = {{80, 80}, {443, 443}};
  CHECK(pfctl::describe_ports(ruleset) ==
        "all TCP ports of IPv4; IPv6 of every program is redirected on ports 80,443");
  ruleset.ports = *ruleset.ports_v6;
  CHECK(pfctl::describe_ports(ruleset) == "ports 80,443");
  ruleset.ports = {};
  ruleset.ipv6 = false;
  CHECK(pfctl::describe_ports(ruleset) == "all TCP ports");
  ruleset.ipv6 = true;
  ruleset.ipv6_refused = true;
  CHECK(pfctl::describe_ports(ruleset) == "all TCP ports");
}
