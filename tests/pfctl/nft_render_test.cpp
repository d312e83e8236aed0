// The text of whole tables. That nft(8) prints the same is shown in loader_test.cpp.
#include "base/fd.h"
#include "pfctl/ruleset.h"
#include "tests/test.h"

namespace {

pfctl::Ruleset defaults() {
  pfctl::Ruleset ruleset;
  ruleset.ports = {{80, 80}, {443, 443}, {8000, 8000}, {8080, 8080}, {8443, 8443}};
  ruleset.exempt_gid = 52737;
  ruleset.listener_v4 = 8899;
  ruleset.listener_v6 = 8899;
  ruleset.own_mark = 0x10000000;
  return ruleset;
}

std::string rendered(const pfctl::Ruleset& ruleset) {
  return pfctl::render_nft(pfctl::validated(ruleset).value());
}

bool has_line(const std::string& text, const std::string& line) {
  return text.find("\t\t" + line + "\n") != text.npos;
}

}  // namespace

TEST_CASE("nft_render: the sample in conf/ is what the default rules look like") {
  const auto sample = base::read_file(OSPROXY_CONF_DIR "/osproxy.nft");
  REQUIRE(sample);
  CHECK(rendered(defaults()) == *sample);
}

TEST_CASE(
    "nft_render: datagrams that open QUIC connections are "
    "held where their programs would fall back to") {
  constexpr const char* kOpens =
      "udp length >= 1208 @th,64,8 & 0x80 == 0x80 ct state new jump quic";
  auto ruleset = defaults();
  ruleset.queueing.emplace();
  for (const auto& [ports, where] : {std::pair{std::vector<base::PortRange>{}, ""},
                                     {{{80, 80}, {400, 500}}, "udp dport { 80, 400-500 } "},
                                     {{{8080, 8080}}, "udp dport 8080 "}}) {
    ruleset.ports = ports;
    CHECK(has_line(rendered(ruleset), std::string(where) + kOpens));
    CHECK(has_line(rendered(ruleset), "meta l4proto udp queue flags bypass to 0"));
    for (const char* version :
         {"32 0x1", "32 0x6b3343cf", "24 0xff0000", "24 0x513035", "24 0x543035", "24 0xfaceb0"})
      CHECK(has_line(rendered(ruleset), std::string("@th,72,") + version + " jump judge"));
  }
  ruleset.queueing->quic = false;
  CHECK(rendered(ruleset).find("udp") == std::string::npos);
}

TEST_CASE("nft_render: every group of rules, with its heading") {
  auto ruleset = defaults();
  ruleset.ports = {{8000, 8100}, {443, 443}};
  ruleset.excluded = {base::parse_network("10.0.0.0/8").value(),
                      base::parse_network("fe80::1").value()};
  ruleset.loopback = true;
  ruleset.listener_v6 = 8898;
  CHECK(
      rendered(ruleset) ==
      "# TCP connections of local programs that are handed to osproxy. The table belongs to "
      "the running\n"
      "# osproxy (flags owner): no other process can change it, and it is gone when osproxy ends, "
      "however it ends.\n"
      "table inet osproxy {\n"
      "\tflags owner\n"
      "\n"
      "\tchain zone {\n"
      "\t\ttype filter hook output priority raw; policy accept;\n"
      "\t\t# osproxy's own connections are not taken for a program's that had the same ports\n"
      "\t\tmeta skgid 52737 ct original zone set 28531\n"
      "\t\t# and those that have the program's user and group\n"
      "\t\tmeta mark & 0x10000000 == 0x10000000 ct original zone set 28531 meta mark set meta "
      "mark & 0xefffffff\n"
      "\t}\n"
      "\n"
      "\tchain divert {\n"
      "\t\ttype nat hook output priority -101; policy accept;\n"
      "\t\t# osproxy's own connections\n"
      "\t\tmeta skgid 52737 return\n"
      "\t\tct original zone 28531 return\n"
      "\t\t# osproxy's listeners\n"
      "\t\tip daddr 127.0.0.1 tcp dport 8899 return\n"
      "\t\tip6 daddr ::1 tcp dport 8898 return\n"
      "\t\t# broadcast, anycast and multicast destinations\n"
      "\t\tfib daddr type { broadcast, anycast, multicast } return\n"
      "\t\t# destinations left alone\n"
      "\t\tip daddr 10.0.0.0/8 return\n"
      "\t\tip6 daddr fe80::1 return\n"
      "\t\t# IPv4, to the listener on 127.0.0.1\n"
      "\t\tmeta nfproto ipv4 tcp dport { 443, 8000-8100 } redirect to :8899\n"
      "\t\t# IPv6, to the listener on ::1\n"
      "\t\tmeta nfproto ipv6 tcp dport { 443, 8000-8100 } redirect to :8898\n"
      "\t}\n"
      "}\n");
}

TEST_CASE("nft_render: all ports, one port, one range") {
  auto ruleset = defaults();
  ruleset.ports = {};
  CHECK(has_line(rendered(ruleset), "meta nfproto ipv4 meta l4proto tcp redirect to :8899"));
  ruleset.ports = {{443, 443}};
  CHECK(has_line(rendered(ruleset), "meta nfproto ipv4 tcp dport 443 redirect to :8899"));
  ruleset.ports = {{1, 65535}};
  CHECK(has_line(rendered(ruleset), "meta nfproto ipv6 tcp dport { 1-65535 } redirect to :8899"));
}

TEST_CASE("nft_render: a family that is off is not redirected") {
  auto ruleset = defaults();
  ruleset.ipv4 = false;
  ruleset.loopback = true;
  const std::string text = rendered(ruleset);
  CHECK(text.find("ipv4") == text.npos);
  CHECK(text.find("127.0.0.1") == text.npos);
  CHECK(text.find("ipv6") != text.npos);
}
