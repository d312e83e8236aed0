// Rules, filter and capture together; hosts; and the way to the broker.
#include "divert/policy/policy.h"

#include <array>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "tests/test.h"

namespace {

using divert::Action;
using divert::Policy;
using divert::ProgramFilter;
using divert::Rule;
using divert::Verdict;
using procmap::Owner;

ProgramFilter filter(std::string_view spec) {
  auto parsed = ProgramFilter::parse(spec);
  REQUIRE(parsed);
  return *parsed;
}

Owner owner(std::string exe, pid_t pid = 100) {
  procmap::ProcessFacts facts;
  facts.id = {pid, 5000};
  facts.name = exe.substr(exe.rfind('/') + 1);
  facts.exe = std::move(exe);
  facts.uid = 1000;
  facts.user = "alice";
  facts.ancestors = {{{50, 400}, "/bin/bash"}, {{1, 1}, "/sbin/init"}};
  return {procmap::SocketFacts{7, 1000, 0, 4242},
          std::make_shared<const procmap::ProcessFacts>(std::move(facts))};
}

const Owner kCurl = owner("/usr/bin/curl");
const Owner kWget = owner("/usr/bin/wget", 101);
const Owner kUnknown{procmap::SocketFacts{7, 1000, 0, 4242}, nullptr};
const Owner kGone{};
const Owner kLate{procmap::SocketFacts{7, 1000, 0, 4242}, nullptr, -1, false};

Verdict judge(const Policy& policy, const Owner& who, std::string_view to = "192.0.2.1:443") {
  const std::array<pid_t, 2> own{900, 901};
  // Whatever a policy says here it says in the broker as well.
  const auto copy =
      Policy::from_json(nlohmann::json::from_cbor(nlohmann::json::to_cbor(policy.to_json())));
  REQUIRE(copy);
  const auto destination = base::parse_endpoint(to);
  REQUIRE(destination);
  const auto verdict = policy.judge({who, *destination}, own);
  const auto there = copy->judge({who, *destination}, own);
  CHECK(there.action == verdict.action);
  CHECK(there.reason == verdict.reason);
  CHECK(there.by_host.size() == verdict.by_host.size());
  return verdict;
}

Policy policy(std::string_view spec, std::vector<Rule> rules = {}) {
  Policy made;
  made.filter = filter(spec);
  made.rules = std::move(rules);
  return made;
}

Rule rule(Action action) {
  Rule made;
  made.action = action;
  return made;
}

Rule host_rule(Action action, std::vector<std::string> hosts) {
  Rule made = rule(action);
  made.hosts = std::move(hosts);
  return made;
}

}  // namespace

TEST_CASE("policy: the filter decides when there are no rules") {
  struct Case {
    std::string_view spec;
    const Owner& who;
    Action action;
    std::string_view reason;
  };
  for (const auto& [spec, who, action, reason] : {
           Case{"curl", kCurl, Action::intercept, "filter curl"},
           {"curl", kWget, Action::pass, "not selected by the filter curl"},
           {"curl", kUnknown, Action::pass, "owner unknown, not selected by the filter curl"},
           {"curl,unknown", kGone, Action::intercept, "filter curl,unknown"},
           {"!curl", kWget, Action::intercept, "filter !curl"},
           {"!curl", kUnknown, Action::pass, "owner unknown, not selected by the filter !curl"},
           {"", kWget, Action::intercept, "no filter: everything"},
           {"", kUnknown, Action::intercept, "no filter: everything"},
           {"curl", kLate, Action::pass,
            "owner not found in time, not selected by the filter curl"},
           {"curl,unknown", kLate, Action::intercept,
            "owner not found in time, filter curl,unknown"},
           {"", kLate, Action::intercept, "owner not found in time, no filter: everything"},
       }) {
    CAPTURE(spec);
    const auto verdict = judge(policy(spec), who);
    CHECK(verdict.action == action);
    CHECK(verdict.reason == reason);
    CHECK(verdict.by_host.empty());
  }
}

TEST_CASE("policy: an unknown owner is told by its socket's user and cgroup") {
  Owner named = kUnknown;
  named.socket->user = "alice";
  named.socket->cgroup = "/user.slice/a";
  CHECK(judge(policy("user:alice"), named).action == Action::intercept);
  CHECK(judge(policy("user:bob"), named).action == Action::pass);
  CHECK(judge(policy("cgroup:/user.slice"), named).action == Action::intercept);
  Rule by_user = rule(Action::block);
  by_user.user = "alice";
  CHECK(judge(policy("", {by_user}), named).action == Action::block);
  named.socket->uid_known = false;
  named.socket->user.clear();
  by_user.user = "1000";
  CHECK(judge(policy("", {by_user}), named).action == Action::intercept);
}

