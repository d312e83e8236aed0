// Filters that are asked of flows that go on, and fields that are shown.
#include "mitm/query/column.h"
#include "mitm/query/filter.h"
#include "tests/mitm/query_flows.h"
#include "tests/test.h"

namespace mitm::query::test {
namespace {

/// http_flow() before its response.
flow::Flow waiting_flow() {
  flow::Flow flow = http_flow();
  flow::HttpFlow record = *flow.http();
  record.response = {};
  record.duration = {};
  flow.record = std::make_shared<const flow::HttpFlow>(std::move(record));
  flow.state = flow::Flow::State::live;
  return flow;
}

std::optional<bool> foreseen(std::string_view text) {
  return Filter::parse(text)->will_match(waiting_flow());
}

TEST_CASE("filter: of a flow that goes on the answer is known when nothing to come changes it") {
  for (const std::string_view text :
       {"~p curl", "~m POST", "~m POST | ~c 404", "!~m GET", "~c 404 or not ~c 404 | ~m POST",
        "process.name == curl and http"}) {
    CAPTURE(text);
    CHECK(foreseen(text) == true);
  }
  for (const std::string_view text : {"~p wget", "~m GET & ~c 503", "!~p curl", "dns"}) {
    CAPTURE(text);
    CHECK(foreseen(text) == false);
  }
  for (const std::string_view text :
       {"~c 503", "~m POST & ~c 503", "~m GET | ~c 503", "!~c 503", "duration > 1s", "~b x", "~q",
        "resp.header[\"server\"] == x", "failed"}) {
    CAPTURE(text);
    CHECK(foreseen(text) == std::nullopt);
  }
}

TEST_CASE("filter: the head of a response settles what is in it") {
  flow::Flow flow = http_flow();
  flow.state = flow::Flow::State::live;
  CHECK(Filter::parse("~c 503")->will_match(flow) == true);
  CHECK(Filter::parse("~c 404")->will_match(flow) == false);
  CHECK(Filter::parse("duration > 1s")->will_match(flow) == std::nullopt);
}

TEST_CASE("column: shows what a flow has in a field") {
  const auto shown = [](std::string_view name, const flow::Flow& flow) {
    const auto column = Column::parse(name);
    REQUIRE(column);
    return column->values(flow);
  };
  using Values = std::vector<Value>;
  CHECK(shown("process.name", http_flow()).at(0) == Value{"curl"});
  CHECK(shown("method", http_flow()) == Values{"POST"});
  CHECK(shown("status", http_flow()) == Values{503.0});
  CHECK(shown("http", http_flow()) == Values{true});
  CHECK(shown("dns", http_flow()).empty());
  CHECK(shown("status", bare_flow()).empty());
  CHECK(shown("STATUS", http_flow()) == Values{503.0});
  for (const Field* const field : all_fields()) {
    if (!field->never.empty() || field->keyed == Keyed::required) continue;
    CAPTURE(field->name);
    const auto column = Column::parse(field->name);
    REQUIRE(column);
    for (const auto& flow : {http_flow(), websocket_flow(), tcp_flow(), dns_flow(), bare_flow()})
      static_cast<void>(column->values(flow));
  }
  CHECK(!shown("req.header[\"content-type\"]", http_flow()).empty());
}

TEST_CASE("column: errors say what is wrong") {
  for (const auto& [name, error] :
       {std::pair{"statsu", "unknown field 'statsu'; did you mean status?"},
        {"", "unknown field ''"},
        {"status == 200 | method", "unknown field"},
        {"json", "'json' needs a key: json[\"NAME\"]"},
        {"req.header[", "'req.header[': found '['"},
        {"status[\"x\"]", "'status[\"x\"]': "}}) {
    CAPTURE(std::string(name));
    const auto column = Column::parse(name);
    REQUIRE(!column);
    CHECK(column.error().text.find(error) == 0);
  }
}

}  // namespace
}  // namespace mitm::query::test
