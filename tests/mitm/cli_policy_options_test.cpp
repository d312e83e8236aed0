#include "mitm/cli/options.h"
#include "mitm/cli/policy_options.h"
#include "tests/mitm/cli_settings.h"

namespace mitm::cli {
namespace {

using nlohmann::json;
using test::settings_of;
using test::texts;
using test::with_rules;

std::string rule_error(const std::string& rules) {
  const auto parsed = with_rules(json::parse(rules));
  return parsed ? "no error" : parsed.error().text;
}

}  // namespace

TEST_CASE("policy_options: rules are read") {
  const auto settings = with_rules(json::parse(R"([
    {"action": "pass"},
    {"host": ["*.Bank.example.", "192.0.2.1"], "port": [80, "8000-8100"], "network": "10.0.0.0/8",
     "user": "ann", "process": ["=wget", "!curl"],
     "action": "block"},
    {"port": 443,
     "user": 1000, "process": "a,b", "action": "intercept", "upstream": "http://a:b@p:1"}])"));
  REQUIRE(settings);
  const std::vector<divert::Rule>* const rules = &settings->rules;
  REQUIRE(rules->size() == 3);
  CHECK(rules->at(0).action == divert::Action::pass);
  CHECK_FALSE(rules->at(0).process);
  CHECK_FALSE(rules->at(0).user);
  const divert::Rule& full = rules->at(1);
  CHECK(full.action == divert::Action::block);
  CHECK(full.hosts == std::vector<std::string>{"*.bank.example", "192.0.2.1"});
  CHECK(texts(full.ports) == "80 8000-8100");
  CHECK(texts(full.networks) == "10.0.0.0/8");
  CHECK(full.user == "ann");
  CHECK(full.process->text() == "=wget,!curl");
  CHECK(texts(rules->at(2).ports) == "443");
  CHECK(rules->at(2).upstream == "http://a:b@p:1");
  CHECK_FALSE(full.upstream);
  CHECK(rules->at(2).user == "1000");
  CHECK(rules->at(2).process->text() == "a,b");
}

TEST_CASE("policy_options: every error of a rule has its place") {
  struct Case {
    std::string rules, error;
  };
  const std::string hosts =
      "; expected a name, *.name for all below it, or an address, without a port; for example "
      "example.org, *.example.org, 192.0.2.1";
  const Case cases[] = {
      {R"([{}])", "[0].action: expected intercept, pass or block, found none"},
      {R"([{"action": "drop"}])", R"([0].action: expected intercept, pass or block, found "drop")"},
      {R"([{"action": ["pass"]}])",
       R"([0].action: expected intercept, pass or block, found ["pass"])"},
      {R"([{"action": "pass"}, {"action": "pass", "hosts": "x"}])",
       "[1].hosts: unknown key; did you mean host?"},
      {R"([{"action": "pass", "colour": "x"}])",
       "[0].colour: unknown key; expected one of action, process, host, port, network, user, "
       "upstream"},
      {R"([{"action": "pass", "host": 1}])",
       "[0].host: expected a string or a list of strings, found 1"},
      {R"([{"action": "pass", "host": []}])",
       "[0].host: expected a string or a list of strings, found []"},
      {R"([{"action": "pass", "host": ["a", 1]}])",
       R"([0].host: expected a string or a list of strings, found ["a",1])"},
      {R"([{"action": "pass", "host": "a:80"}])", "[0].host: 'a:80' is not a host" + hosts},
      {R"([{"action": "pass", "host": ["good.example", "a b"]}])",
       "[0].host: 'a b' is not a host" + hosts},
      {R"([{"action": "pass", "port": true}])",
       "[0].port: expected a port, a range of ports or a list of them, found true"},
      {R"([{"action": "pass", "port": -1}])",
       "[0].port: expected a port, a range of ports or a list of them, found -1"},
      {R"([{"action": "pass", "port": 0}])",
       "[0].port: '0' is not a port or a range of ports; expected for example 443 or 8000-8100"},
      {R"([{"action": "pass", "port": 70000}])",
       "[0].port: '70000' is not a port or a "
       "range of ports; expected for example 443 or 8000-8100"},
      {R"([{"action": "pass", "port": ["80", "x"]}])",
       "[0].port: 'x' is not a port or a range of ports; expected for example 443 or 8000-8100"},
      {R"([{"action": "pass", "network": "10.0.0.1/8"}])",
       "[0].network: '10.0.0.1/8' has host bits set; the network is 10.0.0.0/8"},
      {R"([{"action": "pass", "network": {"a": 1}}])",
       R"([0].network: expected a string or a list of strings, found {"a":1})"},
      {R"([{"action": "pass", "user": ""}])", "[0].user: expected one user name or number"},
      {R"([{"action": "pass", "user": ["a", "b"]}])", "[0].user: expected one user name or number"},
      {R"([{"action": "pass", "user": true}])",
       "[0].user: expected one user name or number, found true"},
      {R"([{"action": "pass", "upstream": "direct"}])",
       "[0].upstream: goes with the action intercept: what passes goes straight to its server"},
      {R"([{"action": "intercept", "upstream": ["direct", "direct"]}])",
       "[0].upstream: expected the URL of one proxy, or direct"},
      {R"([{"action": "intercept", "upstream": 1}])",
       "[0].upstream: expected the URL of one proxy, or direct, found 1"},
      {R"([{"action": "intercept", "upstream": "http://p"}])",
       "[0].upstream: there is no port; expected a URL such as http://proxy.example:3128, "
       "https://USER:PASSWORD@HOST:PORT, socks5://HOST:PORT or socks5h://HOST:PORT (the proxy "
       "resolves names), or direct"},
      {R"([{"action": "pass", "process": "~("}])",
       "[0].process: filter '~(': item 1 ('~(') is not a regular expression: missing ): ("},
  };
  for (const auto& [rules, error] : cases) {
    CAPTURE(rules);
    CHECK(rule_error(rules) == error);
  }
  const json rule{{"action", "pass"}};
  CHECK(rule_error(json(std::vector<json>(1000, rule)).dump()) == "no error");
  CHECK(rule_error(json(std::vector<json>(1001, rule)).dump()) ==
        "expected at most 1000 rules, found 1001");
  json many = rule;
  many["port"] = std::vector<int>(1001, 80);
  CHECK(rule_error(json::array({many}).dump()) ==
        "[0].port: expected at most 1000 entries, found 1001");
}

TEST_CASE(
    "policy_options: --block, --pass and --only come before the "
    "rules of the file, the rest of --only last") {
  const auto typed_policy = [](const std::vector<const char*>& typed) {
    return policy_of(*settings_of(typed), "run");
  };
  const auto policy =
      typed_policy({"curl", "--only", "*.example.org", "--pass", "a.example.org,b.example.org",
                    "--pass", "192.0.2.1", "--block", "ads.example.org"});
  REQUIRE(policy.rules.size() == 4);
  procmap::ProcessFacts facts;
  facts.exe = facts.name = "curl";
  const procmap::Owner owner{std::nullopt, std::make_shared<procmap::ProcessFacts>(facts)};
  const auto verdict = policy.judge({owner, *base::parse_endpoint("192.0.2.9:443")}, {});
  const std::pair<const char*, const char*> cases[] = {
      {"ads.example.org", "block --block, host ads.example.org"},
      {"a.example.org", "pass --pass, host a.example.org"},
      {"b.example.org", "pass --pass, host b.example.org"},
      {"192.0.2.1", "pass --pass, host 192.0.2.1"},
      {"c.example.org", "intercept --only, host c.example.org"},
      {"example.net", "pass not a host of --only"},
      {"", "pass not a host of --only"},
  };
  for (const auto& [host, expected] : cases) {
    const auto settled = policy.settle(verdict, host);
    CHECK(fmt::format("{} {}", divert::to_string(settled.action), settled.reason) == expected);
  }
  CHECK(typed_policy({"curl", "--block", "x.test"}).rules.size() == 1);
  for (const char* bad : {"", "a:443", "a b", "a,,b", "https://a"}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_command_line(std::vector<const char*>{"--only", bad}));
  }
  // Rules of the file keep their names, and decide about what no option names.
  const auto invocation =
      parse_command_line(std::vector<const char*>{"exec", "--only", "a.test", "--", "ls"});
  auto both = load_settings(*invocation, "/nonexistent");
  REQUIRE(both);
  const json rules = json::parse(R"([{"host": "b.test", "action": "block"}])");
  REQUIRE(set_option(*find_option("rules"), rules, *both));
  const auto policy_of_both = policy_of(*both, "exec").to_json();
  const auto copy = divert::Policy::from_json(json::from_cbor(json::to_cbor(policy_of_both)));
  REQUIRE(copy);
  REQUIRE(copy->rules.size() == 3);
  CHECK(copy->rules[0].name == "--only");
  CHECK(copy->rules[1].name == "rules[0]");
  CHECK(copy->rules[2].name == "not a host of --only");
}

}  // namespace mitm::cli
