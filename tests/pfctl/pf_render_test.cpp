// The text of whole anchors, and each option's share in it.
#include <cstdlib>
#include <fstream>

#include "base/fd.h"
#include "pfctl/pf.h"
#include "tests/pfctl/pf_grammar.h"
#include "tests/test.h"

namespace {

using pfctl::Dialect;

pfctl::Ruleset defaults() {
  pfctl::Ruleset ruleset;
  ruleset.ports = {{80, 80}, {443, 443}, {8000, 8000}, {8080, 8080}, {8443, 8443}};
  ruleset.exempt_gid = 1869837176;
  ruleset.listener_v4 = 28531;
  ruleset.listener_v6 = 28531;
  ruleset.block_quic = true;
  return ruleset;
}

pfctl::Ruleset for_exec() {
  auto ruleset = defaults();
  ruleset.ports = {};
  ruleset.capture_gid = 1869837432;
  return ruleset;
}

pfctl::Ruleset with_loopback() {
  auto ruleset = defaults();
  ruleset.loopback = true;
  return ruleset;
}

pfctl::Ruleset without_ipv6() {
  auto ruleset = defaults();
  ruleset.ipv6_refused = true;
  return ruleset;
}

pfctl::Ruleset held() {
  auto ruleset = defaults();
  ruleset.ports_v6 = ruleset.ports;
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

/// Without comments, blank lines and the table.
std::vector<std::string> rules_of(const std::string& text) {
  std::vector<std::string> rules;
  for (std::size_t begin = 0; begin < text.size();) {
    const auto end = text.find('\n', begin);
    REQUIRE(end != text.npos);
    const auto line = text.substr(begin, end - begin);
    if (!line.empty() && !line.starts_with('#') && !line.starts_with("table "))
      rules.push_back(line);
    begin = end + 1;
  }
  return rules;
}

std::string table_of(const std::string& text) {
  const auto begin = text.find("\ntable ") + 1;
  return text.substr(begin, text.find('\n', begin) - begin);
}

std::string checked(const std::string& text, Dialect dialect) {
  const auto good = pf_grammar::check(text, dialect);
  return good ? "" : good.error().text;
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

TEST_CASE("pf_render: the samples in conf/ are what is rendered, and good pf") {
  const struct {
    const char* name;
    pfctl::Ruleset ruleset;
    Dialect dialect;
  } samples[] = {
      {"osproxy.darwin.conf", defaults(), Dialect::darwin},
      {"osproxy.darwin-exec.conf", for_exec(), Dialect::darwin},
      {"osproxy.darwin-loopback.conf", with_loopback(), Dialect::darwin},
      {"osproxy.darwin-no-ipv6.conf", without_ipv6(), Dialect::darwin},
      {"osproxy.freebsd.conf", defaults(), Dialect::freebsd},
      {"osproxy.freebsd-loopback.conf", with_loopback(), Dialect::freebsd},
      {"osproxy.freebsd-packet.conf", held(), Dialect::freebsd},
      {"osproxy.openbsd.conf", defaults(), Dialect::openbsd},
  };
  for (const auto& sample : samples) {
    const auto text = rendered(sample.ruleset, sample.dialect);
    check_sample(sample.name, text);
    CHECK(checked(text, sample.dialect) == "");
  }
}

TEST_CASE("pf_render: macOS, every rule in order") {
  auto ruleset = defaults();
  ruleset.ports = {{8000, 8100}, {443, 443}};
  ruleset.excluded = {base::parse_network("10.0.0.0/8").value(),
                      base::parse_network("2001:db8::1").value()};
  ruleset.listener_v6 = 28532;
  const auto text = rendered(ruleset, Dialect::darwin);
  CHECK(table_of(text) ==
        "table <osproxy_left_alone> const { self, 127.0.0.0/8, ::1, 169.254.0.0/16, fe80::/10, "
        "224.0.0.0/4, 255.255.255.255, ff00::/8, 10.0.0.0/8, 2001:db8::1 }");
  CHECK(
      rules_of(text) ==
      std::vector<std::string>{
          "rdr on lo0 inet proto tcp from any to ! <osproxy_left_alone> port { 443, 8000:8100 } "
          "-> 198.18.0.1 port 28531",
          "rdr pass on lo0 inet6 proto tcp from any to ! <osproxy_left_alone> port { 443, "
          "8000:8100 } -> fdff:6f73::1 port 28532",
          "pass in quick on lo0 reply-to (lo0 127.0.0.1) inet proto tcp from any to 198.18.0.1 "
          "port 28531 flags S/SA keep state",
          "pass out quick route-to (lo0 127.0.0.1) inet proto tcp from any to ! "
          "<osproxy_left_alone> port { 443, 8000:8100 } user >= 0 group != 1869837176 flags S/SA "
          "keep state",
          "pass out quick route-to (lo0 ::1) inet6 proto tcp from any to ! <osproxy_left_alone> "
          "port { 443, 8000:8100 } user >= 0 group != 1869837176 flags S/SA keep state",
          "block return out quick inet proto udp from any to ! <osproxy_left_alone> port 443 user "
          ">= 0 group != 1869837176",
          "block return out quick inet6 proto udp from any to ! <osproxy_left_alone> port 443 "
          "user >= 0 group != 1869837176"});
}

TEST_CASE("pf_render: FreeBSD's verdicts come before the packets that wait for one") {
  auto ruleset = held();
  ruleset.block_quic = false;
  ruleset.ports_v6 = {{80, 80}, {443, 443}};
  CHECK(
      rules_of(rendered(ruleset)) ==
      std::vector<std::string>{
          "no rdr on lo0 inet proto tcp from 198.18.0.1 to any",
          "rdr pass on lo0 inet proto tcp from "
          "any to ! <osproxy_left_alone> -> 198.18.0.1 port 28531",
          "rdr pass on lo0 inet6 proto tcp from any to ! <osproxy_left_alone> port { 80, 443 } -> "
          "fdff:6f73::1 port 28531",
          "pass quick on lo0 inet proto tcp from any to any flags R/R tos 0x54 no state",
          "pass quick on lo0 inet proto icmp from any to any icmp-type unreach tos 0x54 no state",
          "pass out quick route-to (lo0 127.0.0.1) inet proto tcp from any to ! "
          "<osproxy_left_alone> user >= 0 group != 1869837176 flags S/SA tos 0x4c keep state "
          "label \"osproxy\"",
          "pass out inet proto tcp from any to ! <osproxy_left_alone> user >= 0 group != "
          "1869837176 flags S/SA tos 0x44 tag osproxy_judged no state",
          "pass out quick inet proto tcp from any to ! <osproxy_left_alone> user >= 0 group != "
          "1869837176 flags S/SA ! tagged osproxy_judged divert-to 127.0.0.1 port 28531 no state",
          "pass out quick route-to (lo0 ::1) inet6 proto tcp from any to ! <osproxy_left_alone> "
          "port { 80, 443 } user >= 0 group != 1869837176 flags S/SA keep state label "
          "\"osproxy\""});
}

TEST_CASE("pf_render: OpenBSD has filter rules only") {
  auto ruleset = defaults();
  ruleset.block_quic = false;
  ruleset.ports = {{443, 443}};
  CHECK(rules_of(rendered(ruleset, Dialect::openbsd)) ==
        std::vector<std::string>{
            "pass in quick on lo0 inet proto tcp from any to ! <osproxy_left_alone> port 443 "
            "divert-to 127.0.0.1 port 28531",
            "pass in quick on lo0 inet6 proto tcp from any to ! <osproxy_left_alone> port 443 "
            "divert-to ::1 port 28531",
            "pass out quick inet proto tcp from any to ! <osproxy_left_alone> port 443 user >= 0 "
            "group != 1869837176 flags S/SA route-to 127.0.0.1 keep state",
            "pass out quick inet6 proto tcp from any to ! <osproxy_left_alone> port 443 user >= "
            "0 group != 1869837176 flags S/SA route-to ::1 keep state"});
}

TEST_CASE("pf_render: exec's group is the only one that is matched") {
  auto ruleset = defaults();
  ruleset.ports = {{443, 443}};
  ruleset.capture_gid = 4711;
  ruleset.block_quic = true;
  for (const auto dialect : {Dialect::darwin, Dialect::freebsd, Dialect::openbsd}) {
    const auto text = rendered(ruleset, dialect);
    CAPTURE(text);
    CHECK(has_line(text,
                   "block return out quick inet proto udp from any to ! <osproxy_left_alone> "
                   "port 443 group 4711"));
    for (const auto& rule : rules_of(text)) {
      CHECK(rule.find("user") == rule.npos);
      if (rule.starts_with("pass out") || rule.starts_with("block"))
        CHECK(rule.find(" group 4711") != rule.npos);
    }
  }
}

TEST_CASE(
    "pf_render: the answers of listeners are not redirected where ports reach those of programs") {
  const std::vector<std::string> guards{"no rdr on lo0 inet proto tcp from 198.18.0.1 to any",
                                        "no rdr on lo0 inet6 proto tcp from fdff:6f73::1 to any"};
  struct Case {
    std::vector<base::PortRange> ports;
    Dialect dialect;
    bool guarded;
  };
  const Case cases[] = {
      {{{80, 9999}}, Dialect::freebsd, false},
      {{{80, 10000}}, Dialect::freebsd, true},
      {{{80, 80}, {50000, 50000}}, Dialect::freebsd, true},
      {{{80, 49151}}, Dialect::darwin, false},
      {{{80, 49152}}, Dialect::darwin, true},
      {{}, Dialect::darwin, true},
  };
  for (const auto& [ports, dialect, guarded] : cases) {
    auto ruleset = defaults();
    ruleset.ports = ports;
    const auto text = rendered(ruleset, dialect);
    CAPTURE(text);
    auto rules = rules_of(text);
    std::erase_if(rules, [](const std::string& rule) { return !rule.starts_with("no rdr"); });
    CHECK(rules == (guarded ? guards : std::vector<std::string>()));
  }
}

TEST_CASE("pf_render: on macOS connections to this machine are told by their source port") {
  const auto text = rendered(with_loopback(), Dialect::darwin);
  CHECK(table_of(text) ==
        "table <osproxy_left_alone> const { 198.18.0.1, fdff:6f73::1, 169.254.0.0/16, fe80::/10, "
        "224.0.0.0/4, 255.255.255.255, ff00::/8 }");
  const auto rules = rules_of(text);
  CHECK(std::vector(rules.begin(), rules.begin() + 5) ==
        std::vector<std::string>{
            "no rdr on lo0 inet proto tcp from any port 28600:32599 to <osproxy_own>",
            "no rdr on lo0 inet proto tcp from any to <osproxy_own> port 28600:32599",
            "no rdr on lo0 inet6 proto tcp from any port 28600:32599 to <osproxy_own>",
            "no rdr on lo0 inet6 proto tcp from any to <osproxy_own> port 28600:32599",
            "rdr on lo0 inet proto tcp from any to ! <osproxy_left_alone> port { 80, 443, 8000, "
            "8080, 8443 } -> 198.18.0.1 port 28531"});
  CHECK(!pfctl::own_source_ports(defaults(), Dialect::darwin));
  CHECK(!pfctl::own_source_ports(with_loopback(), Dialect::freebsd));
  // None that the kernel gives to programs.
  CHECK(pfctl::own_source_ports(with_loopback(), Dialect::darwin)->last < 49152);
}

TEST_CASE("pf_render: on FreeBSD they are told by an interface of our own, but for IPv6") {
  for (auto ruleset : {with_loopback(), held()}) {
    ruleset.loopback = true;
    CHECK(pfctl::needs_loopback_interface(ruleset, Dialect::freebsd));
    CHECK(!pfctl::needs_loopback_interface(ruleset, Dialect::darwin));
    const auto text = rendered(ruleset);
    CAPTURE(text);
    CHECK(text.find("\ntable <osproxy_left_alone_v6> const { self, ::1, 169.254.0.0/16, ") !=
          text.npos);
    for (const auto& rule : rules_of(text)) {
      CAPTURE(rule);
      const bool ipv6 = rule.find(" inet6 ") != rule.npos;
      if (rule.starts_with("rdr "))
        CHECK(rule.starts_with(ipv6 ? "rdr pass on lo0 " : "rdr pass on lo28531 "));
      if (rule.find("route-to") != rule.npos)
        CHECK((rule.find("route-to (lo28531 127.0.0.1)") != rule.npos) == !ipv6);
      if (rule.find(" to ! ") != rule.npos)
        CHECK((rule.find(" to ! <osproxy_left_alone_v6>") != rule.npos) == ipv6);
    }
  }
  CHECK(!pfctl::needs_loopback_interface(defaults(), Dialect::freebsd));
  CHECK(rendered(defaults()).find("lo28531") == std::string::npos);
}

TEST_CASE("pf_render: on OpenBSD they are told by a tag") {
  for (const auto& rule : rules_of(rendered(with_loopback(), Dialect::openbsd))) {
    CAPTURE(rule);
    CHECK((rule.find(" tagged osproxy ") != rule.npos) == rule.starts_with("pass in "));
    CHECK((rule.find(" tag osproxy ") != rule.npos) == (rule.find("route-to") != rule.npos));
  }
}

TEST_CASE("pf_render: IPv6 from a VPN's addresses is left alone on macOS") {
  auto ruleset = defaults();
  ruleset.tunnels = {boost::asio::ip::make_address("fd00:8::2"),
                     boost::asio::ip::make_address("fd00:9::2")};
  const auto text = rendered(ruleset, Dialect::darwin);
  CHECK(text.find("\ntable <osproxy_tunnels> const { fd00:8::2, fd00:9::2 }\n") != text.npos);
  CHECK(has_line(text,
                 "pass out quick route-to (lo0 ::1) inet6 proto tcp from ! <osproxy_tunnels> to "
                 "! <osproxy_left_alone> port { 80, 443, 8000, 8080, 8443 } user >= 0 group != "
                 "1869837176 flags S/SA keep state"));
  CHECK(has_line(text,
                 "block return out quick inet6 proto udp from ! <osproxy_tunnels> to ! "
                 "<osproxy_left_alone> port 443 user >= 0 group != 1869837176"));
  CHECK(checked(text, Dialect::darwin) == "");
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
    CHECK(has_line(text,
                   "block return out quick inet6 proto tcp from any to ! <osproxy_left_alone> "
                   "port { 80, 443, 8000, 8080, 8443 } user >= 0 group != 1869837176 flags S/SA"));
    CHECK(text.find("rdr pass on lo0 inet6") == text.npos);
    CHECK(text.find("route-to (lo0 ::1)") == text.npos);
    CHECK(text.find("fdff:6f73::1") == text.npos);
  }
}

TEST_CASE("pf_render: that all UDP to the port of HTTPS is refused is said") {
  auto ruleset = defaults();
  CHECK(pfctl::cautions(ruleset, Dialect::freebsd) ==
        std::vector<std::string>{"UDP to port 443 is refused, every program's, so that programs "
                                 "fall back from QUIC to TCP; --quic allow lets it pass"});
  ruleset.capture_gid = 4711;
  CHECK(pfctl::cautions(ruleset, Dialect::darwin) ==
        std::vector<std::string>{"UDP to port 443 is refused, so that programs fall back from "
                                 "QUIC to TCP; --quic allow lets it pass"});
  ruleset.ports = {{80, 80}};
  CHECK(pfctl::cautions(ruleset, Dialect::darwin).empty());
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
  ruleset.ports_v6 = {{80, 80}};
  CHECK(rendered(ruleset).find("inet proto udp") != std::string::npos);
  CHECK(rendered(ruleset).find("inet6 proto udp") == std::string::npos);
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

TEST_CASE("pf_render: macOS knows smaller group numbers only") {
  auto ruleset = defaults();
  ruleset.exempt_gid = 0x7fffffff;
  CHECK(error_of(ruleset, Dialect::darwin) ==
        "group 2147483647 is too large for macOS; choose one up to 2147483646");
  CHECK(error_of(ruleset, Dialect::freebsd) == "no error");
  ruleset = defaults();
  ruleset.capture_gid = 0xfffffffe;
  CHECK(error_of(ruleset, Dialect::darwin) ==
        "group 4294967294 is too large for macOS; choose one up to 2147483646");
  CHECK(error_of(ruleset, Dialect::openbsd) == "no error");
}

TEST_CASE("pf_render: the first lines say how to load and how to remove the rules") {
  struct Case {
    Dialect dialect;
    pfctl::Ruleset ruleset;
    std::vector<std::string> commands;
  };
  const Case cases[] = {
      {Dialect::darwin,
       defaults(),
       {"ifconfig lo0 inet 198.18.0.1 netmask 255.255.255.255 alias",
        "ifconfig lo0 inet6 fdff:6f73::1 prefixlen 128 alias", "ifconfig lo0 mtu 65535",
        "pfctl -a com.apple/osproxy -f FILE", "pfctl -E", "pfctl -a com.apple/osproxy -F all",
        "pfctl -X N", "ifconfig lo0 mtu 16384", "ifconfig lo0 inet 198.18.0.1 -alias",
        "ifconfig lo0 inet6 fdff:6f73::1 -alias"}},
      {Dialect::freebsd,
       with_loopback(),
       {"kldload pf", "ifconfig lo0 inet 198.18.0.1 netmask 255.255.255.255 alias",
        "ifconfig lo0 inet6 fdff:6f73::1 prefixlen 128 alias", "ifconfig lo0 mtu 65535",
        "ifconfig lo28531 create mtu 65535 up", "pfctl -a osproxy -f FILE", "pfctl -e",
        "pfctl -a osproxy -F all", "pfctl -d", "ifconfig lo28531 destroy", "ifconfig lo0 mtu 16384",
        "ifconfig lo0 inet 198.18.0.1 -alias", "ifconfig lo0 inet6 fdff:6f73::1 -alias"}},
      {Dialect::freebsd,
       without_ipv6(),
       {"kldload pf", "ifconfig lo0 inet 198.18.0.1 netmask 255.255.255.255 alias",
        "ifconfig lo0 mtu 65535", "pfctl -a osproxy -f FILE", "pfctl -e", "pfctl -a osproxy -F all",
        "pfctl -d", "ifconfig lo0 mtu 16384", "ifconfig lo0 inet 198.18.0.1 -alias"}},
      {Dialect::openbsd, defaults(), {"pfctl -a osproxy -f FILE", "pfctl -a osproxy -F all"}},
  };
  for (const auto& [dialect, ruleset, commands] : cases) {
    const auto text = rendered(ruleset, dialect);
    CAPTURE(text);
    std::vector<std::string> found;
    for (std::size_t at = text.find("\n#   "); at != text.npos; at = text.find("\n#   ", at + 1)) {
      const auto line = text.substr(at + 5, text.find('\n', at + 1) - at - 5);
      found.push_back(line.substr(0, line.find_last_not_of(' ', line.find(" #")) + 1));
    }
    CHECK(found == commands);
    CHECK(text.find("group number 1869837176") < text.find("\ntable "));
  }
}

TEST_CASE("pf_render: every combination is good pf, and the same each time") {
  const std::vector<std::vector<base::PortRange>> ports{
      {}, {{443, 443}}, {{1, 65535}}, {{80, 80}, {8000, 8100}}};
  const std::vector<std::vector<base::Network>> excluded{
      {}, {base::parse_network("0.0.0.0/0").value(), base::parse_network("2001:db8::/32").value()}};
  int count = 0;
  for (const auto dialect : {Dialect::darwin, Dialect::freebsd, Dialect::openbsd}) {
    for (unsigned bits = 0; bits < 1U << 9; ++bits) {
      const auto bit = [&](unsigned i) { return (bits >> i & 1U) != 0; };
      auto ruleset = defaults();
      ruleset.ports = ports[bits & 3U];
      ruleset.excluded = excluded[bit(2) ? 1 : 0];
      ruleset.loopback = bit(3);
      if (bit(4)) ruleset.capture_gid = 4242;
      ruleset.block_quic = bit(5);
      ruleset.ipv6_refused = bit(6);
      if (bit(7)) ruleset.queueing = held().queueing;
      if (bit(7)) ruleset.ports_v6 = ports[bits >> 1 & 3U];
      if (bit(8) && dialect == Dialect::darwin)
        ruleset.tunnels = {boost::asio::ip::make_address("fd00:8::2")};
      for (const unsigned families : {1U, 2U, 3U}) {
        ruleset.ipv4 = (families & 1U) != 0;
        ruleset.ipv6 = (families & 2U) != 0;
        if (bit(8)) ruleset.listener_v6 = 1;
        const auto good = pfctl::validated(ruleset);
        if (!good || (ruleset.queueing && dialect != Dialect::freebsd)) continue;
        const auto text = rendered(ruleset, dialect);
        CAPTURE(text);
        REQUIRE(checked(text, dialect) == "");
        REQUIRE(text == rendered(ruleset, dialect));
        ++count;
      }
    }
  }
  CHECK(count == (512 + 256 + 256) * 3 - (256 + 128 + 128));
}

TEST_CASE("pf_render: no dialect takes the anchor of another") {
  CHECK(checked(rendered(defaults(), Dialect::darwin), Dialect::openbsd) != "");
  CHECK(checked(rendered(defaults(), Dialect::openbsd), Dialect::darwin) != "");
  CHECK(checked(rendered(defaults(), Dialect::openbsd), Dialect::freebsd) != "");
  CHECK(checked(rendered(held(), Dialect::freebsd), Dialect::darwin) != "");
}
