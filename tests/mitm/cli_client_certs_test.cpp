#include "mitm/cli/client_certs.h"
#include "mitm/cli/options.h"
#include "tests/mitm/cli_settings.h"

namespace mitm::cli {
namespace {

using nlohmann::json;
using test::settings_of;

}  // namespace

TEST_CASE(
    "client_certs: client certificates are read; the key may be in the file of the certificate") {
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

TEST_CASE("client_certs: --client-cert names a certificate, for every host or for some") {
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

TEST_CASE("client_certs: every error of a client certificate has its place") {
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

}  // namespace mitm::cli
