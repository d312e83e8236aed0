#include "tests/mitm/cli_settings.h"

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
using test::settings_of;
using test::texts;
using test::with_rules;

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
  auto rules = with_rules(json::parse(
      R"([{"host": "*.a.b", "port": 1, "network": "::/0",
     "user": "ann", "process": "x+", "action": "block"}])"));
  REQUIRE(rules);
  settings->rules = rules->rules;
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
  CHECK(render_rules(*with_rules(rules)) == rules);
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
