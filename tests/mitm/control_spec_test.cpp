// mitmproxy's options, with its syntax and meaning.
#include <fstream>

#include "mitm/control/spec.h"
#include "tests/mitm/rule_play.h"
#include "tests/mitm/temporary_directory.h"
#include "tests/test.h"

using mitm::control::RuleTexts;
using mitm::intercept::Decision;
using test::Play;

namespace {

Play play_of(const RuleTexts& texts) {
  auto rules = mitm::control::compile(texts);
  if (!rules) FAIL(rules.error().text);
  return Play(std::move(*rules));
}

std::string error_of(const RuleTexts& texts) {
  const auto rules = mitm::control::compile(texts);
  return rules ? "no error" : rules.error().text;
}

void write(const std::string& path, std::string_view text) {
  std::ofstream(path, std::ios::binary) << text;
}

}  // namespace

TEST_CASE("control: modify-headers is mitmproxy's") {
  struct Case {
    std::vector<std::string> specs, fields;
    const char* sent;
  };
  const Case cases[] = {
      {{"/~q/a/1"}, {}, "GET /\na: 1\n"},
      {{"/a/1"}, {"A: 0", "b: 2", "a: 3"}, "GET /\nb: 2\na: 1\n"},
      {{":a:1/2:3"}, {}, nullptr},  // three parts: the first is a filter
      {{"|~all|a|1|2"}, {}, "GET /\na: 1|2\n"},
      {{"/a/"}, {"A: 0", "b: 1"}, "GET /\nb: 1\n"},
      {{"/a/1", "/a/2"}, {"a: 0"}, "GET /\na: 1\na: 2\n"},
      {{"/~hq x/x/", "/~hq x/y/1"}, {"x: 1"}, "GET /\ny: 1\n"},
      {{"/~s/a/1"}, {}, "same"},
      {{"/a/\\x41\\t\\\\"}, {}, "GET /\na: A\t\\\n"},
  };
  for (const Case& one : cases) {
    const RuleTexts texts{.modify_headers = one.specs};
    CAPTURE(one.specs.front());
    if (one.sent == nullptr) {
      CHECK(error_of(texts) != "no error");
      continue;
    }
    auto play = play_of(texts);
    play.request("GET http://h.test/", one.fields);
    CHECK(play.ask_request() == Decision::pass);
    CHECK(play.sent() == one.sent);
  }
}

TEST_CASE("control: modify-body replaces bytes, its replacement is literal") {
  struct Case {
    const char *spec, *body, *answered;
  };
  const Case cases[] = {
      {"/~s/foo/bar", "a foo foo", "a bar bar"},
      {"/(f)oo/\\\\1", "foo", "\\1"},
      {"/a.b/x", "a\nb", "x"},
      {"/\\d+/n", "12 3", "n n"},
      {"/x*/-", "axb", "-a--b-"},
      {"/\xC3\xA9/e", "caf\xC3\xA9", "cafe"},
      {"/Foo/bar", "foo", nullptr},
  };
  for (const Case& one : cases) {
    CAPTURE(one.spec);
    auto play = play_of({.modify_body = {one.spec}});
    play.request("GET http://h.test/");
    CHECK(play.ask_request() == Decision::pass);
    play.response(200, {}, one.body);
    CHECK(play.ask_response() == Decision::pass);
    CHECK(play.answered() ==
          (one.answered == nullptr ? "same" : std::string("200 As it was\n\n") + one.answered));
  }
}

TEST_CASE("control: @ reads a file when it is needed") {
  const test::TemporaryDirectory directory;
  write(directory / "v", "one\n");
  auto play = play_of({.modify_headers = {"/~q/a/@v"}, .places = {.directory = directory.path()}});
  play.request("GET http://h.test/");
  CHECK(play.ask_request() == Decision::pass);
  CHECK(play.sent() == "GET /\na: one\n");
  write(directory / "v", "two");
  play.begin();
  play.request("GET http://h.test/");
  CHECK(play.ask_request() == Decision::pass);
  CHECK(play.sent() == "GET /\na: two\n");
}

TEST_CASE("control: an empty file adds no field, as in mitmproxy") {
  const test::TemporaryDirectory directory;
  write(directory / "v", "");
  auto play = play_of({.modify_headers = {"/~q/a/@v"}, .places = {.directory = directory.path()}});
  play.request("GET http://h.test/", {"a: 1", "b: 2"});
  CHECK(play.ask_request() == Decision::pass);
  CHECK(play.sent() == "GET /\nb: 2\n");
}

