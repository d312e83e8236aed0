#include "pfctl/pf_status.h"

#include <algorithm>
#include <string>

#include <doctest/doctest.h>

namespace {

constexpr const char* kMacIfconfig =
    "lo0: flags=8049<UP,LOOPBACK,RUNNING,MULTICAST> mtu 16384\n"
    "\toptions=1203<RXCSUM,TXCSUM,TXSTATUS,SW_TIMESTAMP>\n"
    "\tinet 127.0.0.1 netmask 0xff000000\n"
    "\tinet6 ::1 prefixlen 128\n"
    "\tinet6 fe80::1%lo0 prefixlen 64 scopeid 0x1\n"
    "\tinet 198.18.0.1 netmask 0xffffffff\n"
    "\tnd6 options=201<PERFORMNUD,DAD>\n"
    "en0: flags=8863<UP,BROADCAST,SMART,RUNNING,SIMPLEX,MULTICAST> mtu 1500\n"
    "\toptions=6463<RXCSUM,TXCSUM,TSO4,TSO6,CHANNEL_IO,PARTIAL_CSUM,ZEROINVERT_CSUM>\n"
    "\tether f0:18:98:00:00:01\n"
    "\tinet 192.168.1.20 netmask 0xffffff00 broadcast 192.168.1.255\n"
    "utun4: flags=8051<UP,POINTOPOINT,RUNNING,MULTICAST> mtu 9000\n"
    "\tinet 198.18.0.9 --> 198.18.0.9 netmask 0xfffffffc\n";

constexpr const char* kMacRoutes =
    "Routing tables\n\nInternet:\n"
    "Destination        Gateway            Flags           Netif Expire\n"
    "default            192.168.1.1        UGScg             en0\n"
    "1                  utun4              USc             utun4\n"
    "128.0/1            utun4              USc             utun4\n"
    "127                127.0.0.1          UCS               lo0\n"
    "169.254            link#4             UCS               en0      !\n"
    "192.168.1.1/32     link#4             UCS               en0      !\n"
    "198.18/15          utun4              USc             utun4\n"
    "224.0.0/4          link#4             UmCS              en0      !\n\n"
    "Internet6:\n"
    "Destination                             Gateway                         Flags         Netif "
    "Expire\n"
    "default                                 fe80::1%en0                     UGcg            en0\n"
    "::1                                     ::1                             UHL             lo0\n"
    "fe80::%lo0/64                           fe80::1%lo0                     UcI             lo0\n"
    "fdff:6f73::/32                          utun4                           USc           utun4\n";

std::string joined(const std::vector<base::Network>& networks) {
  std::string text;
  for (const auto& each : networks) text += base::to_string(each) + " ";
  return text;
}

}  // namespace

TEST_CASE("pf_status: a counter") {
  constexpr const char* kInfo =
      "Status: Enabled for 0 days 00:00:12           Debug: Urgent\n\nCounters\n"
      "  match                                  5            0.4/s\n"
      "  state-insert                           3            0.2/s\n  state-limit  x\n";
  CHECK(pfctl::parse_counter(kInfo, "state-insert") == 3U);
  CHECK(!pfctl::parse_counter(kInfo, "state-limit"));
  CHECK(!pfctl::parse_counter(kInfo, "state"));
  CHECK(!pfctl::parse_counter("", "match"));
}

TEST_CASE("pf_status: the interface of a route") {
  CHECK(pfctl::parse_route_interface("   route to: 198.51.100.77\ndestination: "
                                     "default\n    gateway: 10.0.0.1\n"
                                     "  interface: utun4\n      flags: <UP,GATEWAY>\n") == "utun4");
  CHECK(pfctl::parse_route_interface("route: writing to routing socket: not in table\n").empty());
}

TEST_CASE("pf_status: enabled or not") {
  CHECK(pfctl::parse_enabled(
            "No ALTQ support in kernel\nStatus: Enabled for 0 days 00:01:02     Debug: Urgent\n")
            .value());
  CHECK(!pfctl::parse_enabled("Status: Disabled                             Debug: Urgent\n")
             .value());
  CHECK(!pfctl::parse_enabled("Status: Disabled").value());
  for (const char* text :
       {"", "Status:", "Status: Off\n", "pfctl: /dev/pf: No such file or directory\n"}) {
    CHECK(!pfctl::parse_enabled(text).has_value());
  }
}

