// What becomes of connections under our anchors and a user's own rules beside them, in a model of
// pf.
#include "tests/pfctl/pf_kernel.h"

#include "tests/pfctl/pf_kernel_machine.h"
#include "tests/test.h"

using namespace pf_kernel_test;

TEST_CASE("pf_kernel: pf's order: the last match, quick, anchors, tags within one pass") {
  struct Case {
    const char* main;
    const char* anchor;
    Fate fate;
  };
  const Case cases[] = {
      {"", "", Fate::leaves},
      {"block all\n", "", Fate::blocked},
      {"block all\npass out proto tcp to any port 443 keep state\n", "", Fate::leaves},
      {"block out quick on em0 all\npass out all\n", "", Fate::blocked},
      {"block out quick on em1 all\n", "", Fate::leaves},
      {"anchor \"a\" all\nblock all\n", "pass out all\n", Fate::blocked},
      {"anchor \"a\" all\nblock all\n", "pass out quick all\n", Fate::leaves},
      {"block all\nanchor \"a\" all\n", "pass out all\n", Fate::leaves},
      {"block all\nanchor \"b\" all\n", "pass out all\n", Fate::blocked},
      {"block out proto tcp user 1001\n", "", Fate::blocked},
      {"block out proto tcp user 1002\n", "", Fate::leaves},
      {"block out proto tcp group != 1001\n", "", Fate::leaves},
      {"anchor \"a\" all\nblock out proto tcp tagged t\n", "pass out proto tcp tag t\n",
       Fate::blocked},
      {"anchor \"a\" all\nblock out proto tcp ! tagged t\n", "pass out proto tcp tag t\n",
       Fate::leaves},
      {"block out proto tcp flags S/SA tos 0x10\n", "", Fate::leaves},
  };
  for (const auto& each : cases) {
    CAPTURE(each.main);
    CAPTURE(each.anchor);
    Kernel kernel(Dialect::freebsd);
    kernel.own.insert(boost::asio::ip::make_address(kHere));
    kernel.load_anchor("a", each.anchor);
    kernel.load_main(each.main);
    CHECK(name_of(kernel.send(syn(kHere, kFar, 443))) == std::string(name_of(each.fate)));
  }
}

TEST_CASE("pf_kernel: without rules of the user's everything is proxied, and the proxy is not") {
  for (const auto dialect : {Dialect::darwin, Dialect::freebsd}) {
    Machine machine(redirecting(), dialect);
    for (const bool chosen : {true, false}) {
      CHECK(machine.connect(syn(kHere, kFar, 443), chosen) == "proxied");
      CHECK(machine.connect(syn(kHereV6, kFarV6, 443), chosen) == "proxied");
    }
    CHECK(machine.connect(syn(kHere, kFar, 22)) == "leaves");
    CHECK(machine.connect(syn("127.0.0.1", "127.0.0.1", 80)) == "arrives");
    CHECK(machine.connect(syn(kHere, kHere, 80)) == "arrives");
  }
  Machine packets(holding(), Dialect::freebsd);
  CHECK(packets.connect(syn(kHere, kFar, 443), true) == "proxied");
  CHECK(packets.connect(syn(kHere, kFar, 22), true) == "proxied");
  CHECK(packets.connect(syn(kHere, kFar, 443), false) == "leaves");
  CHECK(packets.connect(syn(kHere, kHere, 80), true) == "arrives");
}

TEST_CASE("pf_kernel: the user's own rules have the last word about every connection") {
  struct Case {
    const char* rules;
    const char* web;   ///< to port 443, of a program that is chosen
    const char* mail;  ///< to port 25 by the packet engine, of a program that is not
  };
  const Case cases[] = {
      {"block drop all\n", "blocked", "blocked"},
      {"block return out all\n", "blocked", "blocked"},
      {"block drop out quick on em0 all\nblock drop out quick on en0 all\n", "blocked",
       "blocked"},  // kill switch
      {"block all\npass out proto tcp from any to any port 443 keep state\n", "leaves", "blocked"},
      {"block all\npass out quick proto tcp from any to any port 25 keep state\n", "blocked",
       "leaves"},
      {"block out proto tcp from any to 192.0.2.0/24\n", "blocked", "blocked"},
      {"pass out all keep state\n", "leaves", "leaves"},
      {"pass out quick all keep state\n", "leaves", "leaves"},
      {"block in all\npass out all keep state\n", "leaves", "leaves"},
  };
  for (const auto& each : cases) {
    CAPTURE(each.rules);
    const bool web_blocked = each.web == std::string("blocked");
    for (const auto dialect : {Dialect::darwin, Dialect::freebsd}) {
      CAPTURE(static_cast<int>(dialect));
      Machine machine(redirecting(), dialect, each.rules);
      for (const bool chosen : {true, false}) {
        CHECK(machine.connect(syn(kHere, kFar, 443), chosen) ==
              (web_blocked ? "proxied, upstream blocked" : "proxied"));
      }
      CHECK(machine.connect(syn(kHere, kFar, 25)) == each.mail);
      CHECK(machine.upstream(syn(kHere, kFar, 443)) ==
            (web_blocked ? Fate::blocked : Fate::leaves));
    }
    Machine machine(holding(), Dialect::freebsd, each.rules);
    CHECK(machine.connect(syn(kHere, kFar, 443), true) ==
          (web_blocked ? "held, upstream blocked" : "proxied"));
    CHECK(machine.connect(syn(kHere, kFar, 443), false) == each.web);
    CHECK(machine.connect(syn(kHere, kFar, 25), false) == each.mail);
  }
}