TEST_CASE("policy: our own processes pass before any rule") {
  auto everything = rule(Action::block);
  everything.process = filter("");
  const auto verdict = judge(policy("", {everything}), owner("/usr/bin/osproxy", 901));
  CHECK(verdict.action == Action::pass);
  CHECK(verdict.reason == "osproxy itself");
  CHECK(judge(policy("", {everything}), owner("/usr/bin/osproxy", 902)).action == Action::block);
}

TEST_CASE("policy: a rule without a process draws nobody in, one with a process does") {
  auto general = rule(Action::block);
  auto wget = rule(Action::intercept);
  wget.process = filter("wget");
  CHECK(judge(policy("curl", {general}), kCurl).action == Action::block);
  CHECK(judge(policy("curl", {general}), kWget).action == Action::pass);
  const auto drawn = judge(policy("curl", {wget}), kWget);
  CHECK(drawn.action == Action::intercept);
  CHECK(drawn.reason == "rules[0]");
  CHECK(judge(policy("curl", {wget}), kCurl).reason == "filter curl");
  auto unknown = rule(Action::block);
  unknown.process = filter("unknown");
  CHECK(judge(policy("curl", {unknown}), kUnknown).action == Action::block);
  CHECK(judge(policy("curl", {general}), kUnknown).action == Action::pass);
  CHECK(judge(policy("", {general}), kUnknown).action == Action::block);
}

TEST_CASE("policy: every condition that is there must hold") {
  auto narrow = rule(Action::block);
  narrow.ports = {{443, 443}, {8000, 8100}};
  narrow.networks = {*base::parse_network("192.0.2.0/24"), *base::parse_network("2001:db8::/32")};
  narrow.user = "alice";
  const auto ruled = policy("", {narrow});
  CHECK(judge(ruled, kCurl, "192.0.2.1:443").action == Action::block);
  CHECK(judge(ruled, kCurl, "[2001:db8::1]:8050").action == Action::block);
  CHECK(judge(ruled, kCurl, "[::ffff:192.0.2.9]:443").action == Action::block);
  CHECK(judge(ruled, kCurl, "192.0.2.1:80").action == Action::intercept);
  CHECK(judge(ruled, kCurl, "198.51.100.1:443").action == Action::intercept);
  narrow.user = "bob";
  CHECK(judge(policy("", {narrow}), kCurl).action == Action::intercept);
  narrow.user = "1000";
  CHECK(judge(policy("", {narrow}), kCurl).action == Action::block);
  CHECK(judge(policy("", {narrow}), kUnknown).action == Action::block);  // the uid is the socket's
  CHECK(judge(policy("", {narrow}), kGone).action == Action::intercept);
}

TEST_CASE("policy: the first rule that holds decides") {
  auto first = rule(Action::pass);
  first.ports = {{443, 443}};
  auto second = rule(Action::block);
  const auto ruled = policy("curl", {first, second});
  CHECK(judge(ruled, kCurl, "192.0.2.1:443").reason == "rules[0]");
  CHECK(judge(ruled, kCurl, "192.0.2.1:80").reason == "rules[1]");
  CHECK(judge(ruled, kCurl, "192.0.2.1:80").action == Action::block);
}

