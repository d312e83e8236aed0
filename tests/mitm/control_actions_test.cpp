// Each action of a rule, on its message.
#include <zlib.h>

#include "tests/mitm/rule_play.h"
#include "tests/test.h"

using mitm::intercept::Decision;
using test::Play;

namespace {

std::string gzip(std::string_view text) {
  std::string bytes(text.size() + 100, '\0');
  z_stream stream{};
  REQUIRE(::deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(bytes.data());
  stream.avail_out = static_cast<uInt>(bytes.size());
  REQUIRE(::deflate(&stream, Z_FINISH) == Z_STREAM_END);
  bytes.resize(stream.total_out);
  ::deflateEnd(&stream);
  return bytes;
}

}  // namespace

TEST_CASE("control: actions on the head of a request") {
  struct Case {
    const char *actions, *line;
    std::vector<std::string> fields;
    const char* sent;
  };
  const Case cases[] = {
      {R"("set_header": {"x-a": "b"})",
       "GET http://h.test/",
       {"Host: h.test"},
       "GET /\nHost: h.test\nx-a: b\n"},
      {R"("set_header": {"x-a": ["b", "c"]})",
       "GET http://h.test/",
       {"X-A: 1", "X-B: 2", "x-a: 3"},
       "GET /\nX-A: b\nX-B: 2\nx-a: c\n"},
      {R"("set_header": {"x-a": "1"})", "GET http://h.test/", {"X-A: 1"}, "same"},
      {R"("add_header": {"x-a": "b"})",
       "GET http://h.test/",
       {"X-A: 1"},
       "GET /\nX-A: 1\nx-a: b\n"},
      {R"("remove_header": "x-a")",
       "GET http://h.test/",
       {"X-A: 1", "B: 2", "x-a: 3"},
       "GET /\nB: 2\n"},
      {R"("remove_header": ["x-a", "b"])", "GET http://h.test/", {"C: 1"}, "same"},
      {R"("remove_header": "x-a", "set_header": {"X-A": "n"})",
       "GET http://h.test/",
       {"x-a: o"},
       "GET /\nX-A: n\n"},
      {R"("set_cookie": {"a": "1"})", "GET http://h.test/", {}, "GET /\nCookie: a=1\n"},
      {R"("set_cookie": {"a": "1"})",
       "GET http://h.test/",
       {"cookie: b=2; a=0; a=3"},
       "GET /\ncookie: b=2; a=1\n"},
      {R"("set_cookie": {"a": "1"})", "GET http://h.test/", {"cookie: a=1; b=2"}, "same"},
      {R"("remove_cookie": "a")",
       "GET http://h.test/",
       {"cookie: b=2; a=0", "cookie: ab=1"},
       "GET /\ncookie: b=2; ab=1\n"},
      {R"("remove_cookie": "a")", "GET http://h.test/", {"Cookie: a=0"}, "GET /\n"},
      {R"("remove_cookie": "x")", "GET http://h.test/", {"Cookie: a=0"}, "same"},
      {R"("set_query": {"a b": "1&2"})", "GET http://h.test/p", {}, "GET /p?a%20b=1%262\n"},
      {R"("set_query": {"q": "2"})", "GET http://h.test/p?q=1&r=3&q=4", {}, "GET /p?q=2&r=3\n"},
      {R"("remove_query": "q")", "GET http://h.test/p?q=1", {}, "GET /p\n"},
      {R"("remove_query": ["q", "z"])", "GET http://h.test/p?q=1&r=3", {}, "GET /p?r=3\n"},
      {R"("remove_query": "x")", "GET http://h.test/p?q=1", {}, "same"},
      {R"("remove_query": "x")", "GET http://h.test/p?", {}, "same"},
      {R"("remove_query": "x")", "GET http://h.test/p?a&&b", {}, "same"},
      {R"("set_header": {"x-a": " b\t"})", "GET http://h.test/", {}, "GET /\nx-a: b\n"},
      {R"("method": "PUT")", "HEAD http://h.test/", {}, "same"},
      {R"("method": "PUT")", "POST http://h.test/", {}, "PUT /\n"},
      {R"("path": "/new?x=1 2")", "GET http://h.test/old", {}, "GET /new?x=1%202\n"},
      {R"j("replace_path": {"regex": "^/v1/(.*)", "with": "/v2/\\1"})j",
       "GET http://h.test/v1/a?b",
       {},
       "GET /v2/a?b\n"},
      {R"("replace_path": {"text": "a.", "with": "\\1"})",
       "GET http://h.test/a./ab",
       {},
       "GET /\\1/ab\n"},
      {R"("replace_path": {"regex": "x", "with": "y"})", "GET http://h.test/a", {}, "same"},
      {R"("anticache": true)",
       "GET http://h.test/",
       {"If-None-Match: x", "A: b", "if-modified-since: y"},
       "GET /\nA: b\n"},
      {R"("anticomp": true)",
       "GET http://h.test/",
       {"accept-encoding: gzip, br"},
       "GET /\naccept-encoding: identity\n"},
      {R"("response": {"set_header": {"a": "b"}})", "GET http://h.test/", {}, "same"},
      {R"("status": 500)", "GET http://h.test/", {}, "same"},
      {R"("actions": [{"set_header": {"a": "1"}}, {"remove_header": "a"}])",
       "GET http://h.test/",
       {"b: 1"},
       "GET /\nb: 1\n"},
  };
  for (const Case& one : cases) {
    CAPTURE(one.actions);
    Play play(fmt::format(R"([{{"name": "r", {}}}])", one.actions));
    play.request(one.line, one.fields);
    CHECK(play.ask_request() == Decision::pass);
    CHECK_FALSE(play.asked_for_whole());
    CHECK(play.sent() == one.sent);
  }
}

TEST_CASE("control: the target of a request to a proxy keeps its authority") {
  Play play(R"([{"path": "/b"}])");
  play.request("GET http://h.test/a");
  CHECK(play.ask_request() == Decision::pass);
  CHECK(play.sent() == "GET /b\n");
}

TEST_CASE("control: actions on the head of a response") {
  struct Case {
    const char* actions;
    std::vector<std::string> fields;
    const char* answered;
  };
  const Case cases[] = {
      {R"("status": 404)", {"A: b"}, "404 Not Found\nA: b\n"},
      {R"("set_header": {"A": "c"})", {"a: b"}, "200 As it was\na: c\n"},
      {R"("request": {"set_header": {"A": "c"}})", {"a: b"}, "same"},
      {R"("set_cookie": {"s": "1; Path=/"})",
       {"Set-Cookie: s=0", "set-cookie: t=2"},
       "200 As it was\nset-cookie: t=2\nSet-Cookie: s=1; Path=/\n"},
      {R"("remove_cookie": "s")",
       {"Set-Cookie: s=0; Secure", "set-cookie: t=2"},
       "200 As it was\nset-cookie: t=2\n"},
      {R"("match": "~q", "set_header": {"A": "c"})", {"a: b"}, "same"},
      {R"("match": "~s", "set_header": {"A": "c"})", {"a: b"}, "200 As it was\na: c\n"},
      {R"("match": "~c 404", "set_header": {"A": "c"})", {"a: b"}, "same"},
  };
  for (const Case& one : cases) {
    CAPTURE(one.actions);
    Play play(fmt::format("[{{{}}}]", one.actions));
    play.request("GET http://h.test/");
    CHECK(play.ask_request() == Decision::pass);
    play.response(200, one.fields);
    CHECK(play.ask_response() == Decision::pass);
    CHECK(play.answered() == one.answered);
  }
}

TEST_CASE("control: actions on bodies") {
  struct Case {
    const char *actions, *body, *answered;
  };
  const Case cases[] = {
      {R"("body": "new")", "old", "new"},
      {R"("body": {"json": {"a": [1]}})", "old", R"({"a":[1]})"},
      {R"j("replace_body": {"regex": "(\\d+)-(\\d+)", "with": "\\2-\\1"})j", "a 1-2 b 33-4",
       "a 2-1 b 4-33"},
      {R"("replace_body": {"text": "a.c", "with": "\\1"})", "abc a.c", "abc \\1"},
      {R"("replace_body": [{"text": "a", "with": "b"}, {"text": "b", "with": "c"}])", "ab", "cc"},
      {R"("replace_body": {"regex": "(?i)HELLO.*", "with": "x"})", "hello\nworld", "x"},
      {R"("replace_body": {"text": "z", "with": "y"})", "abc", nullptr},
      {R"("replace_body": {"regex": "x*", "with": "-"})", "axb", "-a-b-"},
      {R"j("replace_body": {"regex": "(é|)", "with": "<\\1>"})j", "a\xC3\xA8", "<>a<>\xC3\xA8<>"},
      {R"("json_patch": [{"op": "replace", "path": "/a/0", "value": 2},
          {"op": "remove", "path": "/b"}])",
       R"({"a": [1], "b": 0})", R"({"a":[2]})"},
      {R"("json_merge": {"b": null, "c": {"d": 1}})", R"({"a": 1, "b": 2})",
       R"({"a":1,"c":{"d":1}})"},
      {R"("json_merge": {"a": 1})", R"({"a": 1})", nullptr},
      {R"("json_merge": {"c": {"b": 1}})", R"({"z": 1, "c": {"y": 1, "b": 0}, "a": 2})",
       R"({"z":1,"c":{"y":1,"b":1},"a":2})"},
      {R"("json_patch": [{"op": "add", "path": "/b", "value": 0},
                         {"op": "replace", "path": "/z", "value": 3}])",
       R"({"z": 1, "y": "a,\"{", "a": [{}, 2]})", R"({"z":3,"y":"a,\"{","a":[{},2],"b":0})"},
  };
  for (const Case& one : cases) {
    CAPTURE(one.actions);
    for (const bool coded : {false, true}) {
      Play play(fmt::format(R"([{{"name": "r", "response": {{{}}}}}])", one.actions));
      play.request("GET http://h.test/");
      CHECK(play.ask_request() == Decision::pass);
      std::vector<std::string> fields{"A: b"};
      if (coded) fields.emplace_back("Content-Encoding: gzip");
      play.response(200, fields, coded ? gzip(one.body) : one.body);
      CHECK(play.ask_response() == Decision::pass);
      CHECK(play.asked_for_whole());
      if (one.answered == nullptr) {
        CHECK(play.answered() == "same");
        CHECK(play.by().empty());
      } else {
        CHECK(play.answered().ends_with(std::string("\n\n") + one.answered));
        CHECK(play.answered().find("Encoding") == std::string::npos);
        CHECK(play.by() == "r");
      }
    }
  }
}

