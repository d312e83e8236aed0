// How filters are read: trees as printed, every trap of mitmproxy's grammar, errors and warnings.
#include "mitm/query/filter.h"
#include "tests/mitm/query_flows.h"
#include "tests/test.h"

namespace mitm::query {
namespace {

Filter::Parsed parse(std::string_view text) {
  return Filter::parse(text, {false, test::sample_time()});
}

/// The tree as text; of an error its message.
std::string tree(std::string_view text) {
  const auto filter = parse(text);
  return filter ? filter->canonical()
                : "at " + std::to_string(filter.error().at) + ": " + filter.error().message();
}

std::string warnings(std::string_view text) {
  const auto filter = parse(text);
  if (!filter) return "error: " + filter.error().message();
  std::string all;
  for (const Warning& warning : filter->warnings())
    all += std::to_string(warning.at) + "+" + std::to_string(warning.length) + " " + warning.text;
  return all;
}

struct Case {
  std::string_view text;
  std::string_view expected;
};

template <std::size_t count>
void check_trees(const Case (&cases)[count]) {
  for (const auto& [text, expected] : cases) {
    CAPTURE(text);
    CHECK(tree(text) == expected);
    const auto filter = parse(text);
    if (filter) CHECK(tree(filter->canonical()) == filter->canonical());
  }
}

TEST_CASE("query: precedence is mitmproxy's: ! before & before | before side by side") {
  check_trees({
      {"", "all"},
      {"  ", "all"},
      {"a", R"(url ~= "a")"},
      {"a & b | c", R"((url ~= "a" & url ~= "b") | url ~= "c")"},
      {"a | b & c", R"(url ~= "a" | (url ~= "b" & url ~= "c"))"},
      {"a | b c", R"((url ~= "a" | url ~= "b") & url ~= "c")"},
      {"a b & c d", R"(url ~= "a" & (url ~= "b" & url ~= "c") & url ~= "d")"},
      {"!a & b", R"(!url ~= "a" & url ~= "b")"},
      {"!(a & b)", R"(!(url ~= "a" & url ~= "b"))"},
      {"! ! a", R"(!!url ~= "a")"},
      {"a & b & c", R"(url ~= "a" & url ~= "b" & url ~= "c")"},
      {"(a & b) & c", R"((url ~= "a" & url ~= "b") & url ~= "c")"},
      {"((a))", R"(url ~= "a")"},
      {"~q&~s|~e", "(unanswered & answered) | failed"},
      {"(~q)|(~s)", "unanswered | answered"},
      {"!~q", "!unanswered"},
  });
}

TEST_CASE("query: words and symbols of both spellings") {
  check_trees({
      {"~q AND ~s Or not ~e", "(unanswered & answered) | !failed"},
      {"~q && ~s || !~e", "(unanswered & answered) | !failed"},
      {"~p curl & ~c 5xx and req.header[\"x\"] contains \"y\"",
       R"(process ~= "curl" & status == 500-599 & req.header["x"] contains "y")"},
      {"process.name == \"curl\" and status in {500,502} and duration > 300ms",
       R"(process.name == "curl" & status in {500, 502} & duration > 300000us)"},
      {"not(~q)", "!unanswered"},
      {"STATUS == 200", "status == 200"},
      {"tls and !ipv6", "tls & !ipv6"},
      {"live&tls", "live & tls"},
      {"not status == 200", "!status == 200"},
  });
}

TEST_CASE("query: statuses, numbers, sizes, durations, addresses") {
  check_trees({
      {"~c 404", "status == 404"},
      {"~c 4xx", "status == 400-499"},
      {"~c 500-599", "status == 500-599"},
      {"~c >=400", "status >= 400"},
      {"~c >= 400", "status >= 400"},
      {"~c {200, 3xx}", "status in {200, 300-399}"},
      {"~c in {200 204}", "status in {200, 204}"},
      {"status != 2xx", "status != 200-299"},
      {"status in 5xx", "status in {500-599}"},
      {"~c 200&~q", "status == 200 & unanswered"},
      {"port == 8000-8100", "port == 8000-8100"},
      {"~pid 12", "process.pid == 12"},
      {"~size >10k", "size > 10240"},
      {"req.size >= 1.5M", "req.size >= 1572864"},
      {"size < 1KiB", "size < 1024"},
      {"~dur <300ms", "duration < 300000us"},
      {"ttfb > 1.5s", "ttfb > 1500000us"},
      {"duration in {1s, 1m-2m}", "duration in {1000000us, 60000000us-120000000us}"},
      {"ip == 10.0.0.0/8", "ip == 10.0.0.0/8"},
      {"ip in {::1, 10.0.0.0/8}", "ip in {::1, 10.0.0.0/8}"},
      {"client.ip != 127.0.0.1", "client.ip != 127.0.0.1"},
  });
}

TEST_CASE("query: times") {
  check_trees({
      {"time >= 2026-11-30T09:15:00Z",
       "time >= 2026-11-30T09:15:00.000000Z..2026-11-30T09:15:00.999999Z"},
      {"time < 2026-11-30T09:15:00.5Z",
       "time < 2026-11-30T09:15:00.500000Z..2026-11-30T09:15:00.599999Z"},
      {"time < 2026-11-30T11:15+02:00",
       "time < 2026-11-30T09:15:00.000000Z..2026-11-30T09:15:59.999999Z"},
      {"since 10m", "time >= 2026-11-30T09:05:00.000000Z"},
      {"~since 10m", "time >= 2026-11-30T09:05:00.000000Z"},
      {"since >= 1h", "time >= 2026-11-30T08:15:00.000000Z"},
      {"time > -15s", "time > 2026-11-30T09:14:45.000000Z"},
  });
  CHECK(parse("time == 2026-11-30"));
  CHECK(parse("since 2026-11-30T10:00"));
}

TEST_CASE("query: quotes; only \\\" \\' and \\\\ are escapes in them") {
  check_trees({
      {R"(~d "a\.com")", R"(host ~= "a\.com")"},
      {R"(~b "say \"hi\"")", R"(body ~= "say \"hi\"")"},
      {R"(~b 'it\'s')", R"(body ~= "it's")"},
      {R"(~b "a\\.b")", R"(body ~= "a\.b")"},
      {R"(~b "a\\\\b")", R"(body ~= "a\\\b")"},
      {R"("two words")", R"(url ~= "two words")"},
      {R"(~b "x"&~q)", R"(body ~= "x" & unanswered)"},
      {R"(~b"x")", R"(body ~= "x")"},
      {R"(comment == "")", R"(comment == "")"},
  });
}

TEST_CASE("query: characters are reserved only where an operator can begin") {
  check_trees({
      {"~bq (?i)user", R"(req.body ~= "(?i)user")"},
      {"it's", R"(url ~= "it's")"},
      {"~u foo~bar", R"(url ~= "foo~bar")"},
      {"~u a|b", R"(url ~= "a|b")"},
      {"foo|bar", R"(url ~= "foo|bar")"},
      {"(foo|bar)", R"(url ~= "foo|bar")"},
      {"/x?a=1&b=2", R"(url ~= "/x?a=1&b=2")"},
      {"~marker :red_circle:", R"(mark ~= ":red_circle:")"},
      {"~t image/png|gif", R"(content_type ~= "image/png|gif")"},
      {"~u !x", R"(url ~= "!x")"},
      {"token", R"(url ~= "token")"},
      {"a=b", R"(url ~= "a=b")"},
      {"in", R"(url ~= "in")"},
      {"foo in bar", R"(url ~= "foo" & url ~= "in" & url ~= "bar")"},
  });
}

TEST_CASE("query: balanced parentheses that touch a word belong to the regular expression") {
  check_trees({
      {"~u get(Info|Routers)", "url ~= \"get(Info|Routers)\""},
      {"(~u get(Info|Routers))", "url ~= \"get(Info|Routers)\""},
      {"(~u a(b(c)d)e | ~q)", "url ~= \"a(b(c)d)e\" | unanswered"},
      {"get(a|b)c & ~q", "url ~= \"get(a|b)c\" & unanswered"},
      {"(~u \\))", "url ~= \"\\)\""},
      {"(~u [)])", "url ~= \"[)]\""},
      {"~u (a|b)c", "url ~= \"(a|b)c\""},
      {"url matches a(b|c)", "url ~= \"a(b|c)\""},
  });
}

TEST_CASE("query: traps are errors that say where and what to write") {
  check_trees({
      {"~d a.com|~d b.com",
       "at 8: found '|~', expected a regular expression; put spaces around an operator; a regular "
       "expression that contains it stands in quotes"},
      {"~d a.com| ~d b.com",
       "at 3: found '|' at the end of 'a.com|', expected a regular expression; an empty "
       "alternative matches everything; put spaces around | to join two filters"},
      {"~d \"|a\"",
       "at 3: found '|' at the beginning of '\"|a\"', expected a regular expression; an empty "
       "alternative matches everything; put spaces around | to join two filters"},
      {"a&&b",
       "at 1: found '&&', expected a regular expression; put spaces around an operator; a regular "
       "expression that contains it stands in quotes"},
      {"~c 40x",
       "at 3: found '40x', expected a status such as 404, 4xx, 500-599 or >=400; did you mean "
       "4xx?"},
      {"~c404", "at 0: found '~c404', expected a blank behind the operator; write ~c 404"},
      {"~c",
       "at 2: found the end of the filter, expected a status such as 404, 4xx, 500-599 or "
       ">=400"},
      {"~u get(Info | Routers)",
       "at 3: found 'get(Info', expected a closing parenthesis; a regular expression with blanks "
       "stands in quotes"},
      {"~u a(?!b)",
       "at 3: found the look-around '(?!', expected a regular expression of RE2, which has no "
       "look-around; exclude with a filter of its own: & !~u ..."},
      {"~u \"(?<=a)b\"",
       "at 3: found the look-around '(?<', expected a regular expression of RE2, which has no "
       "look-around; write what is looked for as a filter of its own, joined by &, or excluded by "
       "!"},
      {R"(~u "(a)\1")",
       R"(at 3: found the back-reference '\1', expected a regular expression of RE2, which has no )"
       "back-references"},
      {"~b \"open",
       "at 3: found '\"open', expected the quote that ends it; the quote at 3 is open; "
       "\\\" and \\' are quotes inside of quotes"},
      {"~q)",
       "at 2: found ')', expected the end of the filter; no parenthesis is open; one that "
       "belongs to a regular expression is written \\) or in quotes"},
      {"(~q", "at 3: found the end of the filter, expected ')'; the parenthesis at 0 is open"},
      {"~q &",
       "at 4: found the end of the filter, expected a filter such as ~u REGEX, status == "
       "500 or a word of the URL"},
      {"| ~q",
       "at 0: found '|', expected a filter such as ~u REGEX, status == 500 or a word of "
       "the URL"},
      {"~q and or",
       "at 7: found 'or', expected a filter such as ~u REGEX, status == 500 or a word "
       "of the URL; a word of a URL that is spelled so stands in quotes"},
      {"~d & ~q", "at 3: found '&', expected a regular expression"},
      {"~d ~q", "at 3: found '~q', expected a regular expression"},
      {"~coment x",
       "at 0: found '~coment', expected an operator such as ~u, ~c or ~p; did you "
       "mean ~comment?"},
      {"~method x",
       "at 0: found '~method', expected an operator such as ~u, ~c or ~p; did you "
       "mean ~m or method?"},
  });
}

TEST_CASE("query: errors of typed comparisons") {
  check_trees({
      {"proces.name == curl",
       "at 0: found 'proces.name', expected a field; did you mean process.name, parent.name, "
       "ancestor.name, graphql.name or dns.name?; a word of a URL that is spelled so stands in "
       "quotes"},
      {"user-agent contains curl",
       "at 0: found 'user-agent', expected a field; did you mean req.header[\"user-agent\"] or "
       "resp.header[\"user-agent\"]?; a word of a URL that is spelled so stands in quotes"},
      {"req.header.user-agent == x",
       "at 0: found 'req.header.user-agent', expected a field; did you mean "
       "req.header[\"user-agent\"]?; a word of a URL that is spelled so stands in quotes"},
      {"host < 3",
       "at 5: found '<', expected ==, !=, contains, startswith, endswith, matches or "
       "in; host is a text"},
      {"status contains 5",
       "at 7: found 'contains', expected ==, !=, <, <=, >, >= or in; status is a number"},
      {"ip contains 10.",
       "at 3: found 'contains', expected ==, != or in; ip is an address; write "
       "a network: ip == 10.0.0.0/8"},
      {"ip == 10.0.0.1/8",
       "at 6: found '10.0.0.1/8', expected an address or a network such as "
       "192.0.2.1, 10.0.0.0/8 or fe80::/10; '10.0.0.1/8' has host bits set; "
       "the network is 10.0.0.0/8"},
      {"duration > 300",
       "at 11: found '300', expected a duration such as 300ms, 2s or 5m; did you "
       "mean 300ms?"},
      {"~size 10k",
       "at 6: found '10k', expected a comparison such as >10k or <300ms; for example: "
       "~size >1M"},
      {"tls == true",
       "at 4: found '==', expected the end of the comparison; tls is true or false "
       "by itself: write tls or !tls"},
      {"method = GET",
       "at 7: found '=', expected == or another comparison; a URL that contains "
       "'method=' is written in quotes"},
      {"method == GET|method == POST",
       "at 13: found '|', expected a text without & and |; put spaces around an operator, or "
       "quotes around the text"},
      {"status in {500, 5x}",
       "at 16: found '5x', expected a status such as 404, 4xx, 500-599 or "
       ">=400; did you mean 5xx?"},
      {"status in {500", "at 14: found the end of the filter, expected ',' or '}'"},
      {"method in GET", "at 10: found 'GET', expected a set such as {a, b}"},
      {"host[\"x\"] == y", "at 4: found '[\"x\"]', expected a comparison; host has no key"},
      {"json == 3",
       "at 5: found '==', expected json[\"...\"]; for example: "
       "json[\"$.items[*].price\"] > 100"},
      {"json[\"$.a[\"] == 3",
       "at 4: found '[\"$.a[\"]', expected a path such as $.a.b, $.list[0] or $.list[*]"},
      {"json[\"$.a\"] > x", "at 14: found 'x', expected a number"},
      {"req.header[\"x\"]",
       "at 15: found the end of the filter, expected ==, !=, contains, "
       "startswith, endswith, matches or in; that there is one: "
       "req.header[\"x\"] ~= \"\""},
      {"time > yesterday",
       "at 7: found 'yesterday', expected a time such as 2026-11-30, 2026-11-30T09:15, "
       "2026-11-30T09:15:00Z or 10m (ago)"},
  });
}

TEST_CASE("query: fields that are not recorded are unknown, whatever other tools have") {
  for (const std::string_view name : {"held", "modified", "tls.ja4", "process.container",
                                      "process.unit", "exec.id", "rule.name", "replayed"}) {
    CAPTURE(name);
    const auto filter = parse(std::string(name) + " == \"x\"");
    REQUIRE_FALSE(filter);
    CHECK(filter.error().at == 0);
    CHECK(filter.error().length == name.size());
    CHECK(filter.error().expected == "a field");
  }
  CHECK(parse("process.container == x").error().hint.find("process.cgroup") != std::string::npos);
  CHECK(parse("tls.ja4 == x").error().hint.find("tls.cipher") != std::string::npos);
}

TEST_CASE("query: warnings") {
  CHECK(warnings("a | b c") ==
        R"(0+7 filters side by side are joined after |: this is read as )"
        R"((url ~= "a" | url ~= "b") and url ~= "c"; write & or parentheses)");
  CHECK(warnings("(a | b) c").empty());
  CHECK(warnings("a b").empty());
  CHECK(warnings("(foo|bar)baz").find("what stands in these parentheses is a filter") !=
        std::string::npos);
  CHECK(warnings("~replay") == "0+7 ~replay never matches: osproxy records no replayed flows");
  CHECK(warnings("~meta x") == "0+5 ~meta never matches: flows have no metadata here");
  CHECK(warnings("~udp") == "0+4 ~udp never matches: osproxy records no UDP flows but DNS");
  CHECK(warnings("host") ==
        "0+4 'host' is looked for in URLs; the field is written host == ..., "
        "and a word of a URL in quotes");
  CHECK(warnings("~q & tls").empty());
}

TEST_CASE("query: limits") {
  CHECK_FALSE(parse(std::string(kMaxText + 1, 'a')));
  CHECK_FALSE(parse(std::string(101, '(') + "a" + std::string(101, ')')));
  CHECK_FALSE(parse(std::string(101, '!') + "a"));
  CHECK(parse(std::string(100, '!') + "a"));
  std::string many;
  for (std::size_t i = 0; i < kMaxTests; ++i) many += "~q ";
  CHECK(parse(many));
  CHECK_FALSE(parse(many + "~q"));
}

TEST_CASE("query: what is shown of a filter in an error is safe to show") {
  const auto filter = parse("~c \x1b[31m");
  REQUIRE_FALSE(filter);
  CHECK(filter.error().found == "'\\x1b[31m'");
  CHECK(parse("~u \x1b[31m").error().message().find('\x1b') == std::string::npos);
  CHECK(warnings("a | \x1b c").find('\x1b') == std::string::npos);
}

TEST_CASE("query: cost is that of the most expensive part") {
  CHECK(parse("~p curl & ~c 5xx")->cost() == Cost::row);
  CHECK(parse("~p curl & ~hq x")->cost() == Cost::heads);
  CHECK(parse("~p curl & (~hq x | !~b x)")->cost() == Cost::bodies);
}

}  // namespace
}  // namespace mitm::query
