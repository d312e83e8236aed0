#include <algorithm>

#include <brotli/encode.h>
#include <nlohmann/json.hpp>

#include "base/subprocess.h"
#include "base/text.h"
#include "mitm/format/content_coder.h"
#include "mitm/format/har.h"
#include "mitm/format/secrets.h"
#include "mitm/http/content_coding.h"
#include "tests/mitm/flow_description.h"
#include "tests/mitm/sample_flow_files.h"
#include "tests/mitm/temporary_file.h"
#include "tests/test.h"

namespace mitm::format {
namespace {

using nlohmann::json;

constexpr bool kWithSecrets = true;

std::string har_of(const std::vector<flow::Flow>& flows, bool with_secrets = kWithSecrets) {
  return write_all(*make_har_writer({.with_secrets = with_secrets, .version = "0.1.0"}), flows);
}

std::string check(const std::string& har) {
  TemporaryFile file(har);
  base::Program program;
  program.arguments = {"/usr/bin/python3", OSPROXY_SOURCE_DIR "/tests/mitm/format_har_check.py",
                       OSPROXY_SOURCE_DIR "/tests/mitm/har.schema.json",
                       OSPROXY_SOURCE_DIR "/conf/flow.schema.json", file.path()};
  const auto finished = base::run(program);
  REQUIRE(finished);
  CHECK_MESSAGE(finished->status == 0, finished->err);
  return finished->out;
}

std::vector<flow::Flow> all_flows() {
  std::vector<flow::Flow> flows;
  for (SampleFlow& sample : sample_flows()) flows.push_back(std::move(sample.flow));
  return flows;
}

ReadFlows read_har(std::string_view har) {
  const auto reader = make_har_reader(source_of(har));
  return read_all(*reader);
}

flow::Flow flow_of(std::shared_ptr<flow::HttpFlow> http) {
  flow::Flow made;
  made.record = std::move(http);
  return made;
}

/// What the format keeps of `flow`.
flow::Flow kept(const flow::Flow& flow) {
  flow::Flow expected = flow;
  auto connection = copy_connection(flow);
  auto process = std::make_shared<procmap::ProcessFacts>(*connection->process);
  process->gid = 0;
  process->group = process->cgroup = "";
  if (flow.http() == nullptr) process->uid = 0;
  connection->process = process;
  if (flow.http() == nullptr) {  // as in JSON lines
    connection->opened = flow.facts().began;
    if (flow.dns()) connection->times = {};
    if (flow.dns()) connection->host.clear();
    expected.messages.clear();
  }
  for (auto& message : expected.messages) {
    auto copy = std::make_shared<flow::StreamMessage>(*message);
    copy->what.wire_bytes = *copy->what.bytes;
    message = std::move(copy);
  }
  std::visit(
      [&]<class Record>(const std::shared_ptr<const Record>& record) {
        auto copy = std::make_shared<Record>(*record);
        copy->connection = connection;
        expected.record = std::shared_ptr<const Record>(std::move(copy));
      },
      flow.record);
  return expected;
}

constexpr std::string_view kSecret = "SECRET";

/// Secrets everywhere, and words beside them that stay.
flow::Flow secret_flow() {
  auto http = copy_http(sample_flow("full"));
  http->url = "https://bob:SECRET@example.org/keep?user=bob&access_token=SECRET&api-key=SECRET#t";
  http->request.target = "/keep?user=bob&access_token=SECRET&api-key=SECRET";
  auto& fields = http->request.fields;
  fields = {};
  fields.add("Cookie", "sid=SECRET; theme=SECRET");
  fields.add("authorization", "Bearer SECRET");
  fields.add("Proxy-Authorization", "Basic SECRET");
  fields.add("X-Api-Key", "SECRET");
  fields.add("X-Amz-Security-Token", "SECRET");
  fields.add("X-CSRF-Token", "SECRET");
  fields.add("Referer", "https://example.org/?keep=1&id_token=SECRET");
  fields.add("Content-Type", "application/x-www-form-urlencoded");
  fields.add("Accept", "keep/this");
  http->request.body = flow::Body("name=keep&password=SECRET&client_secret=SECRET");
  http->response.fields.add("Set-Cookie", "sid=SECRET; Path=/keep; HttpOnly");
  http->response.fields.add("Location", "https://example.org/keep?code=SECRET");
  auto process = std::make_shared<procmap::ProcessFacts>(*http->connection->process);
  process->argv = {"curl", "-u", "bob:SECRET"};
  auto connection = std::make_shared<flow::ConnectionRecord>(*http->connection);
  connection->process = process;
  http->connection = connection;
  return flow_of(std::move(http));
}

json entry_of(const flow::Flow& flow, bool with_secrets = kWithSecrets) {
  return json::parse(har_of({flow}, with_secrets))["log"]["entries"][0];
}

std::string brotli(const std::string& text) {
  std::string out(text.size() + 100, '\0');
  std::size_t size = out.size();
  BrotliEncoderCompress(5, 18, BROTLI_MODE_TEXT, text.size(),
                        reinterpret_cast<const std::uint8_t*>(text.data()), &size,
                        reinterpret_cast<std::uint8_t*>(out.data()));
  out.resize(size);
  return out;
}

flow::Flow coded_flow(const std::string& coding, std::string body) {
  auto http = copy_http(sample_flow("full"));
  http->response.fields.add("Content-Encoding", coding);
  http->response.body_bytes = body.size();
  http->response.body = flow::Body(std::move(body));
  return flow_of(std::move(http));
}

}  // namespace

TEST_CASE("har: what is written is valid, and real readers can do with it") {
  for (const bool with_secrets : {false, true})
    CHECK(check(har_of(all_flows(), with_secrets)) == "10 6 curl-1234\n");
  CHECK(check(har_of({})) == "0 0 none\n");
  CHECK(check(har_of({secret_flow()}, false)) == "1 0 curl-1234\n");
}

TEST_CASE("har: flows are the same after writing and reading") {
  const std::vector<flow::Flow> flows = all_flows();
  const std::string har = har_of(flows);
  const auto reader = make_har_reader(slow_source(har));
  const ReadFlows read = read_all(*reader);
  CHECK(read.errors.empty());
  REQUIRE(read.flows.size() == flows.size());
  for (std::size_t i = 0; i < flows.size(); ++i) {
    CAPTURE(sample_flows()[i].name);
    CHECK(differences(kept(flows[i]), read.flows[i]) == "");
  }
}

TEST_CASE("har: hostile bytes leave valid JSON") {
  std::vector<flow::Flow> flows;
  for (const std::string text : {"\n", "\"", "\\", "\xff", "\xed\xbf\xbf", "\xe2\x80\xa8", "\x01",
                                 "</script>", "\xc2\x85"}) {
    auto http = copy_http(sample_flow("full"));
    http->host = http->error = http->request.method = text;
    http->request.fields.add(text, text);
    http->request.fields.add("cookie", text + "=" + text);
    http->response.fields.add("set-cookie", text + "=" + text + ";" + text + ";path=" + text);
    http->response.fields.add("content-type", text);
    http->request.body = flow::Body(text);
    http->response.body = flow::Body(text);
    http->response.body_bytes = http->request.body_bytes = text.size();
    flows.push_back(flow_of(std::move(http)));
  }
  check(har_of(flows));
  check(har_of(flows, false));
  const ReadFlows read = read_har(har_of(flows));
  CHECK(read.errors.empty());
  REQUIRE(read.flows.size() == flows.size());
  for (std::size_t i = 0; i < flows.size(); ++i) {
    CHECK(read.flows[i].http()->request.body.text() == flows[i].http()->request.body.text());
    CHECK(read.flows[i].http()->response.body.text() == flows[i].http()->response.body.text());
  }
}

TEST_CASE("har: secrets are masked, and what is beside them stays") {
  const std::string masked = har_of({secret_flow()}, false);
  CAPTURE(masked);
  CHECK(masked.find(kSecret) == masked.npos);
  for (const char* text :
       {"https://bob:[masked]@example.org/keep?user=bob&access_token=[masked]&api-key=[masked]#t",
        "sid=[masked]; theme=[masked]", "Bearer [masked]", "Basic [masked]", "keep/this",
        "keep=1&id_token=[masked]", "name=keep&password=[masked]", "sid=[masked]; Path=/keep"})
    CHECK(masked.find(text) != masked.npos);
  const std::string whole = har_of({secret_flow()});
  std::size_t found = 0;
  for (std::size_t at = whole.find(kSecret); at != whole.npos; at = whole.find(kSecret, at + 1))
    ++found;
  CHECK(found > 20);
  flow::Flow tcp = sample_flow("tcp");
  auto record = std::make_shared<flow::TcpFlow>(*tcp.tcp());
  record->connection = secret_flow().http()->connection;
  tcp.record = record;
  CHECK(har_of({tcp}, false).find(kSecret) == std::string::npos);
  CHECK(har_of({tcp}).find(kSecret) != std::string::npos);
}

TEST_CASE("har: names of secrets") {
  for (const char* name :
       {"access_token", "apiKey", "X-API-KEY", "password", "sig", "client_secret", "sessionid",
        "X-Amz-Signature", "code", "authenticity_token"})
    CHECK_MESSAGE(is_secret_name(name), name);
  for (const char* name :
       {"user", "q", "keyboard", "monkey", "Accept", "page", "zipcode", "author"})
    CHECK_MESSAGE(!is_secret_name(name), name);
  CHECK(mask_url("/a?b#c") == "/a?b#c");
  CHECK(mask_url("/a#access_token=x&b=1") == "/a#access_token=[masked]&b=1");
  CHECK(mask_url("http://u@h/") == "http://u@h/");
}

TEST_CASE("har: bodies are decoded, and their sizes are those of the decoded ones") {
  const std::string text = std::string(1000, 'x') + "gr\xc3\xbc\xc3\x9f";
  for (const std::string coding : {"gzip", "deflate", "zstd", "br"}) {
    const std::string coded = coding == "br" ? brotli(text) : *encode_content(coding, text);
    const flow::Flow flow = coded_flow(coding, coded);
    const json entry = entry_of(flow);
    const json& content = entry["response"]["content"];
    CAPTURE(coding);
    CHECK(content["text"] == text);
    CHECK(content["size"] == text.size());
    CHECK(content["compression"] == text.size() - coded.size());
    CHECK(entry["response"]["bodySize"] == coded.size());
    check(har_of({flow}));
    const ReadFlows read = read_har(har_of({flow}));
    REQUIRE(read.flows.size() == 1);
    const auto again = http::decode_content(coding, read.flows[0].http()->response.body.text(),
                                            std::size_t{1} << 20U);
    REQUIRE(again);
    CHECK(again->whole);
    CHECK(again->bytes == text);
  }
}

TEST_CASE("har: a body that cannot be decoded is written as it is, and read as that") {
  for (const auto& [coding, body] :
       {std::pair{"gzip", "no gzip"}, {"x-unknown", "what"}, {"gzip, br", "\x1f\x8b"}}) {
    const flow::Flow flow = coded_flow(coding, body);
    check(har_of({flow}));
    CHECK(entry_of(flow)["response"]["content"]["_encoded"] == true);
    const ReadFlows read = read_har(har_of({flow}));
    REQUIRE(read.flows.size() == 1);
    CHECK(read.flows[0].http()->response.body.text() == body);
  }
}

TEST_CASE("har: content codings are undone by our own reader") {
  for (const std::size_t size : {0U, 1U, 65535U, 65536U, 65537U, 200000U}) {
    std::string text(size, 'a');
    for (std::size_t i = 0; i < size; i += 7) text[i] = static_cast<char>(i * 31);
    for (const char* coding : {"gzip", "x-gzip", "deflate", "zstd", "br", " BR "}) {
      CAPTURE(coding);
      CAPTURE(size);
      const auto coded = encode_content(coding, text);
      REQUIRE(coded);
      const auto decoded = http::decode_content(coding, *coded, size + 1);
      REQUIRE(decoded);
      CHECK(decoded->bytes == text);
      CHECK(decoded->whole);
    }
  }
  CHECK_FALSE(encode_content("gzip, br", "x"));
}

TEST_CASE("har: the first flow of a connection has its connect, of which ssl is a part") {
  flow::Flow second = sample_flow("full");
  const json log = json::parse(har_of({sample_flow("full"), second}))["log"];
  const json& first = log["entries"][0];
  CHECK(first["timings"]["connect"] == 1.8);
  CHECK(first["timings"]["ssl"] == 0.8);
  CHECK(first["timings"]["send"] == 0.01);
  CHECK(first["timings"]["wait"] == 29.99);
  CHECK(first["timings"]["receive"] == 4.001);
  CHECK(first["time"] == 35.801);
  CHECK(first["startedDateTime"] == "2026-11-23T09:26:50.121656Z");
  CHECK(log["entries"][1]["timings"]["connect"] == -1);
  CHECK(log["entries"][1]["timings"]["ssl"] == -1);
  CHECK(log["entries"][1]["startedDateTime"] == "2026-11-23T09:26:50.123456Z");
}

TEST_CASE("har: a page for each process, and a pid that was used again is another one") {
  flow::Flow other = sample_flow("full");
  auto http = copy_http(other);
  auto connection = copy_connection(other);
  auto process = std::make_shared<procmap::ProcessFacts>(*connection->process);
  process->start_time += std::chrono::hours(1);
  connection->process = process;
  http->connection = connection;
  auto unknown = copy_http(other);
  connection = copy_connection(other);
  connection->process = nullptr;
  unknown->connection = connection;
  CHECK(check(har_of({other, flow_of(http), flow_of(unknown)})) ==
        "3 0 curl-1234 curl-1234-2 unknown\n");
}

TEST_CASE("har: requests with binary bodies, without an answer, and of CONNECT") {
  json entry = entry_of(sample_flow("full"));
  CHECK(entry["request"]["_requestBodyStatus"] == "discarded:not-representable");
  CHECK(entry["request"]["_content"]["encoding"] == "base64");
  CHECK_FALSE(entry["request"].contains("postData"));
  entry = entry_of(sample_flow("unanswered"));
  CHECK(entry["response"]["status"] == 0);
  CHECK(entry["response"]["_error"] == "connection refused");
  CHECK(entry["response"]["content"]["size"] == 0);
  CHECK(entry["response"]["bodySize"] == -1);
  auto killed = copy_http(sample_flow("unanswered"));
  killed->error.clear();
  flow::Flow interrupted = sample_flow("unanswered");
  interrupted.record = std::move(killed);
  CHECK(entry_of(interrupted)["response"]["_error"] == flow::kInterrupted);
  entry = entry_of(sample_flow("tunnel"));
  CHECK(entry["request"]["url"] == "https://example.org:443/");
  entry = entry_of(sample_flow("websocket"));
  CHECK(entry["_webSocketMessages"].size() == 2);
  CHECK(entry["_webSocketMessages"][0]["time"] == 1795426010.155456);
  CHECK(entry["_resourceType"] == "websocket");
}

TEST_CASE("har: a connection that was refused is an entry that failed; others have no page") {
  const auto refused = [](flow::TcpFlow::Kind kind, const char* error) {
    auto record = std::make_shared<flow::TcpFlow>(*sample_flow("tcp").tcp());
    record->kind = kind;
    record->host = "example.org";
    record->error = error;
    record->request_bytes = record->response_bytes = 0;
    flow::Flow flow;
    flow.record = std::move(record);
    return flow;
  };
  using Kind = flow::TcpFlow::Kind;
  for (const auto& [kind, error] :
       {std::pair{Kind::tls_error, "unknown CA"},
        std::pair{Kind::tcp, "cannot connect to 192.0.2.1:25"}, std::pair{Kind::block, ""}}) {
    const flow::Flow flow = refused(kind, error);
    const std::string har = har_of({flow});
    CHECK(check(har) == "1 1 curl-1234\n");
    const json entry = json::parse(har)["log"]["entries"][0];
    CHECK(entry["request"]["method"] == "CONNECT");
    CHECK(entry["request"]["url"].get<std::string>().starts_with("http"));
    CHECK(entry["response"]["status"] == 0);
    const std::string reason = flow.facts().connection->reason;
    CHECK(entry["response"]["_error"] == (*error == '\0' ? "blocked: " + reason : error));
    CHECK(entry["_process"]["name"] == "curl");
    // Ours reads it once.
    const auto read = read_har(har);
    REQUIRE(read.flows.size() == 1);
    CHECK(read.flows[0].tcp()->kind == kind);
  }
  for (const char* name : {"tcp", "dns"}) CHECK(check(har_of({sample_flow(name)})) == "0 1 none\n");
  auto quic = refused(Kind::block, "");
  auto record = std::make_shared<flow::TcpFlow>(*quic.tcp());
  auto connection = copy_connection(quic);
  connection->reason = "QUIC is refused: the program falls back to TCP";
  record->connection = std::move(connection);
  quic.record = std::move(record);
  CHECK(check(har_of({quic})) == "0 1 none\n");
}

TEST_CASE("har: what other programs write is read") {
  // Chrome: HTTP/2 with pseudo-header fields, an address in brackets, base64, a page first.
  ReadFlows read = read_har(contents(OSPROXY_SOURCE_DIR "/tests/mitm/format_har_chrome.har"));
  CHECK(read.errors.empty());
  REQUIRE(read.flows.size() == 1);
  const flow::HttpFlow& http = *read.flows[0].http();
  CHECK(http.url == "https://a.test/x?y=%20#z");
  CHECK(http.request.target == "/x?y=%20");
  CHECK(http.request.authority == "a.test");
  CHECK(http.request.version == "2");
  CHECK(http.request.fields.size() == 1);
  CHECK(http.request.body.text() == "a\xc3\xbc");
  CHECK(http.connection->id == 4711);
  CHECK(base::to_string(http.connection->server) == "[2001:db8::1]:443");
  CHECK(http::decode_content("br", http.response.body.text(), 10)->bytes ==
        std::string("\0\1\2\3", 4));
  CHECK(base::rfc3339(http.began) == "2026-01-01T00:00:00.254000Z");
  CHECK(http.response.began == std::chrono::microseconds(10500));
  CHECK(http.duration == std::chrono::microseconds(16500));

  // Fiddler: a byte order mark, numbers as whole ones; mitmproxy: no content, no timings to speak
  // of; Firefox: params without text.
  read = read_har(contents(OSPROXY_SOURCE_DIR "/tests/mitm/format_har_others.har"));
  CHECK(read.errors.empty());
  REQUIRE(read.flows.size() == 3);
  CHECK(base::rfc3339(read.flows[0].facts().began) == "2026-01-01T00:00:00.123456Z");
  CHECK(read.flows[0].http()->request.target == "/");
  CHECK(read.flows[0].http()->response.status == 304);
  CHECK(read.flows[1].facts().error == "net::ERR_FAILED");
  CHECK(read.flows[2].http()->request.version == "2");
  CHECK(read.flows[2].http()->request.body.text() == "a=1&b=2");
}

TEST_CASE("har: a damaged entry is named, and the next ones are read") {
  const std::string good = R"({"request":{"method":"GET","url":"http://a.test/"}})";
  for (const std::string bad : {R"({"request":{}})", "{\"request\":{\"url\":1}}", "7", "\"}\"",
                                "{\"a\" 1}", "[]", "null", "{\"\\\":[\"}"}) {
    CAPTURE(bad);
    const std::string har = fmt::format(R"({{"log":{{"entries":[{},{},{}]}}}})", good, bad, good);
    const ReadFlows read = read_har(har);
    CHECK(read.flows.size() == 2);
    REQUIRE(read.errors.size() == 1);
    CHECK(read.errors[0].starts_with(fmt::format("byte {}: entry 2: ", 20 + good.size())));
  }
}

TEST_CASE("har: a truncated file gives what is whole, and where it ends") {
  const std::string har = har_of({sample_flow("full"), sample_flow("http2"), sample_flow("dns")});
  std::size_t most = 0;
  for (std::size_t size = 0; size < har.size() - 2; size += 13) {
    const ReadFlows read = read_har(std::string_view(har).substr(0, size));
    CHECK(read.errors.size() == 1);
    CHECK(read.flows.size() >= most);
    most = read.flows.size();
  }
  CHECK(most >= 2);
  const ReadFlows read = read_har(std::string_view(har).substr(0, har.find("\n{", 500) + 100));
  CHECK(read.flows.size() == 1);
  REQUIRE(read.errors.size() == 1);
  CHECK(read.errors[0].find("the file ends after ") != std::string::npos);
}

TEST_CASE("har: what is no HAR is an error") {
  for (const std::string bad : {"", "x", "{", "{\"log\":", "[]", "{\"log\" {}}",
                                "{\"log\":{\"a\":[1 2]}}", "{\"log\":{\"a\":[,]}}"}) {
    CAPTURE(bad);
    const ReadFlows read = read_har(bad);
    CHECK(read.flows.empty());
    CHECK(read.errors.size() == 1);
  }
  CHECK(read_har("{\"other\":[1,{\"log\":2}],\"log\":{}}").errors.empty());
}

}  // namespace mitm::format