TEST_CASE("policy: rules on hosts wait for the name") {
  auto web = rule(Action::pass);
  web.ports = {{443, 443}};
  const auto ruled = policy("curl", {host_rule(Action::block, {"ads.example.org"}), web,
                                     host_rule(Action::pass, {"*.example.org"})});
  SUBCASE("up to the first rule that decides without one") {
    const auto verdict = judge(ruled, kCurl, "192.0.2.1:443");
    CHECK(verdict.action == Action::pass);
    CHECK(verdict.reason == "rules[1]");
    REQUIRE(verdict.by_host.size() == 1);
    CHECK(verdict.by_host[0].rule == 0);
    CHECK(verdict.rule == 1);
    CHECK(ruled.settle(verdict, "ads.example.org").rule == 0);
    CHECK(ruled.settle(verdict, "www.example.com").rule == 1);
    CHECK(ruled.settle(verdict, "ads.example.org").action == Action::block);
    CHECK(ruled.settle(verdict, "ADS.example.org.").reason == "rules[0], host ADS.example.org.");
    CHECK(ruled.settle(verdict, "www.example.org").action == Action::pass);
    CHECK(ruled.settle(verdict, "www.example.org").reason == "rules[1]");
  }
  SUBCASE("down to the filter") {
    const auto verdict = judge(ruled, kCurl, "192.0.2.1:80");
    CHECK(verdict.action == Action::intercept);
    REQUIRE(verdict.by_host.size() == 2);
    CHECK(ruled.settle(verdict, "ads.example.org").reason == "rules[0], host ads.example.org");
    CHECK(ruled.settle(verdict, "www.example.org").action == Action::pass);
    CHECK(ruled.settle(verdict, "").action == Action::intercept);
    CHECK(ruled.settle(verdict, "").reason == "filter curl");
    CHECK(ruled.settle(verdict, "example.com").action == Action::intercept);
    CHECK(ruled.settle(verdict, "example.com").by_host.empty());
  }
  SUBCASE("not of programs that are not selected") {
    CHECK(judge(ruled, kWget).by_host.empty());
  }
  SUBCASE("unless the rule names them") {
    auto drawn = host_rule(Action::intercept, {"example.org"});
    drawn.process = filter("wget");
    const auto named = policy("curl", {drawn});
    const auto verdict = judge(named, kWget);
    CHECK(verdict.action == Action::pass);
    REQUIRE(verdict.by_host.size() == 1);
    CHECK(named.settle(verdict, "example.org").action == Action::intercept);
    CHECK(named.settle(verdict, "example.com").action == Action::pass);
  }
}

TEST_CASE("policy: an address among a rule's hosts is that of the server, whatever it is called") {
  for (const auto& [pattern, to] : {std::pair{"192.0.2.1", "192.0.2.1:443"},
                                    {"192.0.2.1", "[::ffff:192.0.2.1]:443"},
                                    {"2001:db8::1", "[2001:db8::1]:443"}}) {
    CAPTURE(to);
    const auto rules = policy("", {host_rule(Action::pass, {"other.test"}),
                                   host_rule(Action::block, {"example.org", pattern})});
    const auto verdict = judge(rules, kCurl, to);
    CHECK(verdict.action == Action::block);
    CHECK(verdict.reason == fmt::format("rules[1], host {}", pattern));
    CHECK(verdict.rule == 1);
    // Rules before it may still decide by the name, those behind it do not.
    REQUIRE(verdict.by_host.size() == 1);
    CHECK(rules.settle(verdict, "other.test").action == Action::pass);
    CHECK(rules.settle(verdict, "example.org").action == Action::block);
    CHECK(rules.settle(verdict, "").action == Action::block);
    const auto elsewhere = judge(rules, kCurl, "192.0.2.9:443");
    CHECK(elsewhere.action == Action::intercept);
    CHECK(rules.settle(elsewhere, pattern).action == Action::block);
  }
}

TEST_CASE("policy: whether a connection may go through a proxy") {
  Rule direct, proxied, passing, all_direct;
  direct.hosts = {"direct.test"};
  direct.upstream = "direct";
  proxied.hosts = {"proxied.test"};
  proxied.upstream = "socks5://192.0.2.9:1080";
  passing.hosts = {"pass.test"};
  passing.action = Action::pass;
  all_direct.ports = {{443, 443}};
  all_direct.upstream = "direct";
  const struct {
    std::string upstream;
    std::vector<Rule> rules;
    const Owner& who;
    bool straight;
  } cases[] = {
      {"", {}, kCurl, true},
      {"direct", {}, kCurl, true},
      {"", {direct, passing}, kCurl, true},
      {"", {proxied}, kCurl, false},
      {"", {proxied}, kWget, true},
      {"http://192.0.2.9:3128", {}, kCurl, false},
      {"http://192.0.2.9:3128", {}, kWget, true},
      {"http://192.0.2.9:3128", {direct}, kCurl, false},
      {"http://192.0.2.9:3128", {all_direct}, kCurl, true},
  };
  for (const auto& one : cases) {
    CAPTURE(one.upstream);
    auto made = policy("curl", one.rules);
    made.upstream = one.upstream;
    CHECK(made.goes_straight(judge(made, one.who)) == one.straight);
  }
  Verdict of_another;
  of_another.by_host.push_back({500, Action::intercept});
  CHECK(policy("").goes_straight(of_another));
}

