// The text of whole anchors, and each option's share in it.
#include <cstdlib>
#include <fstream>

#include "base/fd.h"
#include "pfctl/pf.h"
#include "tests/test.h"

namespace {

using pfctl::Dialect;

pfctl::Ruleset defaults() {
  pfctl::Ruleset ruleset;
  ruleset.ports = {{80, 80}, {443, 443}, {8000, 8000}, {8080, 8080}, {8443, 8443}};
  ruleset.exempt_gid = 1869837176;
  ruleset.listener_v4 = 28531;
  ruleset.listener_v6 = 28531;
  return ruleset;
}

pfctl::Ruleset held() {
  auto ruleset = defaults();
  ruleset.ports = {};
  ruleset.queueing.emplace();
  ruleset.queueing->first = 28531;
  return ruleset;
}

std::string rendered(const pfctl::Ruleset& ruleset, Dialect dialect = Dialect::freebsd) {
  return pfctl::render_pf(pfctl::validated(ruleset).value(), dialect).value();
}

std::string error_of(const pfctl::Ruleset& ruleset, Dialect dialect) {
  const auto text = pfctl::render_pf(ruleset, dialect);
  return text ? "no error" : text.error().text;
}

/// Without comments and the table.
std::vector<std::string> rules_of(const std::string& text) {
  std::vector<std::string> rules;
  for (std::size_t begin = 0; begin < text.size();) {
    const auto end = text.find('\n', begin);
    REQUIRE(end != text.npos);
    const auto line = text.substr(begin, end - begin);
    if (!line.starts_with('#') && !line.starts_with("table ")) rules.push_back(line);
    begin = end + 1;
  }
  return rules;
}

bool has_line(const std::string& text, const std::string& line) {
  return ("\n" + text).find("\n" + line + "\n") != text.npos;
}

/// With OSPROXY_WRITE_CONF in the environment conf/NAME is made so.
void check_sample(const std::string& name, const std::string& expected) {
  const std::string path = OSPROXY_CONF_DIR "/" + name;
  if (std::getenv("OSPROXY_WRITE_CONF")) std::ofstream(path, std::ios::binary) << expected;
  INFO(path, " is what the renderer makes: OSPROXY_WRITE_CONF=1 pfctl_test -tc='pf_render:*'");
  CHECK(base::read_file(path).value() == expected);
}

}  // namespace

TEST_CASE("pf_render: the samples in conf/ are what the default rules look like") {
  check_sample("osproxy.darwin.conf", rendered(defaults(), Dialect::darwin));
  check_sample("osproxy.freebsd.conf", rendered(defaults(), Dialect::freebsd));
  check_sample("osproxy.freebsd-packet.conf", rendered(held(), Dialect::freebsd));
  check_sample("osproxy.openbsd.conf", rendered(defaults(), Dialect::openbsd));
}

TEST_CASE("pf_render: macOS, every line") {
  auto ruleset = defaults();
  ruleset.ports = {{8000, 8100}, {443, 443}};
  ruleset.excluded = {base::parse_network("10.0.0.0/8").value(), base::parse_network("2001:db8::1").value()};
  ruleset.listener_v6 = 28532;
  ruleset.block_quic = true;
  CHECK(rendered(ruleset, Dialect::darwin) ==
        "# TCP connections of local programs that are handed to osproxy: pfctl -a com.apple/osproxy -f FILE\n"
        "# The stock main ruleset evaluates com.apple/*; `set skip on lo0` must not be in it.\n"
        "# destinations left alone\n"
        "table <osproxy_left_alone> const { self, 127.0.0.0/8, ::1, 169.254.0.0/16, fe80::/10, 224.0.0.0/4, "
        "255.255.255.255, ff00::/8, 10.0.0.0/8, 2001:db8::1 }\n"
        "# what has been bent to lo0, to the listeners\n"
        "rdr pass on lo0 inet proto tcp from any to ! <osproxy_left_alone> port { 443, 8000:8100 } -> "
        "198.18.0.1 port 28531\n"
        "rdr pass on lo0 inet6 proto tcp from any to ! <osproxy_left_alone> port { 443, 8000:8100 } -> "
        "fdff:6f73::1 port 28532\n"
        "# osproxy's own connections\n"
        "pass out quick proto tcp from any to any port { 443, 8000:8100 } group 1869837176 keep state\n"
        "# IPv4 connections made on this machine, to lo0\n"
        "pass out quick route-to (lo0 127.0.0.1) inet proto tcp from any to ! <osproxy_left_alone> port { "
        "443, 8000:8100 } user >= 0 flags S/SA keep state\n"
        "# IPv6 connections made on this machine, to lo0\n"
        "pass out quick route-to (lo0 ::1) inet6 proto tcp from any to ! <osproxy_left_alone> port { 443, "
        "8000:8100 } user >= 0 flags S/SA keep state\n"
        "# QUIC, so that programs fall back to TCP\n"
        "block return out quick inet proto udp from any to ! <osproxy_left_alone> port 443 user >= 0\n"
        "block return out quick inet6 proto udp from any to ! <osproxy_left_alone> port 443 user >= 0\n");
}