TEST_CASE("control: objects with many members are changed as well") {
  std::string body = "{";
  for (int i = 50'000; i > 0; --i) body += fmt::format("\"m{}\":{},", i, i);
  body += "\"z\":0}";
  Play play(R"([{"response": {"json_merge": {"z": 1}}}])");
  play.request("GET http://h.test/");
  CHECK(play.ask_request() == Decision::pass);
  play.response(200, {}, body);
  CHECK(play.ask_response() == Decision::pass);
  CHECK(play.answered().size() == std::string("200 As it was\n\n").size() + body.size());
  CHECK(play.answered().ends_with(",\"z\":1}"));
}

TEST_CASE("control: a body that cannot be changed is not, and the flow says so") {
  struct Case {
    const char* actions;
    std::vector<std::string> fields;
    std::string body;
    const char* by;
    bool whole;
  };
  const char* const replace = R"("replace_body": {"text": "a", "with": "b"})";
  const Case cases[] = {
      {replace,
       {"Content-Encoding: gzip"},
       "aaa",
       "r (not done: its coding (gzip) cannot be undone)",
       true},
      {replace,
       {"Content-Encoding: odd"},
       "aaa",
       "r (not done: its coding (odd) cannot be undone)",
       true},
      {replace,
       {"Content-Length: 99999999"},
       "aaa",
       "r (not done: it is longer than 16 MiB)",
       false},
      {replace,
       {},
       std::string((16 << 20) + 1, 'a'),
       "r (not done: it is longer than 16 MiB)",
       true},
      {replace,
       {"Content-Encoding: gzip"},
       gzip(std::string((16 << 20) + 1, 'a')),
       "r (not done: it is longer than 16 MiB)",
       true},
      {replace, {"Content-Type: text/event-stream"}, "aaa", "r (not done: it is a stream)", false},
      {R"("json_merge": {"a": 1})", {}, "no", "r (not done: it is not JSON)", true},
      {R"("json_patch": [{"op": "add", "path": "/a/b", "value": 1}])",
       {},
       R"({"a": "text"})",
       "r (not done: the JSON patch does not fit: there is no object or array at '/a')",
       true},
      {R"("json_patch": [{"op": "remove", "path": "/c"},
                         {"op": "add", "path": "/d/e", "value": 1}])",
       {},
       R"({"c": 1})",
       nullptr,
       true},
      {R"j("replace_body": {"regex": "(?:)", "with": "0123456789"})j",
       {},
       std::string(2 << 20, 'a'),
       "r (not done: the result would be longer than 16 MiB)",
       true},
      {R"j("replace_body": {"regex": "(a)", "with": "\\1\\1\\1\\1\\1\\1\\1\\1\\1"})j",
       {},
       std::string(2 << 20, 'a'),
       "r (not done: the result would be longer than 16 MiB)",
       true},
      {R"("json_merge": {"a": 1})",
       {},
       std::string(500, '['),
       "r (not done: its JSON is nested more than 200 deep)",
       true},
  };
  for (const Case& one : cases) {
    CAPTURE(one.actions);
    Play play(fmt::format(R"([{{"name": "r", "response": {{{}}}}}])", one.actions));
    play.request("GET http://h.test/");
    CHECK(play.ask_request() == Decision::pass);
    play.response(200, one.fields, one.body);
    CHECK(play.ask_response() == Decision::pass);
    CHECK(play.asked_for_whole() == one.whole);
    CHECK(play.answered() == "same");
    if (one.by == nullptr) {
      CHECK(play.by().starts_with("r (not done: the JSON patch does not fit: "));
    } else {
      CHECK(play.by() == one.by);
    }
  }
}

