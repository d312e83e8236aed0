// Which rules concern an exchange, in which order, and how often.
#include <chrono>

#include <boost/asio/io_context.hpp>

#include "mitm/control/rules_gate.h"
#include "tests/mitm/rule_play.h"
#include "tests/test.h"

using mitm::control::RulesGate;
using mitm::intercept::Decision;
using mitm::intercept::Stage;
using test::Play;

namespace {

mitm::flow::ConnectionRecord connection_of(const char* program, std::uint64_t id = 1) {
  mitm::flow::ConnectionRecord record;
  record.id = id;
  procmap::ProcessFacts facts;
  facts.exe = std::string("/usr/bin/") + program;
  facts.name = program;
  record.process = std::make_shared<const procmap::ProcessFacts>(facts);
  return record;
}

}  // namespace

TEST_CASE("control: all filters are judged on the flow as it came, actions in the rules' order") {
  Play play(R"([
    {"name": "one", "match": "~hq x", "remove_header": "x"},
    {"name": "two", "match": "~hq x", "set_header": {"y": "1"}},
    {"name": "never", "match": "~hq y", "set_header": {"z": "1"}},
    {"name": "off", "enabled": false, "set_header": {"z": "1"}},
    {"name": "three", "request": {"set_header": {"y": "2"}}}])");
  play.request("GET http://h.test/", {"x: 1"});
  CHECK(play.ask_request() == Decision::pass);
  CHECK(play.sent() == "GET /\ny: 2\n");
  CHECK(play.by() == "one, two, three");
}

TEST_CASE("control: where one rule needs the body, those before it wait, too") {
  Play play(R"([
    {"name": "head", "request": {"set_header": {"a": "1"}}},
    {"name": "body", "match": "~bq secret", "request": {"set_header": {"a": "2"}}},
    {"name": "other", "match": "~bq nothing", "request": {"set_header": {"a": "3"}}}])");
  play.request("POST http://h.test/", {}, "a secret");
  CHECK(play.ask_request() == Decision::pass);
  CHECK(play.asked_for_whole());
  CHECK(play.sent() == "POST /\na: 2\n");
  CHECK(play.by() == "head, body");
}

TEST_CASE("control: a body is not waited for where the head decides") {
  Play play(R"([{"match": "~m PUT & ~b secret", "set_header": {"a": "2"}},
                {"match": "~d other.test", "body": "x"}])");
  play.request("POST http://h.test/", {}, "a secret");
  CHECK(play.ask_request() == Decision::pass);
  CHECK_FALSE(play.asked_for_whole());
  play.response(200, {}, "x");
  CHECK(play.ask_response() == Decision::pass);
  CHECK_FALSE(play.asked_for_whole());
}

TEST_CASE("control: only the bodies that decide are waited for") {
  struct Case {
    const char* rule;
    bool request, response;  // waited for
    const char* answered;
  };
  const Case cases[] = {
      {R"({"match": "~bq ask", "response": {"status": 500}})", true, false, "500"},
      {R"({"match": "~bq other", "response": {"status": 500}})", true, false, "same"},
      {R"({"match": "~bs say", "response": {"status": 500}})", false, true, "500"},
      {R"({"match": "~bs say", "request": {"set_header": {"a": "1"}}})", false, false, "same"},
      {R"({"match": "~b say", "response": {"status": 500}})", true, true, "500"},
      {R"({"match": "~bq ask & ~d x.test", "response": {"status": 500}})", false, false, "same"},
      {R"({"match": "~bq ask & ~c 404", "response": {"status": 500}})", true, false, "same"},
  };
  for (const Case& one : cases) {
    CAPTURE(one.rule);
    Play play(fmt::format("[{}]", one.rule));
    play.request("POST http://h.test/", {}, "ask");
    CHECK(play.ask_request() == Decision::pass);
    CHECK(play.asked_for_whole() == one.request);
    play.response(200, {}, "say");
    play.forget_whole();
    CHECK(play.ask_response() == Decision::pass);
    CHECK(play.asked_for_whole() == one.response);
    CHECK(play.answered().substr(0, one.answered[0] == '5' ? 3 : 4) == one.answered);
  }
}

