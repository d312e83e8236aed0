// Rules in a real kernel, each test in a network namespace of its own. Needs root and nft(8).
#include "pfctl/loader.h"

#include <chrono>
#include <functional>
#include <sstream>
#include <thread>

#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>

#include "pfctl/natlook.h"
#include "pfctl/netlink_port.h"
#include "tests/pfctl/landed.h"
#include "tests/pfctl/namespace.h"
#include "tests/test.h"

namespace {

using pfctl_test::Child;
using pfctl_test::Namespace;
using pfctl_test::run;
using pfctl_test::run_anyway;

pfctl::Ruleset minimal() {
  pfctl::Ruleset ruleset;
  ruleset.ports = {{80, 80}, {443, 443}};
  ruleset.exempt_gid = 61234;
  ruleset.listener_v4 = 8899;
  ruleset.listener_v6 = 8898;
  return ruleset;
}

pfctl::Ruleset with(const std::function<void(pfctl::Ruleset&)>& change) {
  auto ruleset = minimal();
  change(ruleset);
  return pfctl::validated(ruleset).value();
}

base::Network network(std::string_view text) {
  return base::parse_network(text).value();
}

// What every kernel with the xtables target can do; nft's own `queue` is missing in some.
pfctl::Queueing held() {
  pfctl::Queueing queueing;
  queueing.first = 28531;
  queueing.count = 2;
  queueing.native = false;
  return queueing;
}

// nft's standard error, which the xtables target provokes in a table of the family inet.
std::string without(std::string text, std::string_view part) {
  for (auto at = text.find(part); at != text.npos; at = text.find(part))
    text.erase(at, part.size());
  return text;
}

// nft lists the xtables target as "... queue num NUMBERS FLAGS".
std::string as_queue(const std::string& line) {
  constexpr std::string_view kTarget = "queue num ";
  const auto at = line.find(kTarget);
  const auto flags = at == line.npos ? at : line.find(' ', at + kTarget.size());
  if (flags == line.npos) return line;
  const auto numbers = line.substr(at + kTarget.size(), flags - at - kTarget.size());
  return line.substr(0, at) + "queue flags " + line.substr(flags + 1) + " to " + numbers;
}

// Without comments: whole lines of ours, and the owner's name that nft puts behind the first line.
std::string stripped(const std::string& text) {
  std::istringstream lines(without(text, "libxtables: unhandled NFPROTO in xtables_set_nfproto\n"));
  std::string result;
  for (std::string line; std::getline(lines, line);) {
    const auto start = line.find_first_not_of(" \t");
    if (start != line.npos && line[start] == '#') continue;
    line = line.substr(0, line.find(" # progname "));
    result += as_queue(line) + "\n";
  }
  return result;
}

std::string listed() {
  return run("nft list table inet osproxy");
}

// What a child process says after it has tried to load.
std::string outcome(const base::Result<pfctl::LoadedRules>& rules) {
  return rules ? "loaded" : rules.error().text;
}

struct Owner {
  Child child{[] {
    static auto rules = pfctl_test::load(minimal());
    return outcome(rules);
  }};
};

bool within_a_second(const std::function<bool()>& holds) {
  for (int i = 0; i < 100; ++i, std::this_thread::sleep_for(std::chrono::milliseconds(10))) {
    if (holds()) return true;
  }
  return false;
}

}  // namespace

