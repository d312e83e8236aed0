// The filter language: mitmproxy's meaning, each extension, each error's exact text, and the way
// through JSON.
#include "divert/policy/program_filter.h"

#include <nlohmann/json.hpp>

#include "tests/test.h"

namespace {

using divert::ProgramFilter;
using procmap::ProcessFacts;

ProcessFacts process(std::string exe, pid_t pid = 100) {
  ProcessFacts facts;
  facts.id = {pid, 5000};
  facts.exe = std::move(exe);
  facts.name = facts.exe.substr(facts.exe.rfind('/') + 1);
  facts.uid = 1000;
  facts.gid = 50;
  facts.user = "alice";
  facts.group = "staff";
  facts.cgroup = "/user.slice/user-1000.slice";
  return facts;
}

bool matches(std::string_view spec, const ProcessFacts& facts) {
  const auto filter = ProgramFilter::parse(spec);
  REQUIRE_MESSAGE(filter, spec);
  // What the broker gets by way of CBOR says the same.
  const auto copy = ProgramFilter::from_json(
      nlohmann::json::from_cbor(nlohmann::json::to_cbor(filter->to_json())));
  REQUIRE_MESSAGE(copy, spec);
  CHECK(copy->text() == filter->text());
  CHECK(copy->matches(&facts) == filter->matches(&facts));
  CHECK(copy->matches(nullptr) == filter->matches(nullptr));
  return filter->matches(&facts);
}

bool matches_unknown(std::string_view spec) {
  const auto filter = ProgramFilter::parse(spec);
  REQUIRE_MESSAGE(filter, spec);
  return filter->matches(nullptr);
}

}  // namespace

TEST_CASE("filter: a list is evaluated left to right as mitmproxy does") {
  struct Case {
    std::string_view spec;
    bool curl, wget, other;
  };
  for (const auto& [spec, curl, wget, other] : {
           Case{"", true, true, true},
           {"  ", true, true, true},
           {"curl", true, false, false},
           {"curl,wget", true, true, false},
           {"!curl", false, true, true},
           {"!curl,!wget", false, false, true},
           {"curl,!wget", true, false, false},
           {"!curl,wget", false, true, true},
           {"!curl,curl", true, true, true},
           {"curl,!curl", false, false, false},
           {"curl,!curl,curl", true, false, false},
           {"bin,!curl", false, true, false},
           {" ! curl , wget ", false, true, true},
           {"!\tcurl", false, true, true},
       }) {
    CAPTURE(spec);
    CHECK(matches(spec, process("/usr/bin/curl")) == curl);
    CHECK(matches(spec, process("/usr/bin/wget")) == wget);
    CHECK(matches(spec, process("/opt/firefox/firefox")) == other);
  }
}

TEST_CASE("filter: each kind of item") {
  const auto python = process("/opt/a b/python3.11", 123);
  struct Case {
    std::string_view spec;
    bool expected;
  };
  for (const auto& [spec, expected] : {
           // pid: all digits; in quotes a part of the path
           Case{"123", true},
           {"0123", true},
           {"12", false},
           {"\"3.11\"", true},
           {"\"123\"", false},
           // substring of the path, case-sensitive
           {"python", true},
           {"Python", false},
           {"a b/py", true},
           {"opt", true},
           {"on3.11/", false},
           {"\"a b\"", true},
           {"\"*\"", false},
           {"\"!python\"", false},
           {"!!python", true},  // all but the substring "!python"
           // exact base name
           {"=python3.11", true},
           {"=python3", false},
           {"= python3.11", true},
           // prefix of the path
           {"/opt/", true},
           {"/opt/a b/python3.11", true},
           {"/opt/a", true},
           {"/pt/", false},
           {"\"/a b/\"", true},
           // glob
           {"/opt/*/python3.11", true},
           {"/opt/*", true},
           {"/op*", true},
           {"/opt/*/python", false},
           {"*/python3.11", true},
           {"python3*", true},
           {"python3.??", true},
           {"python3.?", false},
           {"*thon*", true},
           {"*a b*", true},
           {"opt*", false},
           {"python\"*\"", false},
           {"*.1*1", true},
           {"*.1*2", false},
           {"*", true},
           // regular expression, searched in the path
           {"~python[0-9.]+$", true},
           {"~^python", false},
           {"~^/opt/", true},
           {"~\"1{2,3}$\"", true},
           {"~(?i)PYTHON", true},
           {"~p+", true},
           // user, group, cgroup
           {"user:alice", true},
           {"user:1000", true},
           {"user:alic", false},
           {"user:100", false},
           {"user:Alice", false},
           {"group:staff", true},
           {"group:50", true},
           {"group:5", false},
           {"cgroup:/user.slice", true},
           {"cgroup:/user.slice/", true},
           {"cgroup:user.slice", true},
           {"cgroup:/user.slice/user-1000.slice", true},
           {"cgroup:/user.slice/user-1000", false},
           {"cgroup:/user", false},
           {"cgroup:/", true},
           // not a keyword, so a substring
           {"unknown", false},
           {"=unknown", false},
           {"usr:alice", false},
       }) {
    CAPTURE(spec);
    CHECK(matches(spec, python) == expected);
  }
}