TEST_CASE("pf_render: FreeBSD's verdicts come before the packets that wait for one") {
  CHECK(rules_of(rendered(held())) ==
        std::vector<std::string>{
            "no rdr on lo0 inet proto tcp from 198.18.0.1 to any",
            "no rdr on lo0 inet6 proto tcp from fdff:6f73::1 to any",
            "rdr pass on lo0 inet proto tcp from any to ! <osproxy_left_alone> -> 198.18.0.1 port 28531",
            "rdr pass on lo0 inet6 proto tcp from any to ! <osproxy_left_alone> -> fdff:6f73::1 port 28531",
            "pass out quick proto tcp from any to any group 1869837176 keep state",
            "pass out quick route-to (lo0 127.0.0.1) inet proto tcp from any to ! <osproxy_left_alone> flags "
            "S/SA tos 0x4c keep state",
            "pass out quick inet proto tcp from any to ! <osproxy_left_alone> flags S/SA tos 0x44 keep state",
            "pass out quick inet proto tcp from any to ! <osproxy_left_alone> user >= 0 flags S/SA divert-to "
            "127.0.0.1 port 28531 no state",
            "pass out quick route-to (lo0 ::1) inet6 proto tcp from any to ! <osproxy_left_alone> user >= 0 "
            "flags S/SA keep state"});
}

TEST_CASE("pf_render: OpenBSD has filter rules only") {
  auto ruleset = defaults();
  ruleset.ports = {{443, 443}};
  CHECK(rules_of(rendered(ruleset, Dialect::openbsd)) ==
        std::vector<std::string>{
            "pass out quick proto tcp from any to any port 443 group 1869837176 keep state",
            "pass in quick on lo0 inet proto tcp from any to ! <osproxy_left_alone> port 443 divert-to "
            "127.0.0.1 port 28531",
            "pass in quick on lo0 inet6 proto tcp from any to ! <osproxy_left_alone> port 443 divert-to ::1 "
            "port 28531",
            "pass out quick inet proto tcp from any to ! <osproxy_left_alone> port 443 user >= 0 flags S/SA "
            "route-to 127.0.0.1 keep state",
            "pass out quick inet6 proto tcp from any to ! <osproxy_left_alone> port 443 user >= 0 flags S/SA "
            "route-to ::1 keep state"});
}

TEST_CASE("pf_render: exec's group is the only one that is matched") {
  auto ruleset = defaults();
  ruleset.ports = {{443, 443}};
  ruleset.capture_gid = 4711;
  ruleset.block_quic = true;
  for (const auto dialect : {Dialect::darwin, Dialect::freebsd, Dialect::openbsd}) {
    const auto text = rendered(ruleset, dialect);
    CAPTURE(text);
    CHECK(text.find("user") == text.npos);
    CHECK(has_line(text,
                   "block return out quick inet proto udp from any to ! <osproxy_left_alone> port 443 group "
                   "4711"));
    for (const auto& rule : rules_of(text)) {
      if (rule.starts_with("pass out") || rule.starts_with("block"))
        CHECK((rule.find(" group 4711") != rule.npos || rule.find(" group 1869837176") != rule.npos));
    }
  }
}