TEST_CASE("control: nothing behind an answer changes the request; the answer is changed") {
  Play play(R"([
    {"name": "a", "respond": {"body": "hello"}},
    {"name": "never", "request": {"set_header": {"x": "1"}}},
    {"name": "b", "response": {"set_header": {"y": "2"},
                               "replace_body": {"text": "l", "with": "L"}}},
    {"name": "c", "match": "~c 404", "response": {"status": 500}}])");
  play.request("GET http://h.test/");
  CHECK(play.ask_request() == Decision::answer);
  CHECK(play.answered() == "200 OK\nContent-Type: text/plain; charset=utf-8\ny: 2\n\nheLLo");
  CHECK(play.by() == "a, b");
}

TEST_CASE("control: limits count exchanges") {
  Play play(R"([{"name": "r", "times": 2, "set_header": {"a": "1"}}])");
  const bool changed[] = {true, true, false, false};
  for (const bool expected : changed) {
    play.begin();
    play.request("GET http://h.test/");
    (void)play.ask_request();
    CHECK((play.sent() != "same") == expected);
    play.response(200);
    (void)play.ask_response();
    CHECK((play.answered() != "same") == expected);
  }
  CHECK(play.rules().hits(0) == 2);
}

TEST_CASE("control: chance decides once for an exchange") {
  Play play(R"([{"name": "r", "probability": 0.5, "set_header": {"a": "1"}}])");
  int changed = 0;
  for (int i = 0; i < 1000; ++i) {
    play.begin();
    play.request("GET http://h.test/");
    (void)play.ask_request();
    play.response(200);
    (void)play.ask_response();
    CHECK((play.sent() == "same") == (play.answered() == "same"));
    changed += play.sent() == "same" ? 0 : 1;
  }
  CHECK(changed > 350);
  CHECK(changed < 650);
}

TEST_CASE("control: many rules by URL and host; only those that may match are asked") {
  std::vector<mitm::control::Rule> rules;
  const auto add = [&](const std::string& match) {
    auto one = test::rules_of(fmt::format(
        R"([{{"name": "{0}", "match": {1}, "request": {{"add_header": {{"n": "{0}"}}}}}}])",
        rules.size(), nlohmann::json(match).dump()));
    rules.push_back(std::move(one.front()));
  };
  for (int i = 0; i < 300; ++i) add(fmt::format("~d ^host{}\\.test$", i));
  add("host == HOST7.test");
  add("~u /path[0-9]+/x");
  add("~d host7 | ~u elsewhere");
  add("~m GET");
  add("!~d host8.test");
  add("path startswith /path");
  add("~u (?i)PATH9");
  add("host in {a.test, host7.test}");
  add("~d b.test & ~u p");
  add("domain == host7.test");
  Play play(std::move(rules));
  play.request("GET http://Host7.test/path9/x");
  CHECK(play.ask_request() == Decision::pass);
  CHECK(play.by() == "7, 300, 301, 302, 303, 304, 305, 306, 307, 309");
  mitm::flow::HttpFlow flow;
  flow.url = "http://other.test/";
  CHECK(play.rules().candidates(flow).size() == 3);  // of "b.test" the text is "test"
  flow.url = "http://b\xC3\xA9.test/";               // case is another matter there
  CHECK(play.rules().candidates(flow).size() == 310);
}

TEST_CASE("control: a rule without filter is asked beside indexed ones") {
  Play play(R"([{"name": "a", "match": "~d x.test", "set_header": {"a": "1"}},
                {"name": "b", "set_header": {"b": "1"}}])");
  play.request("GET http://y.test/");
  CHECK(play.ask_request() == Decision::pass);
  CHECK(play.by() == "b");
}