TEST_CASE("filter: double quotes hold commas and quotes together") {
  CHECK(matches("\"a,b\"", process("/opt/a,b/x")));
  CHECK_FALSE(matches("\"a,b\"", process("/opt/a/x")));
  CHECK(matches("/opt/\"a,b\"/", process("/opt/a,b/x")));
  CHECK(matches("=\"x,y\"", process("/opt/x,y")));
  CHECK(matches("wget,\"a,b\",curl", process("/bin/curl")));
  CHECK(matches("\"say \"\"hi\"\"\"", process("/opt/say \"hi\"/x")));
  CHECK(matches("\" curl\"", process("/opt/my curl")));
  CHECK_FALSE(matches("\" curl\"", process("/opt/curl")));
  CHECK(matches("\"g++\"", process("/usr/bin/g++")));
  CHECK_FALSE(matches("\"g++\"", process("/usr/bin/g+")));
  CHECK(matches("user:\"a b\"", [] {
    auto facts = process("/bin/sh");
    facts.user = "a b";
    return facts;
  }()));
  CHECK(matches("/opt/*/\"what?\"", process("/opt/x/what?")));
  CHECK_FALSE(matches("/opt/*/\"what?\"", process("/opt/x/whats")));
  CHECK(matches("*\\x", process("/opt/\\x")));
}

TEST_CASE("filter: one ? is one character of more bytes") {
  CHECK(matches("/opt/?/x", process("/opt/\xc3\xa9/x")));
  CHECK_FALSE(matches("/opt/?\?/x", process("/opt/\xc3\xa9/x")));
  CHECK(matches("/opt/?/x", process("/opt/\xff/x")));
}

TEST_CASE("filter: bytes that are not UTF-8 are text like any other") {
  CHECK(matches("\xff\xfe", process("/opt/\xff\xfe/x")));
  CHECK_FALSE(matches("\xff\xfe", process("/opt/\xff/x")));
  CHECK(ProgramFilter::parse("\xff,").error().text.starts_with(
      "filter '\xef\xbf\xbd,': item 2 is empty"));
}

TEST_CASE("filter: a plus takes the descendants in") {
  auto curl = process("/usr/bin/curl", 300);
  curl.ancestors = {{{200, 4000}, "/usr/bin/bash"}, {{100, 3000}, "/opt/code/code"}, {{1, 1}, ""}};
  for (const auto* spec :
       {"code+", "=code+", "=bash +", "/opt/code/+", "/opt/*+", "100+", "200+", "300+", "curl+",
        "~\"^/opt/code\"+", "\"/code\"+", "!wget,!code+,code+"}) {
    CAPTURE(spec);
    CHECK(matches(spec, curl));
  }
  for (const auto* spec : {"code", "=code", "/opt/code/", "100", "~^/opt/code", "~code/+", "=ode+",
                           "10+", "!code+", "curl,!100+", "wget+"}) {
    CAPTURE(spec);
    CHECK_FALSE(matches(spec, curl));
  }
}

