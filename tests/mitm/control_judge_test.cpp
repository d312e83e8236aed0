// Filters that bodies decide, and bodies that are not there.
#include "tests/mitm/rule_play.h"
#include "tests/test.h"

using mitm::intercept::Decision;
using test::Play;

TEST_CASE("control: a rule for both sides may match by the body of the request, and the response") {
  for (const char* const match : {"~s & ~bq ask", "~c 200 & ~bq ask", "~bq ask & ~bs say"}) {
    CAPTURE(match);
    Play play(
        fmt::format(R"([{{"name": "r", "match": "{}", "set_header": {{"a": "1"}}}}])", match));
    play.request("POST http://h.test/", {}, "ask");
    CHECK(play.ask_request() == Decision::pass);
    CHECK(play.asked_for_whole());
    CHECK(play.sent() == "same");
    play.response(200, {}, "say");
    CHECK(play.ask_response() == Decision::pass);
    CHECK(play.answered().starts_with("200 As it was\na: 1\n"));
  }
}

TEST_CASE("control: the request is waited for where a rule for answers of ours needs it") {
  Play play(R"([{"name": "a", "respond": {"body": "hi"}},
                {"name": "b", "match": "~bq ask", "response": {"status": 500}}])");
  play.request("POST http://h.test/", {}, "ask");
  CHECK(play.ask_request() == Decision::answer);
  CHECK(play.asked_for_whole());
  CHECK(play.by() == "a, b");
}

TEST_CASE("control: a body that is known to be empty is judged") {
  for (const int status : {204, 304}) {
    Play play(R"([{"name": "r", "match": "~s & !~bs secret", "set_header": {"a": "1"}}])");
    play.request("GET http://h.test/");
    CHECK(play.ask_request() == Decision::pass);
    play.response(status);
    CHECK(play.ask_response() == Decision::pass);
    CHECK_FALSE(play.asked_for_whole());
    CHECK(play.by() == "r");
  }
}

TEST_CASE("control: a rule that a body decides which is not there says so") {
  struct Case {
    const char* match;
    std::vector<std::string> request, response;
    const char* by;
  };
  const Case cases[] = {
      {"~bs x", {}, {"Content-Type: text/event-stream"}, "r (not judged: it is a stream)"},
      {"!~bs x", {}, {"Content-Type: text/event-stream"}, "r (not judged: it is a stream)"},
      {"~bs x", {}, {"Content-Length: 99999999"}, "r (not judged: it is longer than 16 MiB)"},
      {"~bq x", {"Content-Length: 99999999"}, {}, "r (not judged: it is longer than 16 MiB)"},
      {"~bq x & ~c 404", {"Content-Length: 99999999"}, {}, ""},
  };
  for (const Case& one : cases) {
    CAPTURE(one.match);
    Play play(fmt::format(R"([{{"name": "r", "match": "{}", "response": {{"status": 500}}}}])",
                          one.match));
    play.request("POST http://h.test/", one.request, "x");
    CHECK(play.ask_request() == Decision::pass);
    play.response(200, one.response, "x");
    CHECK(play.ask_response() == Decision::pass);
    CHECK_FALSE(play.asked_for_whole());
    CHECK(play.answered() == "same");
    CHECK(play.by() == one.by);
  }
}

TEST_CASE("control: what was cut for want of memory is not said to be longer than the limit") {
  const auto flow = std::make_shared<mitm::flow::HttpFlow>();
  mitm::intercept::Transaction transaction{flow};
  mitm::control::Exchange exchange{std::make_shared<const mitm::control::RuleSet>(
      test::rules_of(R"([{"name": "a", "match": "~bq x", "request": {"set_header": {"a": "1"}}},
                         {"name": "b", "request": {"replace_body":
                                                   {"text": "x", "with": "y"}}}])"))};
  using mitm::intercept::Stage;
  CHECK(exchange.ask(Stage::request_head, transaction).decision == Decision::whole);
  transaction.set_cut(mitm::flow::Direction::request);
  CHECK(exchange.ask(Stage::request, transaction).decision == Decision::pass);
  CHECK(transaction.edits()->by ==
        std::vector<std::string>{"a (not judged: it is longer than 16 MiB, or than memory allows)",
                                 "b (not done: it is longer than 16 MiB, or than memory allows)"});
}

TEST_CASE("control: what has reached its limit makes no message wait") {
  Play play(R"([{"name": "r", "times": 1, "request": {"body": "new"}},
                {"name": "s", "times": 1, "match": "~bq old",
                 "request": {"set_header": {"a": "1"}}}])");
  for (const bool waits : {true, false}) {
    play.begin();
    play.request("POST http://h.test/", {}, "old");
    CHECK(play.ask_request() == Decision::pass);
    CHECK(play.asked_for_whole() == waits);
    CHECK((play.sent() != "same") == waits);
  }
}

TEST_CASE("control: chance is asked before a message is made to wait") {
  Play play(R"([{"probability": 0.5, "request": {"body": "new"}}])");
  for (int i = 0; i < 100; ++i) {
    play.begin();
    play.request("POST http://h.test/", {}, "old");
    CHECK(play.ask_request() == Decision::pass);
    CHECK(play.asked_for_whole() == (play.sent() != "same"));
  }
}
