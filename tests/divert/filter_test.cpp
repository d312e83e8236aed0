#include "divert/filter.h"

#include <nlohmann/json.hpp>

#include "tests/test.h"

using divert::Filter;
using procmap::ProcessFacts;

namespace {

ProcessFacts process(std::string exe, pid_t pid = 100) {
  ProcessFacts facts;
  facts.id = {pid, 1};
  facts.exe = std::move(exe);
  facts.name = facts.exe.substr(facts.exe.rfind('/') + 1);
  facts.user = "ann";
  facts.uid = 1000;
  facts.group = "staff";
  facts.gid = 50;
  facts.cgroup = "/user.slice/app.scope";
  facts.ancestors = {{{20, 1}, "/usr/bin/make"}, {{1, 1}, "/sbin/init"}};
  return facts;
}

bool matches(const char* spec, const ProcessFacts& facts) {
  const auto filter = Filter::parse(spec);
  REQUIRE(filter.has_value());
  // What crosses to the broker means the same.
  const auto copy = Filter::from_json(nlohmann::json::from_cbor(nlohmann::json::to_cbor(filter->to_json())));
  REQUIRE(copy.has_value());
  CHECK(copy->matches(&facts) == filter->matches(&facts));
  CHECK(copy->text() == spec);
  return filter->matches(&facts);
}

}  // namespace

TEST_CASE("filter: mitmproxy's meaning of includes and excludes, in order") {
  const auto curl = process("/usr/bin/curl");
  const auto wget = process("/usr/bin/wget");
  const auto other = process("/opt/x");
  const struct {
    const char* spec;
    bool curl, wget, other;
  } cases[] = {
      {"", true, true, true},
      {"curl", true, false, false},
      {"curl,wget", true, true, false},
      {" curl , wget ", true, true, false},
      {"! curl", false, true, true},
      {"curl,!wget", true, false, false},
      {"!curl,wget", false, true, true},
      {"!curl,curl", true, true, true},
      {"!curl,!wget", false, false, true},
      {"/usr/bin,!curl", false, true, false},
  };
  for (const auto& c : cases) {
    CAPTURE(c.spec);
    CHECK(matches(c.spec, curl) == c.curl);
    CHECK(matches(c.spec, wget) == c.wget);
    CHECK(matches(c.spec, other) == c.other);
  }
}

TEST_CASE("filter: each kind of item") {
  const auto curl = process("/usr/bin/curl", 4242);
  const struct {
    const char* spec;
    bool expected;
  } cases[] = {
      {"4242", true},         {"424", false},           {"cur", true},          {"CURL", false},
      {"=curl", true},        {"=cur", false},          {"/usr", true},         {"/usr/bin/", true},
      {"/bin", false},        {"/usr/*/curl", true},    {"*curl", true},        {"*cur", false},
      {"/usr/*/c?rl", true},  {"~^/usr/.*l$", true},    {"~^curl", false},      {"user:ann", true},
      {"user:1000", true},    {"user:bob", false},      {"group:staff", true},  {"group:50", true},
      {"group:1", false},     {"cgroup:/user.slice", true}, {"cgroup:/user", false}, {"cgroup:/", true},
      {"unknown", false},     {"make", false},          {"make+", true},        {"=make+", true},
      {"20+", true},          {"20", false},            {"/usr/bin/ma+", true}, {"\"curl\"", true},
      {"!make+", false},      {"curl+", true},
  };
  for (const auto& c : cases) {
    CAPTURE(c.spec);
    CHECK(matches(c.spec, curl) == c.expected);
  }
  CHECK(matches("\"a,b\"", process("/opt/a,b/x")));
  CHECK(matches("\"123\"", process("/opt/123/x")));
  CHECK_FALSE(matches("\"123\"", process("/opt/x", 123)));
}

TEST_CASE("filter: an unknown owner is drawn in by 'unknown' and by no filter at all, never by a negation") {
  const struct {
    const char* spec;
    bool expected;
  } cases[] = {{"", true}, {"curl", false}, {"!curl", false}, {"unknown", true}, {"curl,unknown", true}, {"unknown,!unknown", false}};
  for (const auto& c : cases) {
    CAPTURE(c.spec);
    CHECK(Filter::parse(c.spec)->matches(nullptr) == c.expected);
  }
}

TEST_CASE("filter: a process without a path goes by its name") {
  ProcessFacts zombie;
  zombie.name = "curl";
  CHECK(Filter::parse("curl")->matches(&zombie));
  CHECK(Filter::parse("=curl")->matches(&zombie));
}

TEST_CASE("filter: errors name the item, its place and what was expected") {
  const struct {
    const char *spec, *text;
  } cases[] = {
      {"curl,,wget", "filter 'curl,,wget': item 2: it is empty; expected a program, a pid or a pattern between commas"},
      {",", "filter ',': item 1: it is empty; expected a program, a pid or a pattern between commas"},
      {"!", "filter '!': item 1: it is empty; expected a program, a pid or a pattern between commas"},
      {"curl,=", "filter 'curl,=': item 2: '=': expected a program's name after '='"},
      {"user:", "filter 'user:': item 1: 'user:': expected a user after 'user:'"},
      {"~(", "filter '~(': item 1: bad regular expression '(': missing ): ("},
      {"\"a,b", "filter '\"a,b': item 1: a double quote is not closed"},
      {"a\"b\"", "filter 'a\"b\"': item 1: 'a\"b\"': double quotes stand around the whole text"},
      {"99999999999", "filter '99999999999': item 1: 99999999999 is too large for a process id"},
      {"user:ann+", "filter 'user:ann+': item 1: 'user:ann+': descendants ('+') go with a pid, a name, a path or a pattern"},
  };
  for (const auto& c : cases) {
    CAPTURE(c.spec);
    const auto filter = Filter::parse(c.spec);
    REQUIRE_FALSE(filter.has_value());
    CHECK(filter.error().text == c.text);
  }
}

TEST_CASE("filter: data that no filter makes is refused") {
  using nlohmann::json;
  const json good = Filter::parse("curl,!~x,12")->to_json();
  REQUIRE(Filter::from_json(good).has_value());
  const auto spoilt = [&](auto change) {
    json data = good;
    change(data);
    return Filter::from_json(data).has_value();
  };
  CHECK_FALSE(Filter::from_json(json{}).has_value());
  CHECK_FALSE(Filter::from_json(json::array()).has_value());
  CHECK_FALSE(spoilt([](json& data) { data.erase("text"); }));
  CHECK_FALSE(spoilt([](json& data) { data["items"] = 5; }));
  CHECK_FALSE(spoilt([](json& data) { data["items"][0]["kind"] = "magic"; }));
  CHECK_FALSE(spoilt([](json& data) { data["items"][0]["text"] = 7; }));
  CHECK_FALSE(spoilt([](json& data) { data["items"][1]["text"] = "("; }));
  CHECK_FALSE(spoilt([](json& data) { data["items"][2]["text"] = "x"; }));
  CHECK_FALSE(spoilt([](json& data) { data["items"] = json::array(); for (int i = 0; i < 1001; ++i) data["items"].push_back(json::object()); }));
}