TEST_CASE("filter: a program goes by argv[0] and by its script as well") {
  auto npm = process("/usr/bin/node", 300);
  npm.other_names = {"/usr/lib/node_modules/npm/bin/npm"};
  for (const auto* spec : {"npm", "=npm", "/usr/lib/node_modules/", "*/npm", "n?m", "~npm$",
                           "=node", "node", "\"/npm\"", "!npm,npm"}) {
    CAPTURE(spec);
    CHECK(matches(spec, npm));
  }
  for (const auto* spec : {"=pm", "!npm", "!=npm", "/usr/lib/npm", "~^npm", "0300,!npm", "yarn"}) {
    CAPTURE(spec);
    CHECK_FALSE(matches(spec, npm));
  }
  auto python = process("/usr/bin/python3.11");
  python.other_names = {"python3", "script.py"};
  CHECK(matches("=python3", python));
  CHECK(matches("script.py", python));
  CHECK(matches("=script.py", python));
  auto child = process("/usr/bin/curl", 301);
  child.ancestors = {{{300, 4000}, "/usr/bin/node", {"/usr/bin/npm"}}, {{1, 1}, "/sbin/init"}};
  CHECK(matches("npm+", child));
  CHECK(matches("=npm+", child));
  CHECK_FALSE(matches("npm", child));
}

TEST_CASE("filter: what its items name") {
  using Names = divert::FilterItem::Names;
  const auto filter =
      ProgramFilter::parse("!curl,=wget+,/opt/*/x,~re$,123,user:ann,group:5,cgroup:a,unknown");
  REQUIRE(filter);
  const auto items = filter->items();
  REQUIRE(items.size() == 9);
  const Names names[] = {Names::program, Names::program, Names::program,
                         Names::program, Names::process, Names::user,
                         Names::group,   Names::cgroup,  Names::unknown};
  const char* texts[] = {"curl", "wget", "/opt/*/x", "re$", "123", "ann", "5", "/a", ""};
  for (std::size_t i = 0; i < items.size(); ++i) {
    CAPTURE(i);
    CHECK(items[i].names == names[i]);
    CHECK(items[i].text == texts[i]);
    CHECK(items[i].exclude == (i == 0));
    CHECK(items[i].is_pattern == (i == 2 || i == 3));
  }
  CHECK(filter->item_matches(0, process("/usr/bin/curl")));
  CHECK_FALSE(filter->item_matches(1, process("/usr/bin/curl")));
}

TEST_CASE("filter: a process whose executable cannot be read goes by its name") {
  auto facts = process("");
  facts.name = "kworker";
  CHECK(matches("kwork", facts));
  CHECK(matches("=kworker", facts));
  CHECK_FALSE(matches("curl", facts));
  auto child = process("/bin/curl");
  child.ancestors = {{{7, 7}, ""}};
  CHECK_FALSE(matches("/+", [&] {
    auto nobody = facts;
    nobody.ancestors = child.ancestors;
    return nobody;
  }()));
}

TEST_CASE("filter: an unknown owner is drawn in by name only, never by a negation") {
  for (const auto* spec :
       {"", "unknown", "curl,unknown", "!curl,unknown", " unknown ", "!unknown,unknown"}) {
    CAPTURE(spec);
    CHECK(matches_unknown(spec));
  }
  for (const auto* spec : {"curl", "!curl", "!unknown", "unknown,!unknown", "\"unknown\"", "*",
                           "~.", "user:0", "!100"}) {
    CAPTURE(spec);
    CHECK_FALSE(matches_unknown(spec));
  }
  CHECK(matches("!unknown", process("/bin/curl")));
  CHECK(matches("\"unknown\"", process("/opt/unknown/x")));
}