TEST_CASE("loader: nft lists exactly the text that was rendered") {
  const Namespace fresh;
  const std::pair<const char*, pfctl::Ruleset> cases[] = {
      {"two ports", with([](auto&) {})},
      {"all ports", with([](auto& r) { r.ports = {}; })},
      {"one port", with([](auto& r) {
         r.ports = {{443, 443}};
       })},
      {"one range", with([](auto& r) {
         r.ports = {{8000, 8100}};
       })},
      {"the whole range", with([](auto& r) {
         r.ports = {{1, 65535}};
       })},
      {"ranges", with([](auto& r) {
         r.ports = {{80, 80}, {443, 443}, {8000, 8100}, {65000, 65535}};
       })},
      {"from port 1", with([](auto& r) {
         r.ports = {{1, 1}, {3, 9}};
       })},
      {"excluded", with([](auto& r) {
         r.excluded = {
             network("10.0.0.0/8"),         network("172.16.0.0/12"),   network("192.0.2.1"),
             network("224.0.0.0/3"),        network("198.51.100.0/31"), network("fe80::/10"),
             network("2001:db8::/32"),      network("2001:db9::/127"),  network("2001:dba::1"),
             network("2001:dbb:8000::/33"), network("64:ff9b::1.2.3.4")};
       })},
      {"everything excluded", with([](auto& r) {
         r.excluded = {network("0.0.0.0/0"), network("::/0")};
       })},
      {"IPv4 only", with([](auto& r) { r.ipv6 = false; })},
      {"IPv6 only", with([](auto& r) { r.ipv4 = false; })},
      {"loopback", with([](auto& r) { r.loopback = true; })},
      {"loopback, all ports, IPv6 only", with([](auto& r) {
         r.loopback = true;
         r.ports = {};
         r.ipv4 = false;
       })},
      {"packet engine", with([](auto& r) {
         r.ports = {};
         r.queueing = held();
       })},
      {"packet engine, copies of DNS", with([](auto& r) {
         r.queueing = held();
         r.queueing->dns_groups = {28531, 28532, 7};
         r.queueing->dns_answers = 65535;
       })},
      {"packet engine, one port", with([](auto& r) {
         r.ports = {{443, 443}};
         r.queueing = held();
       })},
      {"packet engine, some ports, IPv4 only, no QUIC, another bit", with([](auto& r) {
         r.queueing = held();
         r.queueing->mark_bit = 1;
         r.queueing->count = 1;
         r.queueing->quic = false;
         r.ipv6 = false;
       })},
      {"packet engine, loopback, excluded", with([](auto& r) {
         r.queueing = held();
         r.loopback = true;
         r.excluded = {network("10.0.0.0/8"), network("fe80::/10")};
       })},
      {"sockets with programs' users", with([](auto& r) { r.own_mark = 0x10000000; })},
      {"packet engine, sockets with programs' users, another bit", with([](auto& r) {
         r.queueing = held();
         r.own_mark = r.queueing->mark_bit = 1;
       })},
      {"large group", with([](auto& r) { r.exempt_gid = 4294967294; })},
      {"a thousand ports", with([](auto& r) {
         r.ports = {};
         for (std::uint16_t port = 1; port < 2000; port += 2) r.ports.push_back({port, port});
       })},
      {"a thousand ranges", with([](auto& r) {
         r.ports = {};
         for (std::uint16_t port = 1; port < 3000; port += 3) {
           r.ports.push_back({port, static_cast<std::uint16_t>(port + 1)});
         }
       })},
  };
  for (const auto& [name, ruleset] : cases) {
    CAPTURE(name);
    const auto rules = pfctl_test::load(ruleset);
    REQUIRE(rules);
    CHECK(rules->text() == pfctl::render_nft(ruleset));
    CHECK(stripped(listed()) == stripped(rules->text()));
  }
}

TEST_CASE("loader: nft itself makes the same table of our text") {
  const Namespace fresh;
  const auto ruleset = with([](auto& r) {
    r.ports = {{80, 80}, {8000, 8100}};
    r.excluded = {network("10.0.0.0/8"), network("fe80::/10")};
    r.loopback = true;
  });
  std::string text = pfctl::render_nft(ruleset);
  text.replace(text.find("\tflags owner\n\n"), 14, "");  // or it would be gone when nft ends
  const std::string ours = stripped(text);
  run(fmt::format("nft -f - <<'END'\n{}END", text));
  CHECK(stripped(listed()) == ours);
}

TEST_CASE("loader: ten thousand excluded networks go in one batch") {
  const Namespace fresh;
  const auto rules = pfctl_test::load(with([](auto& r) {
    for (std::uint32_t i = 0; i < 10000; ++i) {
      r.excluded.push_back({boost::asio::ip::address_v4(0x0a000000 + 2 * i), 32});
    }
  }));
  REQUIRE(rules);
  CHECK(stripped(listed()) == stripped(rules->text()));
}

TEST_CASE("loader: rules are gone with the object, and can be loaded again") {
  const Namespace fresh;
  for (int i = 0; i < 3; ++i) {
    const auto rules = pfctl_test::load(minimal());
    REQUIRE(rules);
    CHECK(pfctl::rules_owner().value() == ::getpid());
  }
  CHECK(pfctl::rules_owner().value() == 0);
  CHECK(run("nft list ruleset").empty());
}

