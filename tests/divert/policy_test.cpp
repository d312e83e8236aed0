#include "divert/policy.h"

#include <nlohmann/json.hpp>

#include "tests/test.h"

using namespace divert;

namespace {

procmap::Owner owner(const char* exe, pid_t pid = 100, std::uint64_t cgroup = 0) {
  auto facts = std::make_shared<procmap::ProcessFacts>();
  facts->id = {pid, 1};
  facts->exe = exe;
  facts->name = std::string(exe).substr(std::string(exe).rfind('/') + 1);
  facts->user = "ann";
  facts->uid = 1000;
  facts->ancestors = {{{50, 1}, "/bin/sh"}};
  return {procmap::SocketFacts{1, 1000, 0, cgroup}, facts};
}

Rule rule(Action action) {
  Rule made;
  made.action = action;
  return made;
}

Verdict judge(const Policy& policy, const procmap::Owner& who, const char* where = "192.0.2.1:443") {
  const pid_t own[] = {7, 8};
  const auto back = Policy::from_json(nlohmann::json::from_cbor(nlohmann::json::to_cbor(policy.to_json())));
  REQUIRE(back.has_value());
  const Subject subject{who, *base::parse_endpoint(where)};
  const Verdict verdict = policy.judge(subject, own);
  if (!policy.capture) {  // set by the broker, after the crossing
    CHECK(back->judge(subject, own).action == verdict.action);
    CHECK(back->judge(subject, own).reason == verdict.reason);
  }
  return verdict;
}

}  // namespace

TEST_CASE("policy: own processes pass before anything else") {
  Policy policy;
  policy.rules = {rule(Action::block)};
  const auto verdict = judge(policy, owner("/usr/bin/osproxy", 8));
  CHECK(verdict.action == Action::pass);
  CHECK(verdict.reason == "osproxy itself");
}

TEST_CASE("policy: without rules the filter decides and says so") {
  Policy policy;
  CHECK(judge(policy, owner("/usr/bin/curl")).reason == "no filter");
  policy.filter = *Filter::parse("curl");
  CHECK(judge(policy, owner("/usr/bin/curl")).action == Action::intercept);
  CHECK(judge(policy, owner("/usr/bin/curl")).reason == "selected by the filter curl");
  CHECK(judge(policy, owner("/usr/bin/wget")).action == Action::pass);
  CHECK(judge(policy, owner("/usr/bin/wget")).reason == "not selected by the filter curl");
  CHECK(judge(policy, procmap::Owner{}).action == Action::pass);
}

TEST_CASE("policy: the first rule that holds wins") {
  Policy policy;
  auto ports = rule(Action::block);
  ports.ports = {{25, 25}, {8000, 8100}};
  auto network = rule(Action::pass);
  network.networks = {*base::parse_network("10.0.0.0/8"), *base::parse_network("fd00::/8")};
  auto user = rule(Action::pass);
  user.user = "bob";
  policy.rules = {ports, network, user};
  const struct {
    const char* where;
    Action action;
    const char* reason;
  } cases[] = {
      {"192.0.2.1:25", Action::block, "rule 1"},   {"10.1.2.3:8050", Action::block, "rule 1"},
      {"10.1.2.3:443", Action::pass, "rule 2"},    {"[fd12::1]:443", Action::pass, "rule 2"},
      {"192.0.2.1:443", Action::intercept, "no filter"},
  };
  for (const auto& c : cases) {
    CAPTURE(c.where);
    const auto verdict = judge(policy, owner("/usr/bin/curl"), c.where);
    CHECK(verdict.action == c.action);
    CHECK(verdict.reason == c.reason);
  }
  policy.rules[2].user = "1000";
  CHECK(judge(policy, owner("/usr/bin/curl")).reason == "rule 3");
}

TEST_CASE("policy: a rule without process never draws in what the filter leaves out; one with process does") {
  Policy policy;
  policy.filter = *Filter::parse("curl");
  policy.rules = {rule(Action::block)};
  CHECK(judge(policy, owner("/usr/bin/curl")).action == Action::block);
  CHECK(judge(policy, owner("/usr/bin/wget")).action == Action::pass);
  policy.rules[0].process = *Filter::parse("wget");
  CHECK(judge(policy, owner("/usr/bin/curl")).action == Action::intercept);
  CHECK(judge(policy, owner("/usr/bin/wget")).action == Action::block);
}