TEST_CASE("pf_status: the token of -E, and the list of tokens") {
  CHECK(pfctl::parse_token("No ALTQ support in kernel\nALTQ related "
                           "functions disabled\npf enabled\n"
                           "Token : 15391446529735684713\n") == "15391446529735684713");
  for (const char* text : {"", "Token", "Token :", "Token : 12a\n", "Token : -1\n",
                           "Token : 123456789012345678901\n"}) {
    CHECK(!pfctl::parse_token(text));
  }
  constexpr const char* kReferences =
      "TOKENS:\nPID      Process Name                 TOKEN                    TIMESTAMP\n"
      "412      pfctl                        15391446529735684713     0 days 00:00:12\n";
  CHECK(pfctl::lists_token(kReferences, "15391446529735684713"));
  CHECK(!pfctl::lists_token(kReferences, "1539144652973568471"));
  CHECK(!pfctl::lists_token("No token\n", "1"));
}

TEST_CASE("pf_status: set skip on lo0") {
  CHECK(pfctl::skips_lo0("all\n\tCleared:     Mon\nem0\nlo\nlo0 (skip)\n\tCleared:     Mon\n"));
  CHECK(pfctl::skips_lo0("lo (skip)\nlo0\n"));
  CHECK(!pfctl::skips_lo0("lo\nlo0\nlo1 (skip)\nem0 (skip)\n"));
  CHECK(!pfctl::skips_lo0(""));
}

TEST_CASE("pf_status: whether the main ruleset evaluates an anchor") {
  struct {
    const char* text;
    const char* keyword;
    const char* anchor;
    bool refers;
  } constexpr kCases[] = {
      {"rdr-anchor \"osproxy\" all\n", "rdr-anchor", "osproxy", true},
      {"scrub in all\nanchor \"osproxy\" all\n", "anchor", "osproxy", true},
      {"anchor \"osproxy\"\n", "anchor", "osproxy", true},
      {"anchor \"osproxy2\" all\n", "anchor", "osproxy", false},
      {"nat-anchor \"osproxy\" all\n", "rdr-anchor", "osproxy", false},
      {"rdr-anchor \"osproxy\" all\n", "anchor", "osproxy", false},
      {"anchor \"osproxy\" on em0 all\n", "anchor", "osproxy", false},
      {"anchor \"com.apple/*\" all\n", "anchor", "com.apple/osproxy", true},
      {"anchor \"com.apple/osproxy\" all\n", "anchor", "com.apple/osproxy", true},
      {"anchor \"com.example/*\" all\n", "anchor", "com.apple/osproxy", false},
      {"anchor \"*\" all\n", "anchor", "osproxy", true},
      {"", "anchor", "osproxy", false},
  };
  for (const auto& each : kCases) {
    CAPTURE(each.text);
    CHECK(pfctl::refers_to(each.text, each.keyword, each.anchor) == each.refers);
  }
}

TEST_CASE("pf_status: the main ruleset put together again, with and without our anchor") {
  constexpr const char* kNat = "nat-anchor \"com.apple/*\" all\nrdr-anchor \"com.apple/*\" all\n";
  constexpr const char* kRules =
      "scrub-anchor \"com.apple/*\" all fragment "
      "reassemble\nanchor \"com.apple/*\" all\nblock drop all\n";
  const std::string with = pfctl::main_ruleset({kNat, {}, kRules}, "osproxy");
  CHECK(with ==
        "scrub-anchor \"com.apple/*\" all fragment reassemble\n"
        "rdr-anchor \"osproxy\" all\nnat-anchor \"com.apple/*\" all\nrdr-anchor \"com.apple/*\" "
        "all\n"
        "anchor \"osproxy\" all\nanchor \"com.apple/*\" all\nblock drop all\n");
  const std::string nat = "rdr-anchor \"osproxy\" all\n" + std::string(kNat);
  const std::string rules = "anchor \"osproxy\" all\n" + std::string(kRules);
  CHECK(pfctl::main_ruleset({nat, {}, rules}, "osproxy") == with);
  CHECK(pfctl::without_references(with, "osproxy") == pfctl::main_ruleset({kNat, {}, kRules}, ""));
  CHECK(pfctl::main_ruleset({nat, {}, rules}, "") != pfctl::main_ruleset({kNat, {}, kRules}, ""));
  CHECK(pfctl::main_ruleset({}, "").empty());
}