TEST_CASE("control: map-local finds what mitmproxy finds") {
  const test::TemporaryDirectory directory;
  std::filesystem::create_directories(directory / "d/sub");
  write(directory / "d/index.html", "root");
  write(directory / "d/sub/index.html", "sub");
  write(directory / "d/a.js", "js");
  write(directory / "d/q_1", "odd");
  write(directory / "d/a b", "blank");
  write(directory / "one", "file");
  struct Case {
    const char *spec, *url, *answered;
  };
  const Case cases[] = {
      {"|h.test/x|d", "http://h.test/x/a.js", "200 OK\nContent-Type: text/javascript\n\njs"},
      {"|h.test/x|d", "http://h.test/x/a.js?v=1", "200 OK\nContent-Type: text/javascript\n\njs"},
      {"|h.test/x|d", "http://h.test/x", "200 OK\nContent-Type: text/html\n\nroot"},
      {"|h.test/x|d", "http://h.test/x/sub", "200 OK\nContent-Type: text/html\n\nsub"},
      {"|h.test/x|d", "http://h.test/x/q:1", "200 OK\n\nodd"},
      {"|h.test/x|d", "http://h.test/x/a%20b", "200 OK\n\nblank"},
      {"|h.test/x|d", "http://h.test/x/none", "404 Not Found\n\n"},
      {"|h.test/x|d", "http://h.test/x/../one", nullptr},
      {"|h.test/x|d", "http://h.test/x/%2e%2e/one", nullptr},
      {"|h.test/x|d", "http://h.test/y", nullptr},
      {"|id=(.*)|d", "http://h.test/?id=a.js", "200 OK\nContent-Type: text/javascript\n\njs"},
      {"|~m POST|h.test/x|d", "http://h.test/x/a.js", nullptr},
      {"|h.test|one", "http://h.test/anything", "200 OK\n\nfile"},
  };
  for (const Case& one : cases) {
    CAPTURE(one.spec);
    CAPTURE(one.url);
    auto play = play_of({.map_local = {one.spec}, .places = {.directory = directory.path()}});
    play.request(std::string("GET ") + one.url);
    const auto decision = play.ask_request();
    CHECK(decision == (one.answered == nullptr ? Decision::pass : Decision::answer));
    if (one.answered != nullptr) CHECK(play.answered() == one.answered);
  }
  // What the first does not have, a later one may.
  auto play = play_of(
      {.map_local = {"|h.test|d/sub", "|h.test|d"}, .places = {.directory = directory.path()}});
  play.request("GET http://h.test/a.js");
  CHECK(play.ask_request() == Decision::answer);
  CHECK(play.answered() == "200 OK\nContent-Type: text/javascript\n\njs");
}

TEST_CASE("control: block-list answers, or resets") {
  auto play = play_of({.block_list = {":~d ads.test:404", "/~u drop/444"}});
  play.request("GET http://ads.test/");
  CHECK(play.ask_request() == Decision::answer);
  CHECK(play.answered() == "404 Not Found\n\n");
  CHECK(play.by() == "--block-list :~d ads.test:404");
  play.begin();
  play.request("GET http://h.test/drop");
  CHECK(play.ask_request() == Decision::reset);
  play.begin();
  play.request("GET http://h.test/");
  CHECK(play.ask_request() == Decision::pass);
  CHECK(play.sent() == "same");
}

TEST_CASE("control: anticache and anticomp") {
  auto play = play_of({.anticache = true, .anticomp = true});
  play.request("GET http://h.test/", {"if-none-match: x", "accept-encoding: br"});
  CHECK(play.ask_request() == Decision::pass);
  CHECK(play.sent() == "GET /\naccept-encoding: identity\n");
  CHECK(play.by() == "--anticache, --anticomp");
}

TEST_CASE("control: stickycookie sends what was set, where it belongs") {
  auto play = play_of({.stickycookie = "~m GET"});
  const auto sets = [&](const char* url, const char* cookie) {
    play.begin();
    play.request(std::string("POST ") + url);
    CHECK(play.ask_request() == Decision::pass);
    play.response(200, {std::string("Set-Cookie: ") + cookie});
    CHECK(play.ask_response() == Decision::pass);
  };
  const auto sent = [&](const char* url) {
    play.begin();
    play.request(std::string("GET ") + url);
    CHECK(play.ask_request() == Decision::pass);
    return play.sent();
  };
  sets("http://a.h.test/", "s=1; Domain=h.test");
  sets("http://a.h.test/", "t=2; Path=/sub");
  sets("http://a.h.test/", "evil=1; Domain=other.test");
  CHECK(sent("http://b.h.test/") == "GET /\nCookie: s=1\n");
  CHECK(sent("http://a.h.test/sub/x") == "GET /sub/x\nCookie: t=2; s=1\n");
  CHECK(sent("http://other.test/") == "same");
  sets("http://a.h.test/", "s=; Domain=h.test; Max-Age=0");
  CHECK(sent("http://b.h.test/") == "same");
  sets("http://a.h.test/", "t=; Path=/sub; Expires=Thu, 01 Jan 1970 00:00:00 GMT");
  CHECK(sent("http://a.h.test/sub") == "same");
}