TEST_CASE("pf_render: the answers of listeners are not redirected where ports reach those of programs") {
  struct Case {
    std::vector<base::PortRange> ports;
    bool loopback;
    Dialect dialect;
    std::vector<std::string> guards;
  };
  const std::vector<std::string> by_source{"no rdr on lo0 inet proto tcp from 198.18.0.1 to any",
                                           "no rdr on lo0 inet6 proto tcp from fdff:6f73::1 to any"};
  const auto by_port = [&](int first) {
    return std::vector<std::string>{
        by_source[0], fmt::format("no rdr on lo0 inet proto tcp from any to any port >= {}", first),
        by_source[1], fmt::format("no rdr on lo0 inet6 proto tcp from any to any port >= {}", first)};
  };
  const Case cases[] = {
      {{{80, 9999}}, true, Dialect::freebsd, {}},
      {{{80, 10000}}, true, Dialect::freebsd, by_port(10000)},
      {{{80, 80}, {50000, 50000}}, false, Dialect::freebsd, by_source},
      {{{80, 49151}}, true, Dialect::darwin, {}},
      {{{80, 49152}}, true, Dialect::darwin, by_port(49152)},
      {{}, true, Dialect::darwin, by_port(49152)},
      {{}, false, Dialect::darwin, by_source},
  };
  for (const auto& [ports, loopback, dialect, guards] : cases) {
    auto ruleset = defaults();
    ruleset.ports = ports;
    ruleset.loopback = loopback;
    const auto text = rendered(ruleset, dialect);
    CAPTURE(text);
    auto rules = rules_of(text);
    std::erase_if(rules, [](const std::string& rule) { return !rule.starts_with("no rdr"); });
    CHECK(rules == guards);
  }
}

TEST_CASE("pf_render: with loopback only the listeners' addresses of this machine are left alone") {
  auto ruleset = defaults();
  ruleset.loopback = true;
  CHECK(has_line(rendered(ruleset),
                 "table <osproxy_left_alone> const { 198.18.0.1, fdff:6f73::1, 169.254.0.0/16, fe80::/10, "
                 "224.0.0.0/4, 255.255.255.255, ff00::/8 }"));
}

TEST_CASE("pf_render: families that are off or refused") {
  auto ruleset = defaults();
  ruleset.block_quic = true;
  SUBCASE("IPv6 off") {
    ruleset.ipv6 = false;
    for (const auto& rule : rules_of(rendered(ruleset))) CHECK(rule.find("inet6") == rule.npos);
  }
  SUBCASE("IPv4 off") {
    ruleset.ipv4 = false;
    for (const auto& rule : rules_of(rendered(ruleset))) CHECK(rule.find("inet ") == rule.npos);
  }
  SUBCASE("IPv6 refused, which needs no listener") {
    ruleset.ipv6_refused = true;
    ruleset.listener_v6 = 0;
    const auto text = rendered(ruleset);
    CHECK(
        has_line(text,
                 "block return out quick inet6 proto tcp from any to ! <osproxy_left_alone> port { 80, 443, "
                 "8000, 8080, 8443 } user >= 0"));
    CHECK(text.find("rdr pass on lo0 inet6") == text.npos);
    CHECK(text.find("route-to (lo0 ::1)") == text.npos);
  }
}

TEST_CASE("pf_render: QUIC is refused only when its port is one of those diverted") {
  auto ruleset = defaults();
  ruleset.block_quic = true;
  ruleset.ports = {{80, 80}, {8443, 8443}};
  CHECK(rendered(ruleset).find("udp") == std::string::npos);
  ruleset.ports = {{400, 500}};
  CHECK(rendered(ruleset).find("udp") != std::string::npos);
  ruleset.ports = {};
  CHECK(rendered(ruleset).find("udp") != std::string::npos);
}

TEST_CASE("pf_render: what a dialect cannot do is an error") {
  auto ruleset = defaults();
  ruleset.cgroup = pfctl::CgroupMatch{"user.slice", 7, 1};
  CHECK(error_of(ruleset, Dialect::freebsd) ==
        "pf knows no cgroups: user.slice cannot be diverted alone; use a group (capture_gid)");
  ruleset = held();
  CHECK(error_of(ruleset, Dialect::darwin) ==
        "macOS cannot hold packets until a verdict; use the engine redirect");
  CHECK(error_of(ruleset, Dialect::openbsd) ==
        "OpenBSD cannot hold packets until a verdict; use the engine redirect");
  ruleset.queueing->first = 0;
  CHECK(error_of(ruleset, Dialect::freebsd) == "divert(4) takes one port, found 1 from 0 on");
}

TEST_CASE("ruleset: IPv6 that is refused is no family to divert") {
  auto ruleset = defaults();
  ruleset.ipv4 = false;
  ruleset.ipv6_refused = true;
  CHECK_FALSE(pfctl::validated(ruleset));
}