TEST_CASE("loader: a moved object still holds the rules") {
  const Namespace fresh;
  auto rules = pfctl_test::load(minimal());
  REQUIRE(rules);
  const pfctl::LoadedRules kept = std::move(*rules);
  CHECK(stripped(listed()) == stripped(kept.text()));
}

TEST_CASE("loader: rules vanish when their process is killed") {
  const Namespace fresh;
  Owner owner;
  REQUIRE(owner.child.said() == "loaded");
  CHECK(pfctl::rules_owner().value() == owner.child.pid());
  owner.child.kill();
  CHECK(within_a_second([] { return run_anyway("nft list ruleset").empty(); }));
  CHECK(pfctl::rules_owner().value() == 0);
}

TEST_CASE(
    "loader: what keeps addresses translated outlives the rules, and goes with its descriptor") {
  const Namespace fresh;
  auto kept = pfctl::keep_translating();
  REQUIRE(kept);
  Owner owner;
  REQUIRE(owner.child.said() == "loaded");
  owner.child.kill();
  const std::string left = fmt::format("table inet osproxy_guard_{} {{ # progname", ::getpid());
  CHECK(within_a_second([&] { return run("nft list ruleset").starts_with(left); }));
  CHECK(pfctl::rules_owner().value() == 0);
  kept->reset();
  CHECK(within_a_second([] { return run("nft list ruleset").empty(); }));
}

TEST_CASE("loader: copies of first packets come from a table that decides nothing, beside others") {
  const Namespace fresh;
  const auto rules = pfctl_test::load(minimal());
  REQUIRE(rules);
  auto copies = pfctl::copy_first_packets(4711);
  REQUIRE(copies);
  const std::string table = fmt::format("inet osproxy_who_{}", ::getpid());
  const std::string text = run("nft list table " + table);
  for (const char* part :
       {"type filter hook output priority mangle - 1; policy accept;",
        "tcp flags syn / fin,syn,rst,ack log group 4711",
        "udp dport 53 limit rate 2000/second burst 1000 packets log group 4711",
        "type filter hook input priority mangle - 1; policy accept;",
        "udp sport 53 limit rate 2000/second burst 1000 packets log group 4711"}) {
    CHECK_MESSAGE(text.find(part) != text.npos, part, " in ", text);
  }
  for (const char* part : {"drop", " queue ", "redirect", "ct ", "reject"})
    CHECK_MESSAGE(text.find(part) == text.npos, part, " in ", text);
  copies->reset();
  CHECK(within_a_second(
      [&] { return run_anyway("nft list tables").find("_who_") == std::string::npos; }));
  CHECK(stripped(listed()) == stripped(rules->text()));
}

TEST_CASE("loader: a program that was started meanwhile does not keep the rules alive") {
  const Namespace fresh;
  Child owner([] {
    static auto rules = pfctl_test::load(minimal());
    const pid_t sleeper = ::fork();
    if (sleeper == 0) ::execl("/bin/sleep", "sleep", "30", nullptr);
    return rules ? std::to_string(sleeper) : rules.error().text;
  });
  const std::string sleeper = owner.said();
  const std::string exe = "readlink /proc/" + sleeper + "/exe";
  REQUIRE(within_a_second([&] { return run_anyway(exe).ends_with("sleep\n"); }));
  owner.kill();
  CHECK(within_a_second([] { return run_anyway("nft list ruleset").empty(); }));
  CHECK(run(exe).ends_with("sleep\n"));
  run("kill " + sleeper);
}

TEST_CASE("loader: nobody else can flush or change the rules") {
  const Namespace fresh;
  const auto rules = pfctl_test::load(minimal());
  REQUIRE(rules);
  run("nft flush ruleset");
  CHECK(stripped(listed()) == stripped(rules->text()));
  CHECK(run_anyway("nft delete table inet osproxy").find("not permitted") != std::string::npos);
  CHECK(run_anyway("nft add rule inet osproxy divert accept").find("not permitted") !=
        std::string::npos);
  CHECK(stripped(listed()) == stripped(rules->text()));
}