TEST_CASE("control: a response without body is not waited for") {
  Play play(R"([{"name": "r", "response": {"body": "b"}}])");
  play.request("HEAD http://h.test/");
  CHECK(play.ask_request() == Decision::pass);
  play.response(200, {"Content-Length: 5"});
  CHECK(play.ask_response() == Decision::pass);
  CHECK_FALSE(play.asked_for_whole());
  CHECK(play.by().empty());
}

TEST_CASE("control: an empty body is changed only where its side is named") {
  for (const bool named : {false, true}) {
    Play play(named ? R"([{"name": "r", "request": {"body": "b"}}])"
                    : R"([{"name": "r", "body": "b"}])");
    play.request("POST http://h.test/");
    CHECK(play.ask_request() == Decision::pass);
    CHECK(play.sent() == (named ? "POST /\n\nb" : "same"));
    CHECK(play.by() == (named ? "r" : ""));
  }
}

TEST_CASE("control: answers") {
  struct Case {
    const char *actions, *answered;
  };
  const Case cases[] = {
      {R"("respond": {"body": "hello"})",
       "200 OK\nContent-Type: text/plain; charset=utf-8\n\nhello"},
      {R"("respond": {"status": 404, "json": {"e": 1}, "headers": {"X": ["1", "2"]}})",
       "404 Not Found\nX: 1\nX: 2\nContent-Type: application/json\n\n{\"e\":1}"},
      {R"("respond": {"status": 299, "reason": "So", "headers": {"content-type": "a/b"},
          "body": "x"})",
       "299 So\ncontent-type: a/b\n\nx"},
      {R"("block": 403)", "403 Forbidden\n\n"},
  };
  for (const Case& one : cases) {
    CAPTURE(one.actions);
    Play play(fmt::format(R"([{{"name": "r", {}}}])", one.actions));
    play.request("GET http://h.test/");
    CHECK(play.ask_request() == Decision::answer);
    CHECK(play.answered() == one.answered);
    CHECK(play.by() == "r");
  }
  for (const char* const reset : {"true", "\"reset\""}) {
    Play play(fmt::format(R"([{{"name": "r", "block": {}}}])", reset));
    play.request("GET http://h.test/");
    CHECK(play.ask_request() == Decision::reset);
    CHECK(play.by() == "r");
  }
}
