#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <list>

#include <fcntl.h>
#include <unistd.h>

#include "mitm/format/sinks.h"
#include "tests/mitm/sample_flows.h"
#include "tests/test.h"

namespace mitm::format {
namespace {

using Kind = http::Message::Kind;

class TemporaryFile {
 public:
  TemporaryFile() : fd_(::mkstemp(path_)) {}
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() { std::filesystem::remove(path_); }
  [[nodiscard]] const char* path() const { return path_; }
  base::UniqueFd take() { return std::move(fd_); }

 private:
  char path_[32] = "/tmp/osproxy-flows-XXXXXX";
  base::UniqueFd fd_;
};

/// "good", or why not; of each file.
std::vector<std::string> verdicts(const std::vector<std::string>& paths) {
  const std::string source = OSPROXY_SOURCE_DIR;
  const std::string command = fmt::format(
      "/usr/bin/python3 {0}/tests/mitm/format_schema_check.py {0}/conf/flow.schema.json {1}",
      source, fmt::join(paths, " "));
  std::vector<std::string> all;
  FILE* const said = ::popen(command.c_str(), "r");
  char line[4096];
  while (std::fgets(line, sizeof line, said) != nullptr)
    all.emplace_back(line, std::strcspn(line, "\n"));
  REQUIRE(::pclose(said) == 0);
  REQUIRE(all.size() == paths.size());
  return all;
}

void write_lines(const std::vector<test::FlatFlow>& flows, bool bodies, TemporaryFile& file) {
  const auto sink = make_jsonl_sink(file.take(), "test", {.bodies = bodies});
  for (const test::FlatFlow& flow : flows) REQUIRE(sink->write(test::to_event(flow)));
  REQUIRE(sink->flush());
}

constexpr std::pair<test::FlatFlow::Type, Kind> kMessages[] = {
    {test::FlatFlow::Type::websocket, Kind::text},  {test::FlatFlow::Type::websocket, Kind::binary},
    {test::FlatFlow::Type::websocket, Kind::ping},  {test::FlatFlow::Type::websocket, Kind::pong},
    {test::FlatFlow::Type::websocket, Kind::close}, {test::FlatFlow::Type::sse, Kind::event},
    {test::FlatFlow::Type::grpc, Kind::call},       {test::FlatFlow::Type::grpc, Kind::trailers},
};

std::shared_ptr<const flow::Edits> every_edit() {
  auto edits = std::make_shared<flow::Edits>();
  edits->by = {"a rule", "\x1b"};
  edits->answered = true;
  edits->request.emplace().fields.add("a", "b");
  edits->response.emplace().body = flow::Body("text");
  return edits;
}

/// Every type, started and ended, with as much and as little as can be known.
std::vector<test::FlatFlow> examples() {
  std::vector<test::FlatFlow> all;
  for (const auto type :
       {test::FlatFlow::Type::http, test::FlatFlow::Type::tcp, test::FlatFlow::Type::tls_error,
        test::FlatFlow::Type::pass, test::FlatFlow::Type::block}) {
    test::FlatFlow full =
        type == test::FlatFlow::Type::http ? sample_http() : sample_connection(type);
    full.error = "why";
    full.starttls = "postgresql";
    full.refused = "\r\n";
    if (type == test::FlatFlow::Type::http) full.edits = every_edit();
    full.status_text = "OK";
    full.interim.push_back({103, full.request_headers, std::chrono::microseconds{1500}});
    full.times = {std::chrono::microseconds{1}, std::chrono::microseconds{2},
                  std::chrono::microseconds{3}, std::chrono::microseconds{4}};
    full.request_ended = full.response_began = full.response_ended = full.duration;
    all.push_back(full);
    full.event = test::FlatFlow::Event::start;
    all.push_back(full);
    test::FlatFlow least;
    least.type = type;
    all.push_back(least);
    least.event = test::FlatFlow::Event::start;
    least.server = base::parse_endpoint("[fe80::1]:443").value();
    all.push_back(least);
  }
  for (const auto& [type, kind] : kMessages) {
    test::FlatFlow full = sample_message(type, kind, "what is said");
    full.message->what.code = 1000;
    full.message->what.reason = full.message->what.name = full.message->what.id = "why";
    all.push_back(full);
    test::FlatFlow least;
    least.event = test::FlatFlow::Event::message;
    least.type = type;
    least.message.emplace().what.kind = kind;
    all.push_back(least);
  }
  return all;
}

std::vector<test::FlatFlow> with_hostile_strings(const std::string& text) {
  test::FlatFlow flow = sample_http();
  auto process = std::make_shared<procmap::ProcessFacts>(*flow.process);
  process->name = process->exe = process->user = text;
  process->argv = {text, "", text};
  flow.process = std::move(process);
  flow.host = flow.sni = flow.method = flow.url = flow.http_version = flow.reason = flow.error =
      text;
  flow.tls = std::make_shared<const flow::TlsFacts>(flow::TlsFacts{text, text, text});
  flow.upstream_tls = flow.tls;
  flow.request_headers.add(text, text);
  flow.response_headers.add(text, "");
  flow.request_body = flow.response_body = text;
  test::FlatFlow event = sample_message(test::FlatFlow::Type::sse, Kind::event, text);
  event.message->what.name = event.message->what.id = event.url = text;
  test::FlatFlow close = sample_message(test::FlatFlow::Type::websocket, Kind::close, "");
  close.message->what.reason = text;
  return {flow, event, close};
}

}  // namespace

TEST_CASE("schema: every type of flow is valid, with bodies and without") {
  for (const bool bodies : {false, true}) {
    TemporaryFile file;
    write_lines(examples(), bodies, file);
    CHECK(verdicts({file.path()}).at(0) == "good");
  }
}

TEST_CASE("schema: hostile bytes in every string leave one valid object a line") {
  std::vector<test::FlatFlow> flows;
  for (int byte = 0; byte < 256; ++byte)
    for (test::FlatFlow& flow : with_hostile_strings({static_cast<char>(byte), 'x'}))
      flows.push_back(std::move(flow));
  for (const char* text :
       {"\n", "\r\n{}", "\"", "\\\"", "\xc2\x85", "\xe2\x80\xa8\xe2\x80\xa9", "\xed\xbf\xbf"})
    for (test::FlatFlow& flow : with_hostile_strings(text)) flows.push_back(std::move(flow));
  TemporaryFile file;
  write_lines(flows, true, file);
  CHECK(verdicts({file.path()}).at(0) == "good");
}

TEST_CASE("schema: what is not a flow is refused") {
  std::string good;
  render_json(sample_http(), true, good);
  auto with = [&](const char* key, const nlohmann::json& value) {
    auto json = nlohmann::json::parse(good);
    json[key] = value;
    return json.dump() + "\n";
  };
  auto without = [&](const char* key) {
    auto json = nlohmann::json::parse(good);
    json.erase(key);
    return json.dump() + "\n";
  };
  std::string message;
  render_json(sample_message(test::FlatFlow::Type::websocket, Kind::text, "hi"), true, message);
  auto told = [&](const char* key, const nlohmann::json& value) {
    auto json = nlohmann::json::parse(message);
    json[key] = value;
    return json.dump() + "\n";
  };
  auto inside = [&](const char* key, const nlohmann::json& value) {
    auto json = nlohmann::json::parse(message);
    json["message"][key] = value;
    return json.dump() + "\n";
  };
  const std::string bad[] = {told("event", "end"),
                             told("type", "http"),
                             told("duration_ms", 1),
                             inside("from", "both"),
                             inside("kind", "close"),
                             inside("reason", "bye"),
                             inside("name", "x"),
                             inside("wire_bytes", nullptr),
                             inside("payload", "not base64"),
                             with("extra", 1),
                             with("v", 2),
                             with("type", "tcp"),
                             with("event", "start"),
                             with("client", "10.0.0.1"),
                             with("request_headers", {{"only a name"}}),
                             with("duration_ms", -1),
                             with("time", "2026-11-23 09:26:50"),
                             without("process"),
                             without("status"),
                             without("response_body"),
                             good,
                             "",
                             "{\n"};
  std::list<TemporaryFile> files;
  std::vector<std::string> paths;
  for (const std::string& line : bad) {
    paths.emplace_back(files.emplace_back().path());
    std::ofstream(paths.back()) << line;
  }
  const auto found = verdicts(paths);
  for (std::size_t i = 0; i < found.size(); ++i) {
    CAPTURE(bad[i]);
    CHECK(found[i] != "good");
  }
}

}  // namespace mitm::format