TEST_CASE("loader: a second load is refused and names the first one's pid") {
  const Namespace fresh;
  const Owner owner;
  REQUIRE(owner.child.said() == "loaded");
  const auto second = pfctl_test::load(minimal());
  REQUIRE(second.has_error());
  CHECK(second.error().text ==
        fmt::format("another osproxy (pid {}) runs in this network namespace; end it first",
                    owner.child.pid()));
  CHECK(pfctl::rules_owner().value() == owner.child.pid());
}

TEST_CASE("loader: the owner is found by its socket when the port is not its pid") {
  const Namespace fresh;
  const Child owner([] {
    // The first netfilter socket of a process takes its pid as port.
    static auto first = pfctl::Natlook::open();
    static auto rules = pfctl_test::load(minimal());
    return outcome(rules);
  });
  REQUIRE(owner.said() == "loaded");
  CHECK(pfctl::rules_owner().value() == owner.pid());
  CHECK_FALSE(pfctl::process_of_netfilter_port(1));
}

TEST_CASE("loader: an owner in a process that cannot be seen is not guessed at") {
  const Namespace fresh;
  const Owner owner;
  REQUIRE(owner.child.said() == "loaded");
  // A pid namespace with a /proc of its own in which the owner does not exist.
  const Child inside([] {
    if (::unshare(CLONE_NEWPID | CLONE_NEWNS) != 0) return std::string("cannot unshare");
    const Child in_it([] {
      if (std::system("mount -t proc -o nosuid proc /proc") != 0)
        return std::string("cannot mount");
      return fmt::format("{}; {}", pfctl::rules_owner().value(),
                         outcome(pfctl_test::load(minimal())));
    });
    return in_it.said();
  });
  CHECK(inside.said() ==
        "-2; another osproxy runs in this network namespace, in a process that cannot be seen "
        "from here; end it first");
}

TEST_CASE("loader: a left-over table is named, and removed only by cleanup") {
  const Namespace fresh;
  run("nft add table inet osproxy; nft add table ip other");
  CHECK(pfctl::rules_owner().value() == pfctl::kNoOwner);
  const auto refused = pfctl_test::load(minimal());
  REQUIRE(refused.has_error());
  CHECK(refused.error().text ==
        "an nftables table inet osproxy that belongs to no running osproxy is in the way; remove "
        "it with: osproxy cleanup");
  CHECK(pfctl::remove_stale_rules().value() ==
        std::vector<std::string>{"removed the table inet osproxy"});
  CHECK(pfctl::remove_stale_rules().value().empty());
  CHECK(run("nft list tables") == "table ip other\n");
  CHECK(pfctl_test::load(minimal()));
}

TEST_CASE("loader: cleanup leaves the rules of a running osproxy alone") {
  const Namespace fresh;
  const Owner owner;
  REQUIRE(owner.child.said() == "loaded");
  CHECK(pfctl::remove_stale_rules().value().empty());
  CHECK(pfctl::rules_owner().value() == owner.child.pid());
}

TEST_CASE("loader: a batch that fails at its last message leaves nothing behind") {
  const Namespace fresh;
  auto ruleset = minimal();
  ruleset.ipv6 = false;
  ruleset.ports = {{80, 90}, {85, 95}};  // as validated() never makes them
  const auto rules = pfctl_test::load(ruleset);
  REQUIRE(rules.has_error());
  const std::string reason =
      "refuses the packet-filter rule 'meta nfproto ipv4 tcp "
      "dport { 80-90, 85-95 } redirect to :8899': ";
  CHECK(rules.error().text.find(reason) != std::string::npos);
  CHECK(run("nft list ruleset").empty());
  CHECK(pfctl_test::load(with([](auto&) {})));
}

TEST_CASE("loader: without privilege the error says so") {
  const Namespace fresh;
  const Child nobody([] {
    if (::setgid(65534) != 0 || ::setuid(65534) != 0) return std::string("cannot drop privileges");
    return fmt::format("{}\n{}\n{}", outcome(pfctl_test::load(minimal())),
                       pfctl::rules_owner().error().text, pfctl::remove_stale_rules().error().text);
  });
  CHECK(nobody.said() ==
        "cannot change packet-filter rules: no permission; run as root (CAP_NET_ADMIN in this "
        "network namespace)\n"
        "cannot read packet-filter rules: no permission; run as root (CAP_NET_ADMIN in this "
        "network namespace)\n"
        "cannot change packet-filter rules: no permission; run as root (CAP_NET_ADMIN in this "
        "network namespace)");
}