TEST_CASE("pf_kernel: rules by user see the program that a passed packet is from") {
  Machine machine(holding(), Dialect::freebsd, "block out proto tcp user 1001\n");
  CHECK(machine.connect(syn(kHere, kFar, 443), false) == "blocked");
  CHECK(machine.connect(syn(kHere, kFar, 443, Owner{1002, 1002}), false) == "leaves");
}

TEST_CASE("pf_kernel: a held packet's refusal reaches its program through any firewall") {
  for (const char* rules :
       {"", "block drop all\n", "block drop quick on lo0 all\n", "block in all\n"}) {
    CAPTURE(rules);
    Machine machine(holding(), Dialect::freebsd, rules);
    Packet reset{.source = at(kFar, 443),
                 .destination = at(kHere, 51000),
                 .flags = "RA",
                 .tos = pfctl::kTosRefusal};
    CHECK(machine.kernel.send(reset) == Fate::arrives);
    Packet unreachable = reset;
    unreachable.protocol = "icmp";
    unreachable.flags = "";
    CHECK(machine.kernel.send(unreachable) == Fate::arrives);
    // Nobody opens a connection by it.
    reset.flags = "S";
    CHECK((machine.kernel.send(reset) == Fate::arrives) == (rules[0] == '\0'));
  }
}

TEST_CASE(
    "pf_kernel: what this machine only forwards is not touched, whatever its type of service") {
  for (const auto& rules : {redirecting(), holding()}) {
    for (const std::uint8_t tos : {0, 0x44, 0x4c, 0x54}) {
      Machine machine(rules, Dialect::freebsd);
      auto packet = syn("10.9.9.9", kFar, 443, std::nullopt);
      packet.tos = tos;
      CHECK(machine.kernel.send(packet) == Fate::leaves);
      CHECK(machine.kernel.decided().empty());
    }
  }
}

TEST_CASE("pf_kernel: the packet engine redirects IPv6 on the redirect engine's ports only") {
  Machine machine(holding(), Dialect::freebsd);
  CHECK(machine.connect(syn(kHereV6, kFarV6, 443)) == "proxied");
  CHECK(machine.connect(syn(kHereV6, kFarV6, 22)) == "leaves");
  auto refusing = holding();
  refusing.ipv6_refused = true;
  Machine refuses(refusing, Dialect::freebsd);
  CHECK(refuses.connect(syn(kHereV6, kFarV6, 443)) == "blocked");
  CHECK(refuses.connect(syn(kHereV6, kFarV6, 22)) == "leaves");
}

TEST_CASE("pf_kernel: exec's command alone is proxied") {
  auto rules = redirecting();
  rules.ports = {};
  rules.capture_gid = kExecGroup;
  for (const auto dialect : {Dialect::darwin, Dialect::freebsd}) {
    Machine machine(rules, dialect);
    CHECK(machine.connect(syn(kHere, kFar, 22, kCommand)) == "proxied");
    CHECK(machine.connect(syn(kHereV6, kFarV6, 22, kCommand)) == "proxied");
    CHECK(machine.connect(syn(kHere, kFar, 22)) == "leaves");
  }
}