TEST_CASE("pf_status: dummynet stands between translation and filter, whoever prints it") {
  constexpr const char* kDummynet =
      "dummynet-anchor \"com.apple/*\" all\nno dummynet quick on lo0 all\n";
  constexpr const char* kExpected =
      "scrub in all\nrdr-anchor \"com.apple/osproxy\" all\nrdr-anchor \"x\" all\n"
      "dummynet-anchor \"com.apple/*\" all\nno dummynet quick on lo0 all\n"
      "anchor \"com.apple/osproxy\" all\npass all\n";
  constexpr const char* kNat = "rdr-anchor \"x\" all\n";
  const std::string rules = "scrub in all\npass all\n";
  CHECK(pfctl::main_ruleset({kNat, kDummynet, rules}, "com.apple/osproxy") == kExpected);
  CHECK(pfctl::main_ruleset({kNat + std::string(kDummynet), {}, rules}, "com.apple/osproxy") ==
        kExpected);
  CHECK(pfctl::main_ruleset({kNat, {}, rules + kDummynet}, "com.apple/osproxy") == kExpected);
}

TEST_CASE("pf_status: who can decide before us") {
  struct {
    const char* rules;
    const char* anchor;
    const char* first;
  } constexpr kCases[] = {
      {"scrub in all\nanchor \"osproxy\" all\npass all\nblock drop out quick all\n", "osproxy", ""},
      {"pass out quick all\nanchor \"osproxy\" all\n", "osproxy", "pass out quick all"},
      {"pass all\nblock drop quick on em0 all\nanchor \"osproxy\" all\n", "osproxy",
       "block drop quick on em0 all"},
      // What comes in is not ours to divert.
      {"block drop in quick on em0 all\nanchor "
       "\"blocklist\" in on em0 all\nanchor \"osproxy\" all\n",
       "osproxy", ""},
      {"anchor \"vpn\" all\nanchor \"osproxy\" all\n", "osproxy", "anchor \"vpn\" all"},
      {"anchor \"com.apple/*\" all\nanchor \"vpn\" all\n", "com.apple/osproxy", ""},
      {"anchor \"vpn/*\" all\nanchor \"com.apple/*\" all\n", "com.apple/osproxy",
       "anchor \"vpn/*\" all"},
      {"anchor \"*\" all\npass out quick all\n", "osproxy", ""},
      // A reference with a condition does not come to us for every packet.
      {"anchor \"osproxy\" on em0 all\n", "osproxy", "anchor \"osproxy\" on em0 all"},
      {"pass all\n", "osproxy", ""},
      {"", "osproxy", ""},
  };
  for (const auto& each : kCases) {
    CAPTURE(each.rules);
    CHECK(pfctl::first_to_decide(each.rules, each.anchor) == each.first);
  }
}

TEST_CASE("pf_status: normalization that makes states of outgoing connections") {
  const std::pair<const char*, const char*> cases[] = {
      {"scrub on em0 all reassemble tcp fragment reassemble\n",
       "scrub on em0 all reassemble tcp fragment reassemble"},
      {"scrub in all fragment reassemble\nscrub out on em0 inet proto tcp all reassemble tcp\n",
       "scrub out on em0 inet proto tcp all reassemble tcp"},
      {"scrub in on em0 all reassemble tcp fragment reassemble\n", ""},
      {"scrub out inet6 all reassemble tcp fragment reassemble\n", ""},
      {"scrub out proto udp all reassemble tcp fragment reassemble\n", ""},
      {"scrub all fragment reassemble\nno scrub on em0 all\n", ""},
      // FreeBSD 15: of a filter rule it needs a state, and makes none.
      {"match out all scrub( reassemble tcp)\n", ""},
      {"", ""},
  };
  for (const auto& [rules, found] : cases) CHECK(pfctl::first_to_reassemble(rules) == found);
}