TEST_CASE("control: a connection that no rule may concern is none of the gate's") {
  boost::asio::io_context context;
  const auto rules = std::make_shared<mitm::control::Rules>(std::vector<mitm::control::Rule>{});
  RulesGate gate{rules, context.get_executor()};
  const auto curl = connection_of("curl");
  const auto wget = connection_of("wget", 2);
  CHECK_FALSE(gate.is_interested(curl));
  rules->set(test::rules_of(R"([{"match": "~p curl & ~m POST", "set_header": {"a": "1"}},
                                {"enabled": false, "anticache": true}])"));
  for (int i = 0; i < 2; ++i) {
    CHECK(gate.is_interested(curl));
    CHECK_FALSE(gate.is_interested(wget));
  }
  rules->set(test::rules_of(R"([{"match": "!~p curl", "set_header": {"a": "1"}}])"));
  CHECK_FALSE(gate.is_interested(curl));
  CHECK(gate.is_interested(wget));
  auto for_tcp = test::rules_of(R"([{"set_header": {"a": "1"}}])");
  for_tcp.front().match = *mitm::query::Filter::parse("~tcp");
  rules->set(std::move(for_tcp));
  CHECK_FALSE(gate.is_interested(curl));
  rules->set(test::rules_of(R"([{"match": "~d a.test", "set_header": {"a": "1"}}])"));
  CHECK(gate.is_interested(wget));
}

TEST_CASE("control: an exchange keeps the rules that it began with") {
  boost::asio::io_context context;
  const auto rules = std::make_shared<mitm::control::Rules>(
      test::rules_of(R"([{"name": "old", "set_header": {"a": "1"}}])"));
  RulesGate gate{rules, context.get_executor()};
  const auto flow = std::make_shared<mitm::flow::HttpFlow>();
  mitm::intercept::Transaction transaction{flow};
  CHECK(gate.ask(Stage::request_head, transaction, {}) == Decision::pass);
  rules->set({});
  flow->response.status = 200;
  CHECK(gate.ask(Stage::response_head, transaction, {}) == Decision::pass);
  REQUIRE(transaction.changed_response() != nullptr);
  CHECK(transaction.changed_response()->fields.find("a") == "1");
}

TEST_CASE("control: a delayed request is resumed later") {
  boost::asio::io_context context;
  const auto rules = std::make_shared<mitm::control::Rules>(
      test::rules_of(R"([{"name": "slow", "delay": "10ms"}])"));
  RulesGate gate{rules, context.get_executor()};
  const auto flow = std::make_shared<mitm::flow::HttpFlow>();
  mitm::intercept::Transaction transaction{flow};
  std::optional<Decision> resumed;
  CHECK_FALSE(
      gate.ask(Stage::request_head, transaction, [&](Decision decision) { resumed = decision; }));
  CHECK_FALSE(resumed);
  context.run();
  CHECK(resumed == Decision::pass);
  CHECK(transaction.edits()->by == std::vector<std::string>{"slow"});
}

TEST_CASE("control: a delay ends with its exchange") {
  boost::asio::io_context context;
  const auto rules = std::make_shared<mitm::control::Rules>(
      test::rules_of(R"([{"name": "slow", "delay": "60m"}])"));
  RulesGate gate{rules, context.get_executor()};
  const auto flow = std::make_shared<mitm::flow::HttpFlow>();
  mitm::intercept::Transaction transaction{flow};
  bool resumed = false;
  CHECK_FALSE(gate.ask(Stage::request_head, transaction, [&](Decision) { resumed = true; }));
  gate.withdrawn(transaction);
  context.run();  // ends at once
  CHECK_FALSE(resumed);
}

TEST_CASE("control: what blocks may be delayed") {
  Play play(R"([{"block": 503, "delay": "2s"}])");
  play.request("GET http://h.test/");
  CHECK(play.ask_request() == Decision::answer);
  CHECK(play.delay() == std::chrono::seconds{2});
}
