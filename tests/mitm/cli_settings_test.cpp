#include <functional>

#include <openssl/ssl.h>

#include "mitm/cli/config.h"
#include "mitm/cli/error_codes.h"
#include "mitm/cli/options.h"
#include "mitm/cli/policy_options.h"
#include "mitm/cli/settings.h"
#include "mitm/cli/values.h"
#include "tests/test.h"

namespace mitm::cli {
namespace {

using nlohmann::json;

std::string texts(const auto& items) {
  std::string out;
  for (const auto& item : items) out += (out.empty() ? "" : " ") + base::to_string(item);
  return out;
}

/// What `run` would do with these options typed and no config file.
base::Result<Settings> settings_of(const std::vector<const char*>& typed) {
  const auto invocation = parse_command_line(typed);
  REQUIRE(invocation);
  return load_settings(*invocation, "/nonexistent");
}

std::string rule_error(const std::string& rules) {
  const auto parsed = parse_rules(json::parse(rules));
  return parsed ? "no error" : parsed.error().text;
}

/// Through the bytes in which settings travel.
base::Result<Settings> over_the_wire(const json& data) {
  return from_wire(json::from_cbor(json::to_cbor(data)));
}

}  // namespace

TEST_CASE("settings: ports are numbers, ranges or all") {
  struct Case {
    json value;
    std::string ports;
  };
  const Case good[] = {{"80,443", "80 443"},
                       {"8000-8100", "8000-8100"},
                       {{"80", "443,8000-8001"}, "80 443 8000-8001"},
                       {"1-65535", "1-65535"},
                       {"all", ""},
                       {json::array({"all"}), ""}};
  for (const auto& [value, ports] : good) {
    CAPTURE(value.dump());
    const auto parsed = parse_ports(value);
    REQUIRE(parsed);
    CHECK(texts(*parsed) == ports);
  }
  for (const json& bad : {json(""), json::array(), json("80,"), json(",80"), json("0"),
                          json("65536"), json("2-1"), json("-1"), json("80 443"), json("ALL"),
                          json("all,80"), json({"80", "all"}), json("https")}) {
    CAPTURE(bad.dump());
    CHECK_FALSE(parse_ports(bad));
  }
}

TEST_CASE("settings: networks are single or in lists") {
  CHECK(texts(*parse_networks("10.0.0.0/8,fe80::/10")) == "10.0.0.0/8 fe80::/10");
  CHECK(texts(*parse_networks({"10.0.0.0/8", "::1,192.0.2.1"})) == "10.0.0.0/8 ::1 192.0.2.1");
  CHECK(parse_networks("")->empty());
  CHECK(parse_networks(json::array())->empty());
  CHECK_FALSE(parse_networks("10.0.0.0/8,"));
  CHECK_FALSE(parse_networks("localhost"));
}

TEST_CASE("settings: sizes have units") {
  struct Case {
    const char* text;
    std::uint64_t size;
  };
  for (const auto& [text, size] :
       {Case{"0", 0}, Case{"4096", 4096}, Case{"64k", 65536}, Case{"64K", 65536},
        Case{"10M", 10 << 20}, Case{"1G", 1 << 30}, Case{"1024G", std::uint64_t{1} << 40}}) {
    CAPTURE(text);
    CHECK(parse_size(text).value() == size);
  }
  for (const char* bad : {"", "k", "-1", "+1", "1.5M", "1T", "10 M", "10MB", "1025G",
                          "99999999999999999999", "18014398509481984k"}) {
    CAPTURE(bad);
    CHECK(parse_size(bad).error().text ==
          fmt::format("expected a number of bytes such as 4096, 64k or 10M, found '{}'", bad));
  }
}

TEST_CASE("settings: times have units, or are seconds") {
  const std::pair<const char*, std::int64_t> good[] = {
      {"0", 0}, {"90", 90}, {"90s", 90}, {"10m", 600}, {"168h", 604800}, {"604800", 604800}};
  for (const auto& [text, seconds] : good) {
    CAPTURE(text);
    CHECK(mitm::cli::parse_duration(text).value().count() == seconds);
  }
  for (const char* bad :
       {"", "m", "-1", "+1", "1.5h", "10 m", "10min", "169h", "604801", "99999999999999999999"}) {
    CAPTURE(bad);
    CHECK(
        mitm::cli::parse_duration(bad).error().text ==
        fmt::format(
            "expected a time such as 30 (seconds), 30s, 10m or 2h, at most 168h, or 0; found '{}'",
            bad));
  }
}

TEST_CASE("settings: rules are read") {
  const auto rules = parse_rules(json::parse(R"([
    {"action": "pass"},
    {"host": ["*.Bank.example.", "192.0.2.1"], "port": [80, "8000-8100"], "network": "10.0.0.0/8",
     "user": "ann", "process": ["=wget", "!curl"],
     "action": "block"},
    {"port": 443,
     "user": 1000, "process": "a,b", "action": "intercept", "upstream": "http://a:b@p:1"}])"));
  REQUIRE(rules);
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

TEST_CASE("settings: every error of a rule has its place") {
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
    "settings: --block, --pass and --only come before the "
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

TEST_CASE("settings: client certificates are read; the key may be in the file of the certificate") {
  const auto certs = parse_client_certs(json::parse(R"([
    {"host": "*.Bank.example.", "cert": "c.pem", "key": "k.pem"},
    {"host": "192.0.2.1", "cert": "both.pem"}])"));
  REQUIRE(certs);
  REQUIRE(certs->size() == 2);
  CHECK(certs->at(0).host == "*.bank.example");
  CHECK(certs->at(0).cert == "c.pem");
  CHECK(certs->at(0).key == "k.pem");
  CHECK(certs->at(1).host == "192.0.2.1");
  CHECK(certs->at(1).key == "both.pem");
}

TEST_CASE("settings: --client-cert names a certificate, for every host or for some") {
  const struct {
    const char* text;
    const char *host, *cert, *key;
  } cases[] = {{"me.pem", "", "me.pem", "me.pem"},
               {"/a/me.pem:/b/me.key", "", "/a/me.pem", "/b/me.key"},
               {"*.Bank.example=me.pem", "*.bank.example", "me.pem", "me.pem"},
               {"192.0.2.1=me.pem:k", "192.0.2.1", "me.pem", "k"},
               {"/a=b/me.pem", "", "/a=b/me.pem", "/a=b/me.pem"}};
  for (const auto& one : cases) {
    CAPTURE(one.text);
    const auto parsed = parse_client_cert_option(one.text);
    REQUIRE(parsed);
    CHECK(parsed->host == one.host);
    CHECK(parsed->cert == one.cert);
    CHECK(parsed->key == one.key);
  }
  for (const char* text : {"", "a.test=", "me.pem:", ":k", "a b=me.pem"})
    CHECK_FALSE(parse_client_cert_option(text));
  const auto settings =
      settings_of({"--client-cert", "a.test=one.pem", "--client-cert", "two.pem"});
  REQUIRE(settings);
  REQUIRE(settings->client_cert.size() == 2);
  CHECK(settings->client_cert[0].host == "a.test");
  CHECK(settings->client_cert[1].cert == "two.pem");
  CHECK(settings->client_cert[1].place == "--client-cert");
}

TEST_CASE("settings: every error of a client certificate has its place") {
  const auto error_of = [](const json& list) {
    const auto parsed = parse_client_certs(list);
    return parsed ? "no error" : parsed.error().text;
  };
  const json good{{"host", "a.b"}, {"cert", "c"}};
  const std::pair<const char*, const char*> cases[] = {
      {R"([{}])",
       "[0].host: expected a string, found none\n[0].cert: expected a string, found none"},
      {R"([{"host": "a.b"}])", "[0].cert: expected a string, found none"},
      {R"([{"host": "a.b", "cert": "c"}, {"host": "a.b", "cert": ""}])",
       "[1].cert: expected a string, found \"\""},
      {R"([{"host": ["a.b"], "cert": "c"}])", "[0].host: expected a string, found [\"a.b\"]"},
      {R"([{"host": "a.b", "cert": "c", "key": 1}])", "[0].key: expected a string, found 1"},
      {R"([{"host": "a.b", "cert": "c", "passphrase": "x"}])",
       "[0].passphrase: unknown key; expected one of host, cert, key"},
  };
  for (const auto& [list, error] : cases) CHECK(error_of(json::parse(list)) == error);
  CHECK(error_of(json::array({{{"host", "a:443"}, {"cert", "c"}}}))
            .starts_with("[0].host: 'a:443' is not a host"));
  CHECK(error_of(std::vector<json>(50, good)) == "no error");
  CHECK(error_of(std::vector<json>(51, good)) == "expected at most 50 certificates, found 51");
  Settings settings;
  const auto many = set_option(*find_option("client-certs"), std::vector<json>(51, good), settings);
  REQUIRE_FALSE(many);
  CHECK(many.error().text == "expected at most 50 certificates, found 51");
}

TEST_CASE("settings: what is typed becomes settings") {
  const auto settings = settings_of({"curl",
                                     "-p",
                                     "443",
                                     "-x",
                                     "10.0.0.0/8",
                                     "--family",
                                     "ipv6",
                                     "--loopback",
                                     "--group",
                                     "4000",
                                     "--listen-port",
                                     "9999",
                                     "-f",
                                     "jsonl",
                                     "-o",
                                     "flows",
                                     "-d",
                                     "3",
                                     "--color",
                                     "never",
                                     "-b",
                                     "64k",
                                     "--pcap",
                                     "p",
                                     "--tls-min",
                                     "1.0",
                                     "--tls-ciphers",
                                     "HIGH",
                                     "--keylog",
                                     "keys",
                                     "--upstream-ca",
                                     "ca",
                                     "-k",
                                     "--threads",
                                     "2",
                                     "--ca-dir",
                                     "d",
                                     "--passthrough-ttl",
                                     "1h",
                                     "--passthrough-after",
                                     "5",
                                     "--upstream-proxy",
                                     "socks5://p:1"});
  REQUIRE(settings);
  CHECK(settings->passthrough_ttl == std::chrono::hours{1});
  CHECK(settings->passthrough_after == 5);
  CHECK(policy_of(*settings, "run").upstream == "socks5://p:1");
  CHECK(texts(*settings->ports) == "443");
  CHECK(texts(settings->exclude) == "10.0.0.0/8");
  CHECK_FALSE(settings->ipv4());
  CHECK(settings->ipv6());
  CHECK(settings->loopback);
  CHECK(settings->group == 4000);
  CHECK(settings->listen_port == 9999);
  CHECK(settings->filter.text() == "curl");
  CHECK(settings->format == Format::jsonl);
  CHECK(settings->output == "flows");
  CHECK(settings->pcap == "p");
  CHECK(settings->color == Colour::never);
  CHECK(settings->ca_dir == "d");
  CHECK(settings->upstream_ca == "ca");
  CHECK(settings->tls_min == TLS1_VERSION);
  CHECK(settings->tls_ciphers == "HIGH");
  CHECK(settings->keylog == "keys");
  CHECK(settings->detail == 3);
  CHECK(settings->bodies == 65536);
  CHECK(settings->insecure);
  CHECK_FALSE(settings->wait);
  CHECK(settings->threads == 2);
}

TEST_CASE("settings: nothing typed") {
  const auto settings = settings_of({});
  REQUIRE(settings);
  CHECK_FALSE(settings->ports);
  CHECK(texts(settings->redirect_ports()) == "80 443 8000 8080 8443");
  CHECK(settings->packet_ports().empty());
  CHECK(settings->engine == divert::EngineChoice::best);
  CHECK(settings->mark == 0x10000000);
  CHECK(settings->block_quic);
  CHECK(settings->exclude.empty());
  CHECK(settings->ipv4());
  CHECK(settings->ipv6());
  CHECK_FALSE(settings->loopback);
  CHECK_FALSE(settings->group);
  CHECK_FALSE(settings->listen_port);
  CHECK(settings->filter.text().empty());
  CHECK(settings->ca_dir == "/var/lib/osproxy");
  CHECK(settings->tls_min == TLS1_2_VERSION);
  CHECK(settings->detail == 1);
  CHECK(settings->bodies == 0);
  CHECK(settings->worker_threads() >= 1);
  CHECK(settings->worker_threads() <= 64);
}

TEST_CASE("settings: a bad filter is a usage error, and exec has none") {
  const auto bad = settings_of({"curl,"});
  REQUIRE_FALSE(bad);
  CHECK(bad.error().text ==
        "filter 'curl,': item 2 is empty; expected a program, a path, a pid or a pattern");
  CHECK(bad.error().os_code == kUsageError);
  Settings settings;
  REQUIRE(set_option(*find_option("filter"), "wget", settings));
  CHECK(policy_of(settings, "run").filter.text() == "wget");
  CHECK(policy_of(settings, "exec").filter.text().empty());
}

TEST_CASE("settings: come back from the wire as they were") {
  auto settings = settings_of({"=curl,!~x+", "-p", "80,8000-8100", "-x", "::1,10.0.0.0/8",
                               "--group", "4294967294", "-b", "1024G", "-o", "\xff", "--keylog",
                               "k", "--tls-ciphers", "HIGH"});
  REQUIRE(settings);
  const auto returned = over_the_wire(to_wire(*settings));
  REQUIRE(returned);
  CHECK(to_wire(*returned) == to_wire(*settings));
  CHECK(returned->group == 4294967294);
  CHECK(returned->output == "\xff");
  CHECK(returned->keylog == "k");
  CHECK(returned->tls_ciphers == "HIGH");
  CHECK(texts(*returned->ports) == "80 8000-8100");
  CHECK(texts(returned->exclude) == "::1 10.0.0.0/8");
  CHECK(returned->bodies == std::size_t{1} << 40);
  // The policy takes a way of its own.
  auto rules = parse_rules(json::parse(
      R"([{"host": "*.a.b", "port": 1, "network": "::/0",
     "user": "ann", "process": "x+", "action": "block"}])"));
  REQUIRE(rules);
  settings->rules = *rules;
  const auto policy = divert::Policy::from_json(policy_of(*settings, "run").to_json());
  REQUIRE(policy);
  CHECK(policy->filter.text() == "=curl,!~x+");
  CHECK(policy->rules.size() == 1);
}

TEST_CASE("settings: rules are shown as the file may have them") {
  const json rules = json::parse(R"([
    {"action": "pass"},
    {"action": "block", "host": ["*.a.b"], "port": ["1", "8000-8100"], "network": ["::/0"],
     "user": "ann", "process": "=wget,!curl"},
    {"action": "intercept", "upstream": "direct"}])");
  CHECK(render_rules(*parse_rules(rules)) == rules);
  const json certs = json::parse(R"([
    {"host": "*.a.b", "cert": "c"}, {"host": "a.b", "cert": "c", "key": "k"}])");
  CHECK(render_client_certs(*parse_client_certs(certs)) == certs);
}

