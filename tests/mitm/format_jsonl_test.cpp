#include "mitm/flow/event.h"
#include "mitm/format/jsonl_reader.h"
#include "mitm/format/sinks.h"
#include "tests/mitm/flow_description.h"
#include "tests/mitm/sample_flow_files.h"
#include "tests/test.h"

namespace mitm::format {
namespace {

void add_line(const flow::Event& event, bool bodies, std::string& out) {
  render_json(event, bodies, out);
  out += '\n';
}

flow::Event start_of(const flow::Flow& flow) {
  if (flow.http()) return flow::HttpUnderWay{std::make_shared<flow::HttpFlow>(*flow.http())};
  return flow::TcpBegin{std::make_shared<flow::TcpFlow>(*flow.tcp())};
}

flow::Event end_of(const flow::Flow& flow) {
  if (flow.http()) return flow::HttpEnd{std::make_shared<flow::HttpFlow>(*flow.http())};
  if (flow.tcp()) return flow::TcpEnd{std::make_shared<flow::TcpFlow>(*flow.tcp())};
  return flow::DnsEnd{std::make_shared<flow::DnsFlow>(*flow.dns())};
}

/// As the sink writes it: messages between start and end.
void add_flow(const flow::Flow& flow, bool bodies, std::string& out) {
  if (!flow.messages.empty()) add_line(start_of(flow), bodies, out);
  for (const auto& message : flow.messages) {
    if (flow.http()) add_line(flow::Message{message}, bodies, out);
  }
  add_line(end_of(flow), bodies, out);
}

ReadFlows read_lines(std::string_view lines) {
  const auto reader = make_jsonl_reader(source_of(lines));
  return read_all(*reader);
}

std::shared_ptr<flow::HttpFlow> with_all_keys() {
  auto http = copy_http(sample_flow("full"));
  http->refused = std::string("\0\xff bad", 6);
  auto edits = std::make_shared<flow::Edits>();
  edits->by = {"one", "two"};
  edits->answered = true;
  auto& request = edits->request.emplace();
  request.method = "PUT";
  request.target = "/b?c";
  request.fields.add("X", "1");
  request.body = flow::Body("new");
  auto& response = edits->response.emplace();
  response.status = 404;
  response.fields.add("X", "2");
  http->edits = std::move(edits);
  http->response.interim.push_back({103, http->request.fields, std::chrono::microseconds(1500)});
  return http;
}

std::vector<SampleFlow> jsonl_samples() {
  std::vector<SampleFlow> samples = sample_flows();
  flow::Flow flow;
  flow.record = with_all_keys();
  samples.push_back({"all keys", flow});
  return samples;
}

/// What the lines keep of `flow`.
flow::Flow kept(const flow::Flow& flow, bool bodies) {
  flow::Flow expected = flow;
  expected.notes = {};
  expected.uuid.clear();
  expected.state = flow::Flow::State::ended;
  auto connection = copy_connection(flow);
  auto process = std::make_shared<procmap::ProcessFacts>(*connection->process);
  process->uid = process->gid = 0;
  process->group = process->cgroup = "";
  connection->process = process;
  connection->opened = flow.facts().began;
  if (flow.dns()) connection->times = {};
  if (flow.dns()) connection->host.clear();
  std::visit(
      [&]<class Record>(const std::shared_ptr<const Record>& record) {
        auto copy = std::make_shared<Record>(*record);
        copy->connection = connection;
        expected.record = std::shared_ptr<const Record>(std::move(copy));
      },
      flow.record);
  if (flow.tcp()) expected.messages.clear();
  if (!flow.http()) return expected;
  auto http = copy_http(expected);
  if (http->request.target.starts_with("http://")) http->request.target = "/path?q=1";
  if (!bodies) http->request.body = http->response.body = {};
  if (!bodies && http->edits) {
    auto edits = std::make_shared<flow::Edits>(*http->edits);
    edits->request->body = {};
    http->edits = std::move(edits);
  }
  expected.record = std::move(http);
  for (auto& message : expected.messages) {
    if (bodies) continue;
    auto copy = std::make_shared<flow::StreamMessage>(*message);
    copy->what.payload.clear();
    message = std::move(copy);
  }
  return expected;
}

}  // namespace

TEST_CASE("jsonl: flows are the same after writing and reading") {
  for (const bool bodies : {true, false}) {
    std::string lines;
    for (const SampleFlow& sample : jsonl_samples()) add_flow(sample.flow, bodies, lines);
    const auto reader = make_jsonl_reader(slow_source(lines));
    const ReadFlows read = read_all(*reader);
    CHECK(read.errors.empty());
    const auto samples = jsonl_samples();
    REQUIRE(read.flows.size() == samples.size());
    for (std::size_t i = 0; i < samples.size(); ++i) {
      CAPTURE(samples[i].name);
      CHECK(differences(kept(samples[i].flow, bodies), read.flows[i]) == "");
    }
  }
}

TEST_CASE("jsonl: messages of flows that go on side by side find their own") {
  const flow::Flow one = sample_flow("websocket"), two = sample_flow("events");
  std::string lines;
  add_line(start_of(one), true, lines);
  add_line(start_of(two), true, lines);
  add_line(flow::Message{one.messages[0]}, true, lines);
  add_line(flow::Message{two.messages[0]}, true, lines);
  add_line(flow::Message{one.messages[1]}, true, lines);
  add_line(end_of(two), true, lines);
  add_line(end_of(one), true, lines);
  const ReadFlows read = read_lines(lines);
  REQUIRE(read.flows.size() == 2);
  CHECK(read.flows[0].facts().id == two.facts().id);
  CHECK(read.flows[0].messages.size() == 1);
  CHECK(read.flows[1].messages.size() == 2);
}

TEST_CASE("jsonl: a flow without an end is interrupted") {
  const flow::Flow flow = sample_flow("websocket");
  std::string lines;
  add_line(start_of(flow), true, lines);
  add_line(flow::Message{flow.messages[0]}, true, lines);
  std::string only_message;
  add_line(flow::Message{flow.messages[0]}, true, only_message);
  for (const std::string& text : {lines, only_message}) {
    const ReadFlows read = read_lines(text);
    CHECK(read.errors.empty());
    REQUIRE(read.flows.size() == 1);
    CHECK(read.flows[0].state == flow::Flow::State::interrupted);
    CHECK(read.flows[0].messages.size() == 1);
    CHECK(read.flows[0].http()->url == flow.http()->url);
    CHECK(read.flows[0].facts().id == flow.facts().id);
  }
}

TEST_CASE("jsonl: a broken line is named with its number and its offset, and skipped") {
  std::string good;
  add_line(end_of(sample_flow("full")), false, good);
  for (const std::string bad :
       {"{", "nonsense", "[]", "7", "{\"v\":2}", "{\"v\":1}", "{\"v\":1,\"id\":1}",
        "{\"v\":1,\"id\":\"x\"}", R"({"v":1,"id":1,"time":"2026-13-01T00:00:00Z"})",
        R"({"v":1,"id":1,"time":"2026-11-01T00:00:00Z","event":"begin"})",
        R"({"v":1,"id":1,"time":"2026-11-01T00:00:00Z","event":"end","type":"x"})",
        R"({"v":1,"id":1,"time":"2026-11-01T00:00:00Z","event":"message","type":"http"})"}) {
    CAPTURE(bad);
    const ReadFlows read = read_lines(good + bad + "\n\r\n" + good);
    CHECK(read.flows.size() == 2);
    REQUIRE(read.errors.size() == 1);
    CHECK(read.errors[0].starts_with(fmt::format("line 2, byte {}: ", good.size())));
  }
}

TEST_CASE("jsonl: a file that ends inside a line says so") {
  std::string line;
  add_line(end_of(sample_flow("full")), true, line);
  const std::string whole = line + line;
  const ReadFlows read = read_lines(std::string_view(whole).substr(0, whole.size() - 20));
  CHECK(read.flows.size() == 1);
  REQUIRE(read.errors.size() == 1);
  CHECK(read.errors[0] == fmt::format("line 2, byte {}: the file ends inside a line", line.size()));
  CHECK(read_lines(std::string_view(whole).substr(0, whole.size() - 1)).errors.empty());
}

}  // namespace mitm::format