TEST_CASE("policy: a verdict of another policy's rules is settled without harm") {
  Verdict verdict;
  verdict.by_host.push_back({500, Action::block});
  CHECK(policy("").settle(verdict, "example.org").action == Action::pass);
}

TEST_CASE("policy: a capture takes the filter's place") {
  auto exec = policy("wget");
  exec.capture = divert::ExecScope{4242, {77, 1}};
  CHECK(judge(exec, kCurl).action == Action::intercept);
  CHECK(judge(exec, kCurl).reason == "started by exec");
  CHECK(judge(exec, kUnknown).action == Action::intercept);  // the socket's cgroup is enough
  exec.capture = divert::ExecScope{4243, {77, 1}};
  CHECK(judge(exec, kWget).action == Action::pass);
  CHECK(judge(exec, kWget).reason == "not started by exec");
  CHECK(judge(exec, kUnknown).action == Action::pass);
  CHECK(judge(exec, kGone).action == Action::pass);
  exec.capture = divert::ExecScope{0, {50, 400}};
  CHECK(judge(exec, kCurl).action == Action::intercept);
  exec.capture = divert::ExecScope{0, {50, 401}};  // the pid was used again
  CHECK(judge(exec, kCurl).action == Action::pass);
  exec.capture = divert::ExecScope{0, {100, 5000}};
  CHECK(judge(exec, kCurl).action == Action::intercept);
  exec.rules = {rule(Action::block)};
  CHECK(judge(exec, kCurl).action == Action::block);
  CHECK(judge(exec, kWget).action == Action::pass);
}