TEST_CASE("filter: of an unknown owner the socket tells user and cgroup") {
  procmap::Owner owner{procmap::SocketFacts{}, nullptr};
  owner.socket->uid = 1000;
  owner.socket->user = "alice";
  owner.socket->cgroup = "/user.slice/a";
  struct Case {
    std::string_view spec;
    bool selected;
  };
  for (const auto& [spec, selected] : {
           Case{"user:alice", true},
           {"user:1000", true},
           {"user:bob", false},
           {"cgroup:/user.slice", true},
           {"cgroup:/user", false},
           {"!user:bob", true},
           {"!user:alice", false},
           {"curl,user:alice", true},
           // It may be curl.
           {"user:alice,!curl", false},
           {"!curl,user:alice", true},
           {"group:staff", false},
           {"!group:staff", false},
           {"user:alice,!unknown", false},
       }) {
    CAPTURE(spec);
    CHECK(ProgramFilter::parse(spec)->matches(owner) == selected);
  }
  owner.socket->uid_known = false;
  owner.socket->user.clear();
  CHECK_FALSE(ProgramFilter::parse("user:1000")->matches(owner));
  CHECK_FALSE(ProgramFilter::parse("!user:bob")->matches(owner));
}

TEST_CASE("filter: errors name the item, its place and what was expected") {
  struct Case {
    std::string_view spec, error;
  };
  for (const auto& [spec, error] : {
           Case{"curl,,wget",
                "filter 'curl,,wget': item 2 is empty; expected a "
                "program, a path, a pid or a pattern"},
           {"curl,",
            "filter 'curl,': item 2 is empty; expected a program, a path, a pid or a pattern"},
           {",", "filter ',': item 1 is empty; expected a program, a path, a pid or a pattern"},
           {"\"\"",
            "filter '\"\"': item 1 ('\"\"') is empty; expected "
            "a program, a path, a pid or a pattern"},
           {"curl, !",
            "filter 'curl, !': item 2 ('!') has nothing after '!'; expected what to leave out"},
           {"+",
            "filter '+': item 1 ('+') has nothing before '+'; expected a program, a path or a pid"},
           {"=", "filter '=': item 1 ('=') names no program; expected for example =curl"},
           {"=a/b",
            "filter '=a/b': item 1 ('=a/b') has a '/' in a base name; expected for example =curl, "
            "or /usr/bin/curl for a path"},
           {"~",
            "filter '~': item 1 ('~') has no regular expression; expected for example "
            "~/python[0-9.]*$"},
           {"curl,~[a",
            "filter 'curl,~[a': item 2 ('~[a') is not a regular expression: missing ]: [a"},
           {"user:",
            "filter 'user:': item 1 ('user:') names no "
            "user; expected for example user:alice or user:1000"},
           {"!group: ",
            "filter '!group: ': item 1 ('!group:') names no group; expected for example "
            "group:staff or group:50"},
           {"cgroup:",
            "filter 'cgroup:': item 1 ('cgroup:') names no cgroup; expected for example "
            "cgroup:/user.slice"},
           {"0",
            "filter '0': item 1 ('0') is not a process id; expected 1 to 2147483647, or \"0\" in "
            "double quotes for a part of a path"},
           {"99999999999",
            "filter '99999999999': item 1 ('99999999999') is not a process id; expected 1 to "
            "2147483647, or \"99999999999\" in double quotes for a part of a path"},
           {"a,\"b,c", "filter 'a,\"b,c': item 2 ('\"b,c') has a double quote that is not closed"},
           {"user:alice+",
            "filter 'user:alice+': item 1 ('user:alice+') has a '+', which goes with programs and "
            "pids only: of ancestors nothing else is known"},
           {"unknown+",
            "filter 'unknown+': item 1 ('unknown+') has a '+', which goes with programs and pids "
            "only: of ancestors nothing else is known"},
           {"\x1b[2J,",
            "filter '\\x1b[2J,': item 2 is empty; expected a program, a path, a pid or a pattern"},
       }) {
    CAPTURE(spec);
    const auto filter = ProgramFilter::parse(spec);
    REQUIRE_FALSE(filter);
    CHECK(filter.error().text == error);
  }
}