TEST_CASE("settings: spoilt data is refused") {
  const json good = to_wire(*settings_of({"curl", "--group", "4000"}));
  REQUIRE(over_the_wire(good));
  SUBCASE("a key of another type, for every key") {
    for (const auto& [key, value] : good.items()) {
      for (const json& other : {json(nullptr), json(1.5), json::array({1}), json::object(),
                                json(true), json("x"), json(-1), json(1 << 20)}) {
        if (other.type() == value.type() ||
            (other.is_number_integer() && value.is_number_integer()))
          continue;
        json spoilt = good;
        spoilt[key] = other;
        CAPTURE(spoilt.dump());
        CHECK_FALSE(over_the_wire(spoilt));
      }
    }
  }
  SUBCASE("a key that is missing, for every key but the group") {
    for (const auto& [key, value] : good.items()) {
      json spoilt = good;
      spoilt.erase(key);
      CAPTURE(key);
      CHECK(over_the_wire(spoilt).has_value() == (key == "group"));
    }
  }
  SUBCASE("a value that no option gives") {
    const std::pair<const char*, json> cases[] = {{"extra", 1},
                                                  {"listen-port", 65536},
                                                  {"listen-port", -1},
                                                  {"threads", 0},
                                                  {"threads", 65},
                                                  {"passthrough-ttl", "-1"},
                                                  {"passthrough-ttl", "604801"},
                                                  {"passthrough-after", 0},
                                                  {"passthrough-after", 1001},
                                                  {"detail", 5},
                                                  {"detail", -1},
                                                  {"tls-min", "1.4"},
                                                  {"tls-min", "SSLv3"},
                                                  {"group", 0},
                                                  {"group", -1},
                                                  {"group", 4294967295},
                                                  {"group", 1ULL << 40},
                                                  {"bodies", "-1"},
                                                  {"bodies", "2048G"},
                                                  {"format", "xml"},
                                                  {"color", ""},
                                                  {"ports", json::array({"0"})},
                                                  {"ports", json::array({"all", "80"})},
                                                  {"ports", "80"},
                                                  {"exclude", json::array({"x"})},
                                                  {"exclude", json::array({1})},
                                                  {"exclude", "::1"},
                                                  {"bodies", "1024"},
                                                  {"mark", "0x3"},
                                                  {"error-page", "nobody"},
                                                  {"engine", 1},
                                                  {"filter", "curl"},
                                                  {"rules", json::array()}};
    for (const auto& [key, value] : cases) {
      json spoilt = good;
      spoilt[key] = value;
      CAPTURE(key);
      CAPTURE(value.dump());
      CHECK_FALSE(over_the_wire(spoilt));
    }
  }
  SUBCASE("no family at all") {
    json spoilt = good;
    spoilt["family"] = "none";
    CHECK_FALSE(over_the_wire(spoilt));
  }
  SUBCASE("no object") {
    for (const json& other : {json(nullptr), json::array(), json(1), json("x")})
      CHECK_FALSE(over_the_wire(other));
  }
}

}  // namespace mitm::cli
