// Anchors that were wrong: the model of pf shows what was wrong with them.
#include "tests/pfctl/pf_kernel.h"
#include "tests/pfctl/pf_kernel_machine.h"
#include "tests/test.h"

using namespace pf_kernel_test;

// Each has been ours, and was found on a real kernel or by reading one.
TEST_CASE("pf_kernel: the faults that anchors have had show") {
  const std::string rdr =
      "table <t> const { self, 127.0.0.0/8 }\n"
      "rdr pass on lo0 inet proto tcp from any to ! <t> -> 198.18.0.1 port 28531\n";
  const std::string own = "pass out quick proto tcp group 1869837176 keep state\n";
  const std::string held =
      "pass out quick route-to (lo0 127.0.0.1) inet proto tcp from any to ! <t> flags S/SA tos "
      "0x4c keep state\n"
      "pass out quick inet proto tcp from any to ! <t> flags S/SA tos 0x44 keep state\n"
      "pass out quick inet proto tcp from any to ! <t> user >= 0 flags S/SA divert-to 127.0.0.1 "
      "port 7 no state\n";
  SUBCASE("quick takes the last word from the user") {
    Machine machine(holding(), Dialect::freebsd, "block all\n", rdr + own + held);
    CHECK(machine.connect(syn(kHere, kFar, 22), false) == "leaves");
    CHECK(machine.upstream(syn(kHere, kFar, 443)) == Fate::leaves);
  }
  SUBCASE("what is only forwarded, with a verdict's type of service") {
    Machine machine(holding(), Dialect::freebsd, "", rdr + own + held);
    auto forwarded = syn("10.9.9.9", kFar, 443, std::nullopt);
    forwarded.tos = pfctl::kTosDivert;
    CHECK(machine.kernel.send(forwarded) == Fate::diverted);
  }
  SUBCASE("tags are lost on lo0") {
    const std::string tagged =
        "rdr pass on lo0 inet proto tcp from any to any port 80 tagged osproxy -> 198.18.0.1 "
        "port 28531\n" +
        own +
        "pass out quick route-to (lo0 127.0.0.1) inet proto tcp from any to any port 80 user >= 0 "
        "flags S/SA tag osproxy keep state\n";
    for (const auto dialect : {Dialect::freebsd, Dialect::darwin}) {
      Machine machine(with_loopback(redirecting()), dialect, "", tagged);
      CHECK(machine.connect(syn(kHere, kFar, 80)) == "lost");
    }
  }
  SUBCASE("IPv6 comes in on lo0, never on lo1") {
    Machine machine(
        redirecting(), Dialect::freebsd, "",
        "rdr pass on lo1 inet6 proto tcp from any to any port 80 -> fdff:6f73::1 port 28531\n" +
            own +
            "pass out quick route-to (lo1 ::1) inet6 proto tcp from any to any port 80 user >= 0 "
            "keep state\n");
    CHECK(machine.connect(syn(kHereV6, kFarV6, 80)) == "lost");
  }
  SUBCASE("answers to a VPN's address go into its tunnel") {
    Machine machine(redirecting(), Dialect::darwin, "",
                    rdr + own +
                        "pass out quick route-to (lo0 127.0.0.1) inet proto tcp from any to ! "
                        "<t> user >= 0 keep state\n");
    machine.kernel.tunnels.insert(boost::asio::ip::make_address(kVpn));
    CHECK(machine.connect(syn(kVpn, kFar, 80)) == "lost");
  }
  SUBCASE("a verdict behind the user's own rules takes them back") {
    for (const auto& [user, other] :
         {std::pair{"block in all\npass out all keep state\n", "leaves, answer blocked"},
          {"block out all\n", "leaves"}}) {
      CAPTURE(user);
      Machine machine(holding(), Dialect::freebsd);
      CHECK(!pfctl::first_to_match(user + std::string("anchor \"osproxy\" all\n"), "osproxy")
                 .empty());
      machine.kernel.load_main("rdr-anchor \"osproxy\" all\n" + std::string(user) +
                               "anchor \"osproxy\" all\n");
      CHECK(machine.connect(syn(kHere, kFar, 22), false) == other);
    }
  }
  SUBCASE("normalization that follows TCP makes a state for what is held") {
    const std::string scrub = "scrub on em0 all reassemble tcp fragment reassemble\n";
    CHECK(!pfctl::first_to_reassemble(scrub).empty());
    for (const bool chosen : {true, false}) {
      Machine machine(holding(), Dialect::freebsd, scrub);
      CHECK(machine.connect(syn(kHere, kFar, 443), chosen) == "held for ever");
    }
    Machine redirects(redirecting(), Dialect::freebsd, scrub);
    CHECK(redirects.connect(syn(kHere, kFar, 443)) == "proxied");
    Machine inbound(holding(), Dialect::freebsd,
                    "scrub in on em0 all reassemble tcp fragment reassemble\n");
    CHECK(inbound.connect(syn(kHere, kFar, 443)) == "proxied");
  }
  SUBCASE("what is translated before it is held is nobody's") {
    const std::string nat = "nat on em0 inet from any to any -> 192.0.2.1\n";
    CHECK(!pfctl::first_to_translate(nat, {boost::asio::ip::make_address(kHere)}).empty());
    for (const bool chosen : {true, false}) {
      Machine machine(holding(), Dialect::freebsd);
      machine.kernel.load_main(nat + "rdr-anchor \"osproxy\" all\nanchor \"osproxy\" all\n");
      machine.kernel.own.insert(boost::asio::ip::make_address("192.0.2.1"));
      CHECK(machine.connect(syn(kHere, kFar, 443), chosen) == "lost");
    }
  }
  SUBCASE("a table's `self` is that of the moment of loading") {
    for (const auto dialect : {Dialect::darwin, Dialect::freebsd}) {
      Machine machine(redirecting(), dialect);
      machine.kernel.own.insert(boost::asio::ip::make_address("10.7.7.7"));
      CHECK(machine.connect(syn("10.7.7.7", "10.7.7.7", 80)) == "goes round for ever");
      machine.kernel.load_anchor(pfctl::anchor_of(dialect),
                                 pfctl::render_pf(machine.rules, dialect).value());
      CHECK(machine.connect(syn("10.7.7.7", "10.7.7.7", 80)) == "arrives");
    }
  }
  SUBCASE("ports of the worker's own range on other machines") {
    auto rules = with_loopback(redirecting());
    rules.ports = {};
    auto text = pfctl::render_pf(rules, Dialect::darwin).value();
    for (auto at = text.find("to <osproxy_own>"); at != text.npos;
         at = text.find("to <osproxy_own>"))
      text.replace(at, 16, "to any");
    Machine machine(rules, Dialect::darwin, "", text);
    CHECK(machine.connect(syn(kHere, kFar, 31000)) == "lost");
  }
  SUBCASE("a refusal under block all") {
    Machine machine(holding(), Dialect::freebsd, "block all\n", rdr + own + held);
    CHECK(machine.kernel.send(
              {.source = at(kFar, 443), .destination = at(kHere, 51000), .flags = "RA"}) ==
          Fate::blocked);
  }
}