TEST_CASE("pf_kernel: connections to this machine itself, without a tag that lo0 would lose") {
  for (const bool all_ports : {false, true}) {
    auto rules = with_loopback(redirecting());
    if (all_ports) rules.ports = {};
    CAPTURE(all_ports);
    Machine mac(rules, Dialect::darwin);
    Machine bsd(rules, Dialect::freebsd);
    for (Machine* machine : {&mac, &bsd}) {
      CHECK(machine->connect(syn("127.0.0.1", "127.0.0.1", 80)) == "proxied");
      CHECK(machine->connect(syn(kHere, kHere, 80)) == "proxied");
      CHECK(machine->connect(syn(kHere, kFar, 80)) == "proxied");
      CHECK(machine->connect(syn(kHereV6, kFarV6, 80)) == "proxied");
      // A server's answer to the proxy, without a state.
      const auto range = pfctl::own_source_ports(rules, machine->dialect);
      Packet answer{.source = at("127.0.0.1", 80),
                    .destination = at("127.0.0.1", range ? range->last : std::uint16_t{52000}),
                    .flags = "SA",
                    .owner = Owner{0, 0}};
      CHECK(machine->kernel.send(answer) == Fate::arrives);
    }
    // Ports of the worker's own range, elsewhere.
    for (const std::uint16_t port : {28600, 31000, 32599}) {
      CHECK(mac.connect(syn(kHere, kFar, port)) == (all_ports ? "proxied" : "leaves"));
      CHECK(mac.connect(syn(kHereV6, kFarV6, port)) == (all_ports ? "proxied" : "leaves"));
      auto from = syn(kHere, kFar, 80);
      from.source.port(port);
      CHECK(mac.connect(from) == "proxied");
    }
    CHECK(mac.connect(syn("::1", "::1", 80)) == "proxied");
    CHECK(mac.connect(syn(kHereV6, kHereV6, 80)) == "proxied");
    CHECK(bsd.connect(syn("::1", "::1", 80)) == "arrives");
    CHECK(bsd.connect(syn(kHereV6, kHereV6, 80)) == "arrives");
  }
  Machine packets(with_loopback(holding()), Dialect::freebsd);
  CHECK(packets.connect(syn("127.0.0.1", "127.0.0.1", 80), true) == "proxied");
  CHECK(packets.connect(syn(kHere, kHere, 8080), true) == "proxied");
  CHECK(packets.connect(syn(kHere, kHere, 8080), false) == "arrives");
  CHECK(packets.connect(syn(kHere, kFar, 8080), true) == "proxied");
}

TEST_CASE("pf_kernel: a VPN's addresses on macOS: IPv4 finds its way back, IPv6 is left alone") {
  auto rules = redirecting();
  rules.tunnels = {boost::asio::ip::make_address(kVpnV6)};
  for (const char* user : {"", "block in on lo0 all\n"}) {
    Machine machine(rules, Dialect::darwin, user);
    for (const char* each : {kVpn, kVpnV6})
      machine.kernel.tunnels.insert(boost::asio::ip::make_address(each));
    CHECK(machine.connect(syn(kVpn, kFar, 443)) == "proxied");
    CHECK(machine.connect(syn(kHere, kFar, 443)) == "proxied");
    CHECK(machine.connect(syn(kVpnV6, kFarV6, 443)) == "leaves");
    CHECK(machine.connect(syn(kHereV6, kFarV6, 443)) == "proxied");
  }
}

TEST_CASE(
    "pf_kernel: every combination keeps the proxy's own connections out, with loopback as well") {
  for (const auto dialect : {Dialect::darwin, Dialect::freebsd}) {
    for (unsigned bits = 0; bits < 1U << 5; ++bits) {
      const auto bit = [&](unsigned i) { return (bits >> i & 1U) != 0; };
      auto rules = bit(0) ? holding() : redirecting();
      if (bit(0) && dialect == Dialect::darwin) continue;
      if (bit(1)) rules.ports = {};
      rules.loopback = bit(2);
      if (bit(3)) rules.capture_gid = kExecGroup;
      rules.ipv6_refused = bit(4);
      CAPTURE(bits);
      Machine machine(rules, dialect);
      for (const auto& [from, to] :
           {std::pair{kHere, kFar}, {kHere, kHere}, {"127.0.0.1", "127.0.0.1"}}) {
        const Fate fate = machine.upstream(syn(from, to, 80));
        CHECK((fate == Fate::leaves || fate == Fate::arrives));
      }
      for (const auto& [from, to] :
           {std::pair{kHereV6, kFarV6}, {kHereV6, kHereV6}, {"::1", "::1"}}) {
        const Fate fate = machine.upstream(syn(from, to, 80));
        CHECK((fate == Fate::leaves || fate == Fate::arrives));
      }
    }
  }
}