TEST_CASE("policy: rules on host wait for the name, in order, up to the first certain rule") {
  Policy policy;
  policy.filter = *Filter::parse("curl");
  auto by_host = rule(Action::block);
  by_host.hosts = {"ads.example.org", "*.tracker.net"};
  auto certain = rule(Action::pass);
  certain.ports = {{443, 443}};
  auto never = rule(Action::intercept);
  never.hosts = {"*.example.org"};
  policy.rules = {by_host, certain, never};
  const auto verdict = judge(policy, owner("/usr/bin/curl"));
  CHECK(verdict.action == Action::pass);
  REQUIRE(verdict.by_host.size() == 1);
  CHECK(policy.settle(verdict, "ADS.example.org.").action == Action::block);
  CHECK(policy.settle(verdict, "a.b.tracker.net").reason == "rule 1, host a.b.tracker.net");
  CHECK(policy.settle(verdict, "tracker.net").action == Action::pass);
  CHECK(policy.settle(verdict, "").reason == "rule 2");
  const auto other_port = judge(policy, owner("/usr/bin/curl"), "192.0.2.1:80");
  CHECK(other_port.by_host.size() == 2);
  CHECK(judge(policy, owner("/usr/bin/wget")).by_host.empty());
}

TEST_CASE("policy: exec selects by cgroup, else by the process tree") {
  Policy policy;
  policy.capture = Capture{99, {50, 1}};
  CHECK(judge(policy, owner("/usr/bin/curl", 100, 99)).reason == "started by exec");
  CHECK(judge(policy, owner("/usr/bin/curl", 100, 98)).action == Action::intercept);  // a descendant of 50
  policy.capture->root = {50, 2};                                                     // a reused pid is another process
  CHECK(judge(policy, owner("/usr/bin/curl", 100, 98)).action == Action::pass);
  CHECK(judge(policy, owner("/usr/bin/curl", 100, 98)).reason == "not started by exec");
  policy.capture->root = {100, 1};
  CHECK(judge(policy, owner("/usr/bin/curl")).action == Action::intercept);
}

TEST_CASE("policy: host patterns") {
  const struct {
    const char *pattern, *host;
    bool expected;
  } cases[] = {
      {"example.org", "EXAMPLE.org", true},    {"example.org", "www.example.org", false}, {"*.example.org", "www.example.org", true},
      {"*.example.org", "a.b.example.org", true}, {"*.example.org", "example.org", false}, {"*.example.org", "badexample.org", false},
      {"192.0.2.1", "192.0.2.1", true},        {"example.org", "", false},                {"example.org", "example.org.", true},
  };
  for (const auto& c : cases) {
    CAPTURE(c.pattern);
    CAPTURE(c.host);
    CHECK(host_matches(c.pattern, c.host) == c.expected);
  }
}

TEST_CASE("policy: data that no policy makes is refused") {
  using nlohmann::json;
  Policy policy;
  policy.rules = {rule(Action::pass)};
  policy.rules[0].ports = {{1, 2}};
  const json good = policy.to_json();
  const auto accepted = [&](auto change) {
    json data = good;
    change(data);
    return Policy::from_json(data).has_value();
  };
  CHECK(accepted([](json&) {}));
  CHECK_FALSE(Policy::from_json(json{}).has_value());
  CHECK_FALSE(accepted([](json& data) { data["rules"][0]["action"] = "maybe"; }));
  CHECK_FALSE(accepted([](json& data) { data["rules"][0]["action"] = 1; }));
  CHECK_FALSE(accepted([](json& data) { data["rules"][0]["ports"] = "80"; }));
  CHECK_FALSE(accepted([](json& data) { data["rules"][0]["ports"][0] = "0"; }));
  CHECK_FALSE(accepted([](json& data) { data["rules"][0]["networks"] = {"10.0.0.1/8"}; }));
  CHECK_FALSE(accepted([](json& data) { data["rules"][0]["process"] = "curl"; }));
  CHECK_FALSE(accepted([](json& data) { data["rules"] = json(std::vector<json>(1001, data["rules"][0])); }));
}