TEST_CASE("pf_status: translation of what this machine's own sockets send") {
  const std::vector<base::Address> own{boost::asio::ip::make_address("10.0.2.15"),
                                       boost::asio::ip::make_address("127.0.0.1"),
                                       boost::asio::ip::make_address("fe80::1")};
  const std::pair<const char*, bool> cases[] = {
      {"nat on em0 inet from <jails> to any -> (em0:0) round-robin", true},
      {"nat on em0 inet from any to any -> 192.0.2.1", true},
      {"nat on em0 inet from ! (em0) to any -> (em0) round-robin", true},
      {"nat on em0 all -> (em0)", true},
      {"nat pass on em0 inet from 10.0.2.0/24 to any -> (em0)", true},
      {"nat on em0 inet from 10.0.2.1 - 10.0.2.99 to any -> (em0)", true},
      {"binat on em0 inet from 10.0.2.15 to any -> 192.0.2.1", true},
      {"nat-anchor \"ftp-proxy/*\" all", true},
      {"binat-anchor \"x\" all", true},
      {"nat on em0 inet proto tcp from any to any -> 192.0.2.1", true},
      {"nat on em0 inet from 192.168.0.0/16 to any -> (em0) round-robin", false},
      {"binat on em0 inet from 192.168.7.7 to any -> 192.0.2.1", false},
      {"nat on em0 inet6 from any to any -> 2001:db8::1", false},
      {"nat on em0 inet proto udp from any to any -> 192.0.2.1", false},
      {"no nat on em0 all", false},
      {"rdr on em0 inet proto tcp from any to any port = 80 -> 10.0.2.3", false},
      {"rdr-anchor \"osproxy\" all", false},
      {"", false},
  };
  for (const auto& [rule, found] : cases) {
    CAPTURE(rule);
    CHECK(pfctl::first_to_translate("rdr-anchor \"osproxy\" all\n" + std::string(rule) + "\n",
                                    own) == (found ? rule : ""));
  }
}

TEST_CASE("pf_status: interfaces of macOS and FreeBSD") {
  const auto mac = pfctl::parse_ifconfig(kMacIfconfig);
  REQUIRE(mac.size() == 3);
  CHECK(mac[0].name == "lo0");
  CHECK(mac[0].mtu == 16384);
  CHECK(!mac[0].tso);
  CHECK(joined(mac[0].networks) == "127.0.0.0/8 ::1 fe80::/64 198.18.0.1 ");
  CHECK(mac[1].tso);
  CHECK(joined(mac[1].networks) == "192.168.1.0/24 ");
  CHECK(joined(mac[2].networks) == "198.18.0.8/30 ");

  const auto bsd = pfctl::parse_ifconfig(
      "vtnet0: flags=1008843<UP,BROADCAST,RUNNING> metric 0 mtu 1500\n"
      "\toptions=4c07bb<RXCSUM,TXCSUM,TSO4,TSO6,LRO>\n\tinet 10.0.2.15/24 broadcast 10.0.2.255\n"
      "lo0: flags=8049<UP,LOOPBACK,RUNNING,MULTICAST> metric 0 mtu 65535\n"
      "\tinet6 fe80::1%lo0 prefixlen 64 scopeid 0x2\n\tinet 127.0.0.1 netmask 0xff000000\n"
      "\tgroups: lo\n");
  REQUIRE(bsd.size() == 2);
  CHECK(bsd[0].tso);
  CHECK(joined(bsd[0].networks) == "10.0.2.0/24 ");
  CHECK(bsd[1].mtu == 65535);
}

TEST_CASE("pf_status: routes in their short forms, without the broad ones") {
  CHECK(joined(pfctl::parse_routes(kMacRoutes)) ==
        "1.0.0.0/8 127.0.0.0/8 169.254.0.0/16 192.168.1.1 198.18.0.0/15 ::1 fe80::/64 "
        "fdff:6f73::/32 ");
  CHECK(joined(pfctl::parse_routes("198.18.0.0/15      link#2  U  tun0\n10.0.2.15  link#1  "
                                   "UHS  lo0\n"
                                   "10.0.0.256 a b\n1.2.3.4.5 a b\n10/33 a b\n::/129 a b\n")) ==
        "198.18.0.0/15 10.0.2.15 ");
}

TEST_CASE("pf_status: what pfctl complains about") {
  CHECK(pfctl::complaint("No ALTQ support in kernel\nALTQ related functions disabled\nstdin:3: "
                         "syntax error\n"
                         "pfctl: Syntax error in config file: pf rules not loaded\n") ==
        "stdin:3: syntax error");
  CHECK(pfctl::complaint("pfctl: /dev/pf: Permission denied\n") == "/dev/pf: Permission denied");
  CHECK(pfctl::complaint("No ALTQ support in kernel\n").empty());
  CHECK(pfctl::complaint("").empty());
}

TEST_CASE("pf_status: texts cut at every offset") {
  for (const std::string& text : {std::string(kMacIfconfig), std::string(kMacRoutes)}) {
    for (std::size_t size = 0; size <= text.size(); ++size) {
      const std::string_view part(text.data(), size);
      CHECK(pfctl::parse_ifconfig(part).size() <= 3);
      CHECK(pfctl::parse_routes(part).size() <= 9);
    }
  }
}