TEST_CASE("policy: a process with the group of a capture is captured, wherever it comes from") {
  auto exec = policy("");
  procmap::ProcessFacts orphan = *kCurl.process;
  orphan.gid = 77'000;
  orphan.ancestors.clear();
  const Owner who{kCurl.socket, std::make_shared<const procmap::ProcessFacts>(orphan)};
  exec.capture = divert::ExecScope{0, {77, 1}, 77'000};
  CHECK(judge(exec, who).action == Action::intercept);
  CHECK(judge(exec, kCurl).action == Action::pass);
  exec.capture->gid = 0;  // none of their own: root's group is nobody's mark
  orphan.gid = 0;
  CHECK(judge(exec, {kCurl.socket, std::make_shared<const procmap::ProcessFacts>(orphan)}).action ==
        Action::pass);
}

TEST_CASE("policy: cgroup id 0 is no cgroup") {
  auto exec = policy("");
  exec.capture = divert::ExecScope{0, {77, 1}};
  Owner old_kernel = kUnknown;
  old_kernel.socket->cgroup_id = 0;
  CHECK(judge(exec, old_kernel).action == Action::pass);
}

TEST_CASE("policy: what JSON brings in is checked whole") {
  using nlohmann::json;
  auto full = host_rule(Action::block, {"example.org"});
  full.process = filter("curl,~x");
  full.ports = {{1, 65535}};
  full.networks = {*base::parse_network("fe80::/10")};
  full.user = "alice";
  full.upstream = "direct";
  auto whole = policy("curl", {full});
  whole.capture = divert::ExecScope{~0ULL, {77, ~0ULL}};
  whole.upstream = "http://p:1";
  const json good = whole.to_json();
  const auto back = Policy::from_json(good);
  REQUIRE(back);
  CHECK(back->to_json() == good);
  CHECK(back->capture->root.start_ticks == ~0ULL);
  CHECK(back->upstream == "http://p:1");
  CHECK(back->rules[0].upstream == "direct");

  const auto refused = [&](auto change) {
    json data = good;
    change(data);
    const auto result = Policy::from_json(data);
    return result ? std::string() : result.error().text;
  };
  for (const json& bad : {json(), json(1), json::array(), json::object()})
    CHECK_FALSE(Policy::from_json(bad));
  CHECK(refused([](json& d) { d.erase("filter"); }) == "policy: not an object of its keys");
  CHECK(refused([](json& d) { d["x"] = 1; }) == "policy: not an object of its keys");
  CHECK(refused([](json& d) { d["filter"] = "curl"; }) ==
        "filter: not an object of text and items");
  CHECK(refused([](json& d) { d["rules"] = 1; }) == "policy: rules is not a list");
  CHECK(refused([](json& d) { d["rules"][0] = 1; }) ==
        "rules[0]: is not an object of a rule's keys");
  CHECK(refused([](json& d) { d["rules"][0]["hosst"] = 1; }) ==
        "rules[0]: is not an object of a rule's keys");
  CHECK(refused([](json& d) { d["rules"][0]["action"] = "drop"; }) ==
        "rules[0]: action: expected intercept, pass or block");
  CHECK(refused([](json& d) { d["rules"][0]["action"] = 1; }) ==
        "rules[0]: action: expected intercept, pass or block");
  CHECK(refused([](json& d) { d["rules"][0]["hosts"] = "x"; }) == "rules[0]: hosts is not a list");
  CHECK(refused([](json& d) { d["rules"][0]["hosts"][0] = 5; }) ==
        "rules[0]: hosts holds something that is not text");
  CHECK(refused([](json& d) {
          d["rules"][0]["hosts"][0] = "a b";
        }).starts_with("rules[0]: 'a b' is not a host"));
  CHECK(refused([](json& d) {
          d["rules"][0]["ports"][0] = "0";
        }).starts_with("rules[0]: '0' is not a port"));
  CHECK(refused([](json& d) {
          d["rules"][0]["networks"][0] = "x";
        }).starts_with("rules[0]: 'x' is not a network"));
  CHECK(refused([](json& d) {
          d["rules"][0]["ports"] = json::array();
          for (int i = 0; i < 1001; ++i) d["rules"][0]["ports"].push_back("1");
        }) == "rules[0]: ports has 1001 entries; expected at most 1000");
  CHECK(refused([](json& d) { d["rules"][0]["user"] = ""; }) ==
        "rules[0]: user is not a login name or a uid");
  CHECK(refused([](json& d) { d["rules"][0]["process"]["items"][1]["text"] = "["; }) ==
        "rules[0]: filter 'curl,~x': item 2 is not a regular expression: missing ]: [");
  CHECK(refused([](json& d) { d["rules"][0]["upstream"] = 1; }) ==
        "rules[0]: upstream is no text of at most 1024 bytes");
  CHECK(refused([](json& d) { d["upstream"] = std::string(1025, 'x'); }) ==
        "policy: upstream is no text of at most 1024 bytes");
  CHECK_FALSE(refused([](json& d) { d["capture"]["pid"] = -1; }).empty());
  CHECK_FALSE(refused([](json& d) { d["capture"]["pid"] = 1ULL << 40; }).empty());
  CHECK_FALSE(refused([](json& d) { d["capture"]["pid"] = 1.5; }).empty());
  CHECK_FALSE(refused([](json& d) { d["capture"]["cgroup_id"] = "1"; }).empty());
  CHECK_FALSE(refused([](json& d) { d["capture"] = nullptr; }).empty());
}

TEST_CASE("policy: sizes are limited") {
  auto many = policy("", std::vector<Rule>(Policy::kMaxRules, rule(Action::pass)));
  CHECK(Policy::from_json(many.to_json()));
  many.rules.push_back(rule(Action::pass));
  CHECK(Policy::from_json(many.to_json()).error().text ==
        "policy: 1005 rules; expected at most 1004");
  std::string items = "a";
  for (std::size_t i = 1; i < ProgramFilter::kMaxItems; ++i) items += ",a";
  auto wide = rule(Action::pass);
  wide.process = filter(items);
  CHECK(Policy::from_json(policy("", std::vector<Rule>(10, wide)).to_json()));
  CHECK(Policy::from_json(policy("", std::vector<Rule>(11, wide)).to_json()).error().text ==
        "policy: the filters of 11 rules have more than 10000 items together");
}

TEST_CASE("policy: a rule's name is in the reason") {
  auto named = policy("", {rule(Action::block)});
  named.rules[0].name = "--block";
  CHECK(judge(named, kCurl, "192.0.2.1:443").reason == "--block");
  const auto back =
      Policy::from_json(nlohmann::json::from_cbor(nlohmann::json::to_cbor(named.to_json())));
  REQUIRE(back);
  CHECK(back->rules[0].name == "--block");
  auto data = named.to_json();
  for (const auto& bad :
       {nlohmann::json(""), nlohmann::json(1), nlohmann::json(std::string(65, 'x'))}) {
    data["rules"][0]["name"] = bad;
    CHECK_FALSE(Policy::from_json(data));
  }
}