TEST_CASE("filter: sizes are limited, and messages stay short") {
  const auto long_text = ProgramFilter::parse(std::string(ProgramFilter::kMaxText + 1, 'x'));
  REQUIRE_FALSE(long_text);
  CHECK(long_text.error().text ==
        "filter '" + std::string(77, 'x') + "...' has 65537 bytes; expected at most 65536");
  std::string many = "a";
  for (std::size_t i = 1; i < ProgramFilter::kMaxItems; ++i) many += ",a";
  CHECK(ProgramFilter::parse(many));
  const auto too_many = ProgramFilter::parse(many + ",a");
  REQUIRE_FALSE(too_many);
  CHECK(too_many.error().text.ends_with("has 1001 items; expected at most 1000"));
  const auto huge_regex = ProgramFilter::parse("~(((a{100}){100}){100})");
  REQUIRE_FALSE(huge_regex);
  CHECK(huge_regex.error().text.size() < 300);
  CHECK(ProgramFilter::parse(std::string(100, 'y'))->label() == std::string(77, 'y') + "...");
  std::string accents;
  for (int i = 0; i < 60; ++i) accents += "\xc3\xa9";
  CHECK(ProgramFilter::parse(accents)->label() == accents.substr(0, 76) + "...");
}

TEST_CASE("filter: what JSON brings in is checked whole") {
  const auto good = ProgramFilter::parse("!curl,~x,123,unknown,=a+")->to_json();
  REQUIRE(ProgramFilter::from_json(good));
  const auto refused = [](nlohmann::json data) { return !ProgramFilter::from_json(data); };
  using nlohmann::json;
  for (const json& bad : {json(), json(1), json::array(), json::object(), json("curl")})
    CHECK(refused(bad));
  const auto with = [&](auto change) {
    json data = good;
    change(data);
    return data;
  };
  CHECK(refused(with([](json& d) { d["text"] = 1; })));
  CHECK(refused(with([](json& d) { d["text"] = ""; })));
  CHECK(refused(with([](json& d) { d["more"] = 1; })));
  CHECK(refused(with([](json& d) { d["items"] = json::object(); })));
  CHECK(refused(with([](json& d) { d["items"].clear(); })));
  CHECK(refused(with([](json& d) { d["items"][0] = "curl"; })));
  CHECK(refused(with([](json& d) { d["items"][0].erase("exclude"); })));
  CHECK(refused(with([](json& d) { d["items"][0]["exclude"] = 1; })));
  CHECK(refused(with([](json& d) { d["items"][0]["kind"] = "program"; })));
  CHECK(refused(with([](json& d) { d["items"][0]["kind"] = nullptr; })));
  CHECK(refused(with([](json& d) { d["items"][0]["text"] = ""; })));
  CHECK(refused(with([](json& d) { d["items"][0]["text"] = std::string(1 << 20, 'x'); })));
  CHECK(refused(with([](json& d) { d["items"][0]["extra"] = true; })));
  CHECK(refused(with([](json& d) { d["items"][1]["text"] = "["; })));
  CHECK(refused(with([](json& d) { d["items"][2]["text"] = "12x"; })));
  CHECK(refused(with([](json& d) { d["items"][2]["text"] = "-1"; })));
  CHECK(refused(with([](json& d) { d["items"][3]["descendants"] = true; })));
  CHECK(refused(with([](json& d) { d["items"][3]["text"] = "x"; })));
  CHECK(refused(with([](json& d) { d["items"][4]["text"] = "a/b"; })));
  CHECK(refused(with([](json& d) {
    d["items"] = json::array();
    for (int i = 0; i < 1001; ++i) d["items"].push_back({});
  })));
  const auto error =
      ProgramFilter::from_json(with([](json& d) { d["items"][1]["text"] = "["; })).error().text;
  CHECK(error ==
        "filter '!curl,~x,123,unknown,=a+': item 2 is not a regular expression: missing ]: [");
  CHECK(ProgramFilter::from_json(ProgramFilter().to_json())->matches_everything());
}