TEST_CASE("control: jars of cookies and credentials are bounded") {
  const auto has = [](Play& play, const char* line, const std::vector<std::string>& fields = {}) {
    play.begin();
    play.request(line, fields);
    CHECK(play.ask_request() == Decision::pass);
    return play.sent();
  };
  auto play = play_of({.stickycookie = "~all", .stickyauth = "~all"});
  const auto sets = [&](const std::vector<std::string>& cookies) {
    (void)has(play, "GET http://h.test/");
    play.response(200, cookies);
    CHECK(play.ask_response() == Decision::pass);
  };
  sets({"Set-Cookie: long=" + std::string(5000, 'x')});
  CHECK(has(play, "GET http://h.test/") == "same");
  std::vector<std::string> many;
  for (int i = 0; i < 400; ++i)
    many.push_back(fmt::format("Set-Cookie: n{}={}", i, std::string(3000, 'x')));
  sets(many);
  CHECK(has(play, "GET http://h.test/").size() < 8300);
  sets({"Set-Cookie: late=" + std::string(3000, 'y') + "; Path=/late"});  // the jar is full
  CHECK(has(play, "GET http://h.test/late").find('y') == std::string::npos);
  sets({"Set-Cookie: n0=; Max-Age=0", "Set-Cookie: late=y; Path=/late"});
  CHECK(has(play, "GET http://h.test/late").find("late=y") != std::string::npos);
  (void)has(play, "GET http://a.test/", {"Authorization: " + std::string(9000, 'x')});
  CHECK(has(play, "GET http://a.test/") == "same");
}

TEST_CASE("control: stickyauth sends the last credentials of the host") {
  auto play = play_of({.stickyauth = "~all"});
  play.request("GET http://h.test/", {"Authorization: Basic eA=="});
  CHECK(play.ask_request() == Decision::pass);
  CHECK(play.sent() == "same");
  play.begin();
  play.request("GET http://h.test/");
  CHECK(play.ask_request() == Decision::pass);
  CHECK(play.sent() == "GET /\nAuthorization: Basic eA==\n");
  play.begin();
  play.request("GET http://other.test/");
  CHECK(play.ask_request() == Decision::pass);
  CHECK(play.sent() == "same");
}

TEST_CASE("control: options that cannot be read") {
  struct Case {
    RuleTexts texts;
    const char* error;
  };
  const Case cases[] = {
      {{.modify_headers = {""}},
       "--modify-headers: expected [/FILTER]/NAME/[@]VALUE, whose first character is the "
       "separator, found ''"},
      {{.modify_headers = {"/a"}},
       "--modify-headers: expected [/FILTER]/NAME/[@]VALUE, whose first character is the "
       "separator, found '/a'"},
      {{.modify_headers = {"/a b/c"}},
       "--modify-headers: expected a name of letters, digits and - (RFC 9110), found 'a b'"},
      {{.modify_headers = {"|a|@/nonexistent/f"}},
       "--modify-headers: /nonexistent/f: No such file or directory"},
      {{.modify_headers = {"/a/\\x1"}},
       "--modify-headers: expected two hexadecimal digits behind \\x"},
      {{.modify_body = {"/(/b"}},
       "--modify-body: expected a regular expression of RE2, found '(': missing ): ("},
      {{.map_local = {"|h.test|/nonexistent/d"}},
       "--map-local: /nonexistent/d: No such file or directory"},
      {{.block_list = {"/~d a"}},
       "--block-list: expected /FILTER/STATUS, whose first character is the separator, found "
       "'/~d a'"},
      {{.block_list = {"/~d a/999"}},
       "--block-list: expected a status of HTTP, or 444 to drop the connection, found '999'"},
      {{.block_list = {"/~d a/404x"}},
       "--block-list: expected a status of HTTP, or 444 to drop the connection, found '404x'"},
  };
  for (const Case& one : cases) {
    CAPTURE(one.error);
    CHECK(error_of(one.texts) == one.error);
  }
  CHECK(error_of({.block_list = {"/~zz/404"}}).starts_with("--block-list: filter '~zz': found"));
}

TEST_CASE("control: escapes are Python's") {
  const std::pair<const char*, std::string> cases[] = {
      {"a\\nb", "a\nb"},    {"\\x41\\101\\0", std::string("AA\0", 3)},
      {"\\d\\.", "\\d\\."}, {"\\\\d", "\\d"},
      {"\\'\\\"", "'\""},   {"", ""},
  };
  for (const auto& [text, bytes] : cases) CHECK(mitm::control::unescaped(text).value() == bytes);
  CHECK_FALSE(mitm::control::unescaped("\\"));
  CHECK_FALSE(mitm::control::unescaped("\\xg1"));
}

TEST_CASE("control: rules survive the way to the worker") {
  const RuleTexts texts{.rules = {{{"name", "a"}, {"block", true}}},
                        .modify_headers = {"/a/b"},
                        .stickyauth = "~all",
                        .anticomp = true,
                        .places = {.directory = "/d", .home = "/h"}};
  const auto copy =
      RuleTexts::from_json(nlohmann::json::from_cbor(nlohmann::json::to_cbor(texts.to_json())));
  REQUIRE(copy);
  CHECK(copy->to_json() == texts.to_json());
  auto data = texts.to_json();
  data["map_local"] = 1;
  CHECK_FALSE(RuleTexts::from_json(data));
  CHECK_FALSE(RuleTexts::from_json({}));
}
