// Rules as they are written, and what is said of wrong ones.
#include "mitm/control/value_reader.h"
#include "tests/mitm/rule_play.h"
#include "tests/test.h"

TEST_CASE("control: what is wrong with a rule has its key") {
  struct Case {
    const char *rule, *problems;
  };
  const Case cases[] = {
      {R"({"match": "~d a", "set_header": {"a": "b"}})", ""},
      {R"({"match": "~d a"})",
       "match: the rule has no action, such as set_header, respond or block"},
      {R"({"set_heade": {"a": "b"}, "block": true})",
       "set_heade: unknown key; did you mean set_header?"},
      {R"({"match": "~zz a", "block": true})", nullptr},
      {R"({"match": 1, "block": true})", "match: expected a filter of flows, found 1"},
      {R"({"name": "", "block": true})", "name: expected a string, found ''"},
      {R"({"enabled": 1, "block": true})", "enabled: expected true or false, found 1"},
      {R"({"times": 0, "block": true})", "times: expected a whole number from 1, found 0"},
      {R"({"probability": 1.5, "block": true})",
       "probability: expected a number above 0, up to 1, found 1.5"},
      {R"({"block": 700})",
       "block: expected true, \"reset\" or a status from 200 to 599, found 700"},
      {R"({"set_header": {"a b": "c"}})",
       "set_header: a b: expected a name of letters, digits and - (RFC 9110), found 'a b'"},
      {R"({"set_header": {"a": "c\r\nd: e"}})",
       "set_header: a: expected a value on one line, without control characters, found "
       "'c\\x0d\\x0ad: e'"},
      {R"({"set_header": {"a": "b\u0001"}})",
       "set_header: a: expected a value on one line, without control characters, found 'b\\x01'"},
      {R"({"set_header": {"a": "b\u007f"}})",
       "set_header: a: expected a value on one line, without control characters, found 'b\\x7f'"},
      {R"({"set_header": {"a": "b\tc"}})", ""},
      {R"({"add_header": {"a": []}})", "add_header: a: expected at least one value, found []"},
      {R"({"replace_path": []})", "replace_path: expected at least one replacement, found []"},
      {R"({"actions": []})", "actions: expected a list of actions, found []"},
      {R"({"method": "HEAD"})",
       "method: HEAD is not possible: its answer has no body, and the program waits for one"},
      {R"({"status": 4294967496})", "status: expected a status from 200 to 599, found 4294967496"},
      {R"({"respond": {"status": 4294967496}})",
       "respond: status: expected a status from 200 to 599, found 4294967496"},
      {R"({"block": 4294967496})",
       "block: expected true, \"reset\" or a status from 200 to 599, found 4294967496"},
      {R"({"block": 503, "delay": "2s"})", ""},
      {R"({"block": 503, "path": "/"})", "path: nothing is done to the request behind block"},
      {R"({"block": 503, "set_header": {"a": "b"}})", ""},
      {R"({"actions": [{"respond": {}}, {"delay": "2s"}]})",
       "actions[1].delay: nothing is done to the request behind actions[0].respond"},
      {R"({"block": 503, "request": {"set_header": {"a": "b"}}})",
       "request.set_header: nothing is done to the request behind block"},
      {R"({"match": "resp.size < 1k", "block": true})",
       "match: resp.size is known only when the flow has ended; while messages pass, their heads "
       "and bodies are, and what is said of the connection and its process"},
      {R"j({"match": "~d a & !(~m GET | ~e)", "block": true})j",
       "match: failed (~e) is known only when the flow has ended; while messages pass, their heads "
       "and bodies are, and what is said of the connection and its process"},
      {R"({"match": "~tcp", "block": true})",
       "match: tcp is of other flows than HTTP, and rules are for HTTP"},
      {R"({"match": "~q | ~s | ~b x | ~c 2xx | ~websocket | ~replayq", "block": true})", ""},
      {R"({"set_header": {"a": null}})",
       "set_header: a: a value is needed; remove_header removes the field"},
      {R"({"set_header": []})",
       "set_header: expected an object of header fields: {\"NAME\": \"VALUE\"}, found []"},
      {R"({"remove_header": 1})", "remove_header: expected a name or a list of names, found 1"},
      {R"({"method": "A B"})", "method: expected a method such as GET, found 'A B'"},
      {R"({"path": "x"})", "path: expected a path that begins with /, with its query, found 'x'"},
      {R"({"redirect": "http://a"})",
       "redirect: a request cannot be sent to another server yet; path and replace_path change "
       "what its own server is asked for"},
      {R"({"status": 100})", "status: expected a status from 200 to 599, found 100"},
      {R"({"replace_body": {"regex": "(", "with": ""}})",
       "replace_body: expected a regular expression of RE2, found '(': missing ): ("},
      {R"j({"replace_body": {"regex": "(?=a)", "with": ""}})j",
       "replace_body: expected a regular expression of RE2, which has no look-around, found "
       "'(?=a)': invalid perl operator: (?="},
      {R"({"replace_body": {"regex": "a", "with": "\\1"}})",
       "replace_body: with: Rewrite schema requests 1 matches, but the regexp only has 0 "
       "parenthesized subexpressions. (a backslash is written as \\\\)"},
      {R"({"replace_body": {"regx": "a", "with": ""}})",
       "replace_body: 'regx': unknown key; did you mean regex?"},
      {R"({"replace_body": {"text": "a"}})",
       "replace_body: expected {\"regex\": EXPRESSION, \"with\": TEXT} or {\"text\": TEXT, "
       "\"with\": TEXT}, found {\"text\":\"a\"}"},
      {R"({"json_merge": []})", "json_merge: expected an object (RFC 7396), found []"},
      {R"({"delay": "2h"})",
       "delay: expected a time from 1ms to 60m such as 300ms, 1.5s or 2m, found '2h'"},
      {R"({"respond": {"stats": 200}})", "respond: 'stats': unknown key; did you mean status?"},
      {R"({"respond": {"body": "a", "json": 1}})",
       "respond: one of body, json and file is possible, not several"},
      {R"({"respond": {"file": "/nonexistent/x"}})", ""},  // check_files() looks at it
      {R"({"response": {"method": "PUT"}})",
       "response.method: it changes a request, not a response"},
      {R"({"request": {"set_headr": {}}})",
       "request.set_headr: unknown key; did you mean set_header?"},
      {R"({"request": []})", "request: expected an object of actions, found []"},
      {R"({"actions": [{"block": true}], "path": "/"})",
       "actions: other actions stand beside the list: put them into it"},
      {R"({"actions": [{"block": true, "path": "/"}]})",
       "actions[0]: expected an object with one action, found {\"block\":true,\"path\":\"/\"}"},
      {R"({"actions": [{"blok": true}]})", "actions[0].blok: unknown key; did you mean block?"},
      {R"({"anticache": false})", "anticache: expected true, found false"},
  };
  for (const Case& one : cases) {
    CAPTURE(one.rule);
    if (one.problems == nullptr) {
      CHECK(test::rule_problems(one.rule).starts_with("match: "));
    } else {
      CHECK(test::rule_problems(one.rule) == one.problems);
    }
  }
}

TEST_CASE("control: the form of a JSON patch is checked") {
  CHECK(test::rule_problems(R"({"json_patch": [{"op": "replace", "path": "/a", "value": 1}]})")
            .empty());
  CHECK(test::rule_problems(R"({"json_patch": [{"op": "replac", "path": "/a", "value": 1}]})")
            .starts_with("json_patch: expected a list of operations"));
  CHECK(test::rule_problems(R"({"json_patch": [{"op": "remove", "path": "/none"},
                                              {"op": "bogus", "path": "/a"}]})")
            .starts_with("json_patch: expected a list of operations"));
  CHECK(test::rule_problems(R"({"json_patch": [{"path": "/a"}]})")
            .starts_with("json_patch: expected a list of operations"));
}

TEST_CASE("control: a rule has its own name, or its place") {
  const auto rules = test::rules_of(R"([{"block": true}, {"name": "x", "block": true}])");
  CHECK(rules[0].name == "rules[0]");
  CHECK(rules[1].name == "x");
}

TEST_CASE("control: delays have units") {
  using std::chrono::milliseconds;
  CHECK(mitm::control::parse_delay("300ms").value() == milliseconds{300});
  CHECK(mitm::control::parse_delay("1.5s").value() == milliseconds{1500});
  CHECK(mitm::control::parse_delay("2m").value() == milliseconds{120'000});
  for (const char* const bad : {"", "1", "0ms", "-1s", "61m", "1 s", "x", "nan", "1e99s"}) {
    CAPTURE(bad);
    CHECK_FALSE(mitm::control::parse_delay(bad));
  }
}

TEST_CASE("control: paths of rules begin where the user is") {
  const mitm::control::Places places{.directory = "/work", .home = "/home/ann"};
  CHECK(places.absolute("a/b") == "/work/a/b");
  CHECK(places.absolute("/a") == "/a");
  CHECK(places.absolute("~/a") == "/home/ann/a");
}
