#include <cstdio>
#include <filesystem>
#include <fstream>

#include "base/subprocess.h"
#include "mitm/format/mitm_file.h"
#include "mitm/format/tnetstring.h"
#include "tests/mitm/flow_description.h"
#include "tests/mitm/sample_flow_files.h"
#include "tests/mitm/temporary_file.h"
#include "tests/test.h"

namespace mitm::format {
namespace {

std::vector<flow::Flow> all_flows() {
  std::vector<flow::Flow> flows;
  for (SampleFlow& sample : sample_flows()) flows.push_back(std::move(sample.flow));
  return flows;
}

std::string mitm_file(MitmVersion version) {
  return write_all(*make_mitm_writer(version), all_flows());
}

/// What the format keeps of `flow`.
flow::Flow kept(const flow::Flow& flow, const std::string& uuid) {
  flow::Flow expected = flow;
  expected.uuid = uuid;
  auto connection = copy_connection(flow);
  if (connection->upstream_tls) {
    auto tls = std::make_shared<flow::TlsFacts>(*connection->upstream_tls);
    tls->certificates = nullptr;
    connection->upstream_tls = std::move(tls);
  }
  std::visit(
      [&]<class Record>(const std::shared_ptr<const Record>& record) {
        auto copy = std::make_shared<Record>(*record);
        copy->connection = connection;
        expected.record = std::shared_ptr<const Record>(std::move(copy));
      },
      flow.record);
  if (flow.http() && !flow.messages.empty() &&
      flow.messages[0]->kind == flow::StreamMessage::Kind::sse)
    expected.messages.clear();
  return expected;
}

std::string run_check(const char* command, const std::string& path) {
  base::Program program;
  program.arguments = {"/usr/bin/python3", OSPROXY_SOURCE_DIR "/tests/mitm/format_mitm_check.py",
                       command, path};
  const auto finished = base::run(program);
  REQUIRE(finished);
  CHECK_MESSAGE(finished->status == 0, finished->err);
  return finished->out;
}

std::vector<flow::Flow> read_bytes(std::string_view bytes) {
  const auto reader = make_mitm_reader(source_of(bytes));
  ReadFlows read = read_all(*reader);
  CHECK(read.errors.empty());
  return std::move(read.flows);
}

}  // namespace

TEST_CASE("mitm: flows are the same after writing and reading, in both versions") {
  for (const MitmVersion version : {MitmVersion::v17, MitmVersion::v21}) {
    const std::vector<flow::Flow> flows = all_flows();
    const std::string bytes = mitm_file(version);
    const auto reader = make_mitm_reader(slow_source(bytes));
    const ReadFlows read = read_all(*reader);
    CHECK(read.errors.empty());
    REQUIRE(read.flows.size() == flows.size());
    for (std::size_t i = 0; i < flows.size(); ++i) {
      CAPTURE(sample_flows()[i].name);
      CHECK(read.flows[i].uuid.size() == 36);
      CHECK(differences(kept(flows[i], read.flows[i].uuid), read.flows[i]) == "");
    }
  }
}

TEST_CASE("mitm: a flow keeps its uuid, and one without gets the same each time") {
  const auto read = read_bytes(mitm_file(MitmVersion::v21));
  CHECK(read[0].uuid == sample_flow("full").uuid);
  CHECK(read[1].uuid == read_bytes(mitm_file(MitmVersion::v17))[1].uuid);
  CHECK(read[1].uuid != read[2].uuid);
}

TEST_CASE("mitm: a flow that was interrupted has an error, which is none when it is read") {
  auto http = copy_http(sample_flow("unanswered"));
  http->error.clear();
  flow::Flow flow = sample_flow("unanswered");
  flow.record = http;
  std::string bytes;
  const auto writer = make_mitm_writer(MitmVersion::v21);
  REQUIRE(writer->write(flow, bytes));
  CHECK(bytes.find(flow::kInterrupted) != bytes.npos);
  const auto read = read_bytes(bytes);
  REQUIRE(read.size() == 1);
  CHECK(read[0].state == flow::Flow::State::interrupted);
  CHECK(read[0].facts().error == "");
}

TEST_CASE("mitm: a body that was not recorded is null, an empty one is not") {
  auto http = copy_http(sample_flow("full"));
  http->response.body = {};
  flow::Flow flow;
  flow.record = http;
  std::string missing, empty;
  REQUIRE(make_mitm_writer(MitmVersion::v21)->write(flow, missing));
  CHECK(missing.find("7:content;0:~") != missing.npos);
  http = copy_http(flow);
  http->response.body_bytes = 0;
  flow.record = http;
  REQUIRE(make_mitm_writer(MitmVersion::v21)->write(flow, empty));
  CHECK(empty.find("7:content;0:~") == empty.npos);
}

TEST_CASE("mitm: strings that are not UTF-8 do not break the file") {
  auto connection = copy_connection(sample_flow("full"));
  auto process = std::make_shared<procmap::ProcessFacts>(*connection->process);
  process->name = "a\xff";
  process->argv = {"\xff\xfe", "x"};
  connection->process = process;
  connection->host = connection->sni = "\xff.example";
  auto http = copy_http(sample_flow("full"));
  http->connection = connection;
  http->error = "\xc3";
  flow::Flow flow;
  flow.record = http;
  TemporaryFile file(write_all(*make_mitm_writer(MitmVersion::v21), {flow}));
  CHECK(run_check("strict", file.path()) == "1\n");
}

TEST_CASE("mitm: version 21 has exactly the keys of mitmproxy's readers") {
  TemporaryFile file(mitm_file(MitmVersion::v21));
  CHECK(run_check("strict", file.path()) == fmt::format("{}\n", sample_flows().size()));
}

TEST_CASE("mitm: mitmproxy 8.1 reads what version 17 is, field by field") {
  TemporaryFile file(mitm_file(MitmVersion::v17));
  const std::string out = run_check("read", file.path());
  CHECK(out == contents(OSPROXY_SOURCE_DIR "/tests/mitm/format_mitm_read.txt"));
}

TEST_CASE("mitm: mitmdump shows what we have written") {
  TemporaryFile file(mitm_file(MitmVersion::v17));
  base::Program program;
  program.arguments = {"/usr/bin/mitmdump", "-nr", file.path(), "--set", "confdir=/tmp"};
  program.time_limit = std::chrono::seconds(60);
  const auto finished = base::run(program);
  REQUIRE(finished);
  CHECK_MESSAGE(finished->status == 0, finished->err);
  CHECK(finished->err == "");
  for (const char* text : {"POST https://example.org/path?q=1", "<< 200 OK 6b",
                           "GET https://example.org/path?q=1 HTTP/2.0", "CONNECT example.org:443",
                           "connection refused"}) {
    CAPTURE(text);
    CAPTURE(finished->out);
    CHECK(finished->out.find(text) != std::string::npos);
  }
}

TEST_CASE("mitm: what mitmproxy 8.1 has written is read") {
  TemporaryFile file("");
  run_check("write", file.path());
  const auto flows = read_bytes(contents(file.path()));
  REQUIRE(flows.size() == 6);
  for (std::size_t i = 0; i < flows.size(); ++i) {
    CHECK(flows[i].uuid == fmt::format("00000000-0000-4000-8000-00000000000{}", i));
    CHECK(flows[i].notes.comment == fmt::format("number {}", i));
    CHECK(flows[i].facts().id == i + 1);
    CHECK(flows[i].facts().connection->process == nullptr);
  }
  std::string found;
  for (const flow::Flow& flow : flows) found += describe(flow) + "\n";
  CHECK(found == contents(OSPROXY_SOURCE_DIR "/tests/mitm/format_mitm_written.txt"));
}

TEST_CASE("mitm: what mitmdump has recorded of real connections is read") {
  TemporaryFile file("");
  base::Program program;
  program.arguments = {"/usr/bin/unshare", "-n",
                       "/usr/bin/python3", OSPROXY_SOURCE_DIR "/tests/mitm/format_mitm_check.py",
                       "capture",          file.path()};
  program.time_limit = std::chrono::seconds(120);
  const auto finished = base::run(program);
  REQUIRE(finished);
  REQUIRE_MESSAGE(finished->status == 0, finished->err);
  const auto flows = read_bytes(contents(file.path()));
  REQUIRE(flows.size() == 2);
  const char* const urls[] = {"http://127.0.0.1:8080/plain?q", "https://localhost:8443/tls"};
  for (std::size_t i = 0; i < flows.size(); ++i) {
    REQUIRE(flows[i].http() != nullptr);
    const flow::HttpFlow& http = *flows[i].http();
    CHECK(http.url == urls[i]);
    CHECK(http.request.method == "POST");
    CHECK(http.request.version == "1.1");
    CHECK(http.request.body.text() == std::string("a\0b", 3));
    CHECK(http.response.status == 203);
    CHECK(http.response.fields.find("content-encoding") == "gzip");
    CHECK(http.response.body.text().starts_with("\x1f\x8b"));
    CHECK(http.connection->server.port() == (i == 0 ? 8080 : 8443));
    CHECK((http.connection->tls != nullptr) == (i == 1));
    CHECK(http.response.ended.has_value());
    CHECK(*http.duration >= *http.response.ended);
  }
}

TEST_CASE("mitm: a truncated file gives what is whole, and where it ends") {
  const std::string bytes = mitm_file(MitmVersion::v21);
  std::string first;
  REQUIRE(make_mitm_writer(MitmVersion::v21)->write(sample_flow("full"), first));
  for (std::size_t size = 0; size < bytes.size(); size += size < 40 ? 1 : 97) {
    const std::string_view part = std::string_view(bytes).substr(0, size);
    const auto reader = make_mitm_reader(source_of(part));
    const ReadFlows read = read_all(*reader);
    CHECK(read.errors.size() <= 1);
    if (size < first.size()) CHECK(read.flows.empty());
    if (size > 0 && size < first.size()) REQUIRE(read.errors.size() == 1);
  }
  const std::string part = bytes.substr(0, first.size() + 100);
  const auto reader = make_mitm_reader(source_of(part));
  const ReadFlows read = read_all(*reader);
  CHECK(read.flows.size() == 1);
  REQUIRE(read.errors.size() == 1);
  CHECK(read.errors[0].starts_with(
      fmt::format("byte {}: the file ends inside a flow: 100 of its ", first.size())));
  CHECK_FALSE(reader->goes_on());
}

TEST_CASE("mitm: a damaged flow is named, and the next ones are read") {
  std::string good;
  REQUIRE(make_mitm_writer(MitmVersion::v21)->write(sample_flow("full"), good));
  for (const std::string payload :
       {"7:version;2:22#", "7:version;2:11#", "7:version;2:21#4:type;4:ftp ;", "7:version;",
        "7:version;2:21#4:type;0:~", "7:version;2:21#4:type;4:http;", "7:version;6:1:0#1:8#]",
        "9:x", "x", ""}) {
    const std::string bad = fmt::format("{}:{}}}", payload.size(), payload);
    CAPTURE(bad);
    const std::string bytes = good + bad + good;
    const auto reader = make_mitm_reader(source_of(bytes));
    const ReadFlows read = read_all(*reader);
    CHECK(read.flows.size() == 2);
    REQUIRE(read.errors.size() == 1);
    CHECK(read.errors[0].starts_with(fmt::format("byte {}: ", good.size())));
  }
}

TEST_CASE("mitm: what is no file of flows is refused at its first byte") {
  for (const std::string bad : {"x", ":", "12", "1234567890123:x", "99999999999:x", "<html>"}) {
    CAPTURE(bad);
    const auto reader = make_mitm_reader(source_of(bad));
    const ReadFlows read = read_all(*reader);
    CHECK(read.flows.empty());
    REQUIRE(read.errors.size() == 1);
    CHECK(read.errors[0].starts_with("byte 0: "));
  }
}

TEST_CASE("tnetstring: values nest, and deep ones are refused") {
  std::string out;
  TnetDict dict(out);
  dict.bytes("a", "x,y");
  dict.integer("b", -5);
  dict.real("c", 1700000000.123456);
  dict.boolean("d", true);
  dict.null("e");
  dict.empty_list("f");
  dict.end();
  CHECK(out == "69:1:a;3:x,y,1:b;2:-5#1:c;17:1700000000.123456^1:d;4:true!1:e;0:~1:f;0:]}");
  std::string deep;
  for (int i = 0; i < 100; ++i) deep = fmt::format("{}:{}]", deep.size(), deep);
  CHECK_FALSE(parse_tnet(deep, ']'));
}

}  // namespace mitm::format
