#include <openssl/evp.h>

#include "base/text.h"
#include "mitm/format/json_renderer.h"
#include "mitm/format/json_text.h"
#include "mitm/format/sinks.h"
#include "tests/mitm/sample_flows.h"
#include "tests/test.h"

namespace mitm::format {
namespace {

std::string rendered(const test::FlatFlow& flow, bool bodies = false) {
  std::string out;
  render_json(flow, bodies, out);
  return out;
}

std::string base64_decoded(const std::string& text) {
  std::string bytes(text.size(), '\0');
  const int size = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()),
                                   reinterpret_cast<const unsigned char*>(text.data()),
                                   static_cast<int>(text.size()));
  REQUIRE(size >= 0);
  const auto padding = static_cast<std::size_t>(std::count(text.begin(), text.end(), '='));
  return bytes.substr(0, static_cast<std::size_t>(size) - padding);
}

/// Every byte alone, and what is ill-formed or dangerous in company.
std::vector<std::string> hostile_strings() {
  std::vector<std::string> all;
  for (int byte = 0; byte < 256; ++byte) all.emplace_back(1, static_cast<char>(byte));
  for (const char* text :
       {"a\nb\r\n", "\"},{\"", "\\", "\\u0000", "</script>", "\xc0\xaf", "\xed\xa0\x80",
        "\xf4\x90\x80\x80", "\xe2\x82", "\xe2\x82\xac", "\xc2\x9b[31m", "\x1b]0;x\x07",
        "\xe2\x80\xa8", "\xf0\x9f\x98\x80", "\xff\xfe", "plain text of more than eight bytes",
        "seven..\x80seven..", "x\x7fy"})
    all.emplace_back(text);
  return all;
}

}  // namespace

TEST_CASE("json: an http flow, byte for byte") {
  CHECK(
      rendered(sample_http(), true) ==
      R"({"v":1,"event":"end","type":"http","id":7,"conn":3,"time":"2026-11-23T09:26:50.123456Z",)"
      R"("process":{"pid":1234,"ppid":1000,"name":"curl","exe":"/usr/bin/curl",)"
      R"("argv":["curl","-s","https://example.org/path"],"user":"alice",)"
      R"("start_time":"2026-11-23T09:26:49.123456Z"},"client":"10.0.0.1:41000",)"
      R"("server":"93.184.216.34:443","host":"example.org","sni":"example.org","method":"GET",)"
      R"("url":"https://example.org/path","http_version":"1.1","status":200,)"
      R"("request_headers":[["Host","example.org"]],"response_headers":[["Content-Type",)"
      R"("text/plain"]],)"
      R"("request_body":"","request_body_cut":false,"response_body":"aGVsbG8K",)"
      R"("response_body_cut":false,)"
      R"("request_bytes":0,"response_bytes":1234,"duration_ms":34.001,)"
      R"("tls":{"version":"TLSv1.3","cipher":"TLS_AES_256_GCM_SHA384","alpn":"http/1.1",)"
      R"("client_certificate":null},)"
      R"("upstream_tls":{"version":"TLSv1.2","cipher":"ECDHE-RSA-AES128-GCM-SHA256",)"
      R"("alpn":"http/1.1","client_certificate":null,"certificates":null},)"
      R"("decision":"intercept","reason":"filter curl","error":null})");
}

TEST_CASE(
    "json: the client certificate stands with the server, "
    "and where it has always stood; what was refused") {
  test::FlatFlow flow = sample_http();
  auto upstream = *flow.upstream_tls;
  upstream.client_certificate = "/me.pem";
  flow.upstream_tls = std::make_shared<const flow::TlsFacts>(upstream);
  flow.refused = "A: b\r";
  const auto json = nlohmann::json::parse(rendered(flow, false));
  CHECK(json["upstream_tls"]["client_certificate"] == "/me.pem");
  CHECK(json["tls"]["client_certificate"] == "/me.pem");
  CHECK(json["refused"] == "QTogYg0=");
  CHECK_FALSE(nlohmann::json::parse(rendered(sample_http(), false)).contains("refused"));
}

TEST_CASE(
    "json: the server's certificates, byte for byte, and those of another connection after them") {
  test::FlatFlow flow = sample_http();
  const auto with = [&](const char* subject) {
    flow::TlsFacts tls = *sample_http().upstream_tls;
    flow::CertificateChain chain{{subject,
                                  "CN = CA",
                                  {"a.test", "192.0.2.1"},
                                  sample_time(),
                                  sample_time() + std::chrono::hours{1},
                                  "AB:CD"},
                                 {"CN = CA", "", {}, sample_time(), sample_time(), "EF"}};
    tls.certificates = std::make_shared<const flow::CertificateChain>(std::move(chain));
    flow.upstream_tls = std::make_shared<const flow::TlsFacts>(std::move(tls));
    return std::string(
               R"("alpn":"http/1.1","client_certificate":null,"certificates":[{"subject":")") +
           subject +
           R"(","issuer":"CN = CA","names":["a.test","192.0.2.1"],)"
           R"("not_before":"2026-11-23T09:26:50.123456Z",)"
           R"("not_after":"2026-11-23T10:26:50.123456Z","sha256":"AB:CD"},{"subject":"CN = CA",)"
           R"("issuer":null,)"
           R"("names":[],"not_before":"2026-11-23T09:26:50.123456Z",)"
           R"("not_after":"2026-11-23T09:26:50.123456Z",)"
           R"("sha256":"EF"}]},"decision")";
  };
  JsonRenderer renderer;
  for (const char* subject : {"CN = a", "CN = b"}) {
    const std::string text = with(subject);
    for (int i = 0; i < 2; ++i) {
      std::string out;
      renderer.render(test::to_event(flow), false, out);
      CHECK_MESSAGE(out.find(text) != out.npos, out);
    }
  }
}

TEST_CASE(
    "json: nothing that a reader may take for the end "
    "of a line or that is not seen stands in one") {
  std::string out;
  append_json_string(out, "a\u2028b\u2029\u0085\u202a\u200b\u20ac\U000e0041\U0001f600\xe2\x80");
  CHECK(out ==
        "\"a\\u2028b\\u2029\\u0085\\u202a\\u200b\u20ac\\udb40\\udc41\U0001f600\ufffd\ufffd\"");
}

TEST_CASE("json: a passed connection of an unknown program, byte for byte") {
  test::FlatFlow flow = sample_connection(test::FlatFlow::Type::pass);
  flow.process = nullptr;
  flow.client = base::parse_endpoint("[::ffff:10.0.0.1]:1").value();
  flow.server = base::parse_endpoint("[2001:db8::1]:65535").value();
  flow.error = "reset";
  CHECK(
      rendered(flow, true) ==
      R"({"v":1,"event":"end","type":"pass","id":7,"conn":3,"time":"2026-11-23T09:26:50.123456Z",)"
      R"("process":null,"client":"10.0.0.1:1","server":"[2001:db8::1]:65535","host":null,)"
      R"("sni":null,)"
      R"("request_bytes":null,"response_bytes":null,"duration_ms":34.001,"tls":null,)"
      R"("upstream_tls":null,"starttls":null,)"
      R"("decision":"intercept","reason":"filter curl","error":"reset"})");
}

TEST_CASE("json: strings of any bytes, at every alignment") {
  for (const std::string& hostile : hostile_strings()) {
    for (std::size_t before = 0; before <= 9; ++before) {
      const std::string bytes = std::string(before, 'p') + hostile + std::string(9 - before, 's');
      std::string out;
      append_json_string(out, bytes);
      CAPTURE(out);
      CHECK(std::none_of(out.begin(), out.end(),
                         [](char c) { return (c >= 0 && c < 0x20) || c == 0x7f; }));
      CHECK(out.find("\xc2\x9b") == std::string::npos);
      const auto parsed = nlohmann::json::parse(out, nullptr, false);
      REQUIRE(parsed.is_string());
      CHECK(parsed.get<std::string>() == base::valid_utf8(bytes));
    }
  }
}

TEST_CASE("json: strings cut at every offset stay valid") {
  const std::string whole =
      "a\xe2\x82\xac\"\\\n\xf0\x9f\x98\x80 more than eight \xff bytes\xc3\xa9";
  for (std::size_t n = 0; n <= whole.size(); ++n) {
    std::string out;
    append_json_string(out, std::string_view(whole).substr(0, n));
    const auto parsed = nlohmann::json::parse(out, nullptr, false);
    REQUIRE(parsed.is_string());
    CHECK(parsed.get<std::string>() == base::valid_utf8(whole.substr(0, n)));
  }
}

TEST_CASE("json: base64 of every length, and beyond one piece") {
  std::string bytes;
  for (int i = 0; i < 70; ++i) {
    std::string out;
    append_json_base64(out, bytes);
    CHECK(base64_decoded(out.substr(1, out.size() - 2)) == bytes);
    bytes += static_cast<char>(i * 37);
  }
  bytes.assign((3U << 20U) + 4, '\xa5');
  std::string out;
  append_json_base64(out, bytes);
  CHECK(base64_decoded(out.substr(1, out.size() - 2)) == bytes);
}

TEST_CASE("json: bodies only when asked for, cut marks included") {
  test::FlatFlow flow = sample_http();
  flow.request_body = std::string("\0\xff", 2);
  flow.request_body_cut = true;
  const auto with = nlohmann::json::parse(rendered(flow, true));
  CHECK(base64_decoded(with["request_body"]) == flow.request_body);
  CHECK(with["request_body_cut"] == true);
  CHECK(with["response_body_cut"] == false);
  const auto without = nlohmann::json::parse(rendered(flow, false));
  CHECK_FALSE(without.contains("request_body"));
  CHECK_FALSE(without.contains("response_body_cut"));
}

TEST_CASE("json: messages, byte for byte, payloads only when asked for") {
  using Kind = http::Message::Kind;
  const auto rendered = [](const test::FlatFlow& flow, bool bodies) {
    std::string out;
    render_json(flow, bodies, out);
    return out.substr(out.find("\"url\""), out.find(",\"request_bytes\"") - out.find("\"url\""));
  };
  test::FlatFlow flow = sample_message(test::FlatFlow::Type::websocket, Kind::text, "hello");
  flow.message->what.compressed = true;
  CHECK(rendered(flow, false) ==
        R"("url":"https://example.org/chat","message":{"from":"server","kind":"text","bytes":5,)"
        R"("wire_bytes":7,"compressed":true})");
  flow.message->from_server = false;
  flow.message->what.bytes.reset();
  flow.message->what.cut = true;
  CHECK(rendered(flow, true) ==
        R"("url":"https://example.org/chat","message":{"from":"client","kind":"text","bytes":null,)"
        R"("wire_bytes":7,"compressed":true,"payload":"aGVsbG8=","payload_cut":true})");
  flow = sample_message(test::FlatFlow::Type::websocket, Kind::close, "");
  flow.message->what.code = 1001;
  flow.message->what.reason = "going away";
  CHECK(
      rendered(flow, false).ends_with(R"("compressed":false,"code":1001,"reason":"going away"})"));
  flow.message->what.code = 0;
  flow.message->what.reason = "";
  CHECK(rendered(flow, false).ends_with(R"("code":null,"reason":""})"));
  flow = sample_message(test::FlatFlow::Type::sse, Kind::event, "x");
  flow.message->what.name = "add";
  CHECK(rendered(flow, false).ends_with(R"("compressed":false,"name":"add","id":null})"));
}

TEST_CASE("json: durations have microseconds, start events have none") {
  test::FlatFlow flow = sample_http();
  const struct {
    std::int64_t micros;
    const char* text;
  } cases[] = {
      {0, "0.000"}, {7, "0.007"}, {1'000, "1.000"}, {12'345'678, "12345.678"}, {-5, "0.000"}};
  for (const auto& c : cases) {
    flow.duration = std::chrono::microseconds{c.micros};
    CHECK(rendered(flow).find(fmt::format("\"duration_ms\":{},", c.text)) != std::string::npos);
  }
  flow.event = test::FlatFlow::Event::start;
  CHECK(rendered(flow).find("\"duration_ms\":null,") != std::string::npos);
}

TEST_CASE("json: times agree with rfc3339 across seconds, forwards and backwards") {
  TimeText times;
  const auto start = sample_time();
  for (const int micros : {0, 1, 876'543, 876'544, 2'000'000, -1, -123'456, -123'457, 0}) {
    const auto time = start + std::chrono::microseconds{micros};
    std::string out;
    times.append(out, time);
    CHECK(out == base::rfc3339(time));
  }
}

TEST_CASE("json: one renderer keeps processes apart") {
  JsonRenderer renderer;
  test::FlatFlow flow = sample_http();
  auto other = std::make_shared<procmap::ProcessFacts>(*flow.process);
  other->id.pid = 4321;
  other->exe.clear();
  const std::shared_ptr<const procmap::ProcessFacts> order[] = {
      flow.process, other, other, nullptr, flow.process, nullptr};
  for (const auto& process : order) {
    flow.process = process;
    std::string out;
    renderer.render(test::to_event(flow), false, out);
    const auto json = nlohmann::json::parse(out);
    if (!process) {
      CHECK(json["process"].is_null());
      continue;
    }
    CHECK(json["process"]["pid"] == process->id.pid);
    CHECK(json["process"]["exe"].is_null() == process->exe.empty());
  }
}

TEST_CASE("json: the words behind the status, what came before it, and when") {
  test::FlatFlow flow = sample_http();
  flow.status_text = "Fine";
  http::Fields hints;
  hints.add("link", "</a>");
  flow.interim.push_back({103, hints, std::chrono::microseconds{1500}});
  flow.times.connect_began = std::chrono::microseconds{0};
  flow.times.connected = std::chrono::microseconds{250};
  flow.times.tls_done = std::chrono::microseconds{900};
  flow.response_began = std::chrono::microseconds{30'000};
  std::string out;
  render_json(flow, false, out);
  const auto json = nlohmann::json::parse(out);
  CHECK(json["status_text"] == "Fine");
  CHECK(json["interim"] ==
        nlohmann::json::parse(R"([{"status": 103, "headers": [["link", "</a>"]], "at_ms": 1.5}])"));
  CHECK(json["times"] == nlohmann::json::parse(R"({"connect_start_ms": 0, "connected_ms": 0.25,
                                                   "tls_ms": 0.9, "response_start_ms": 30})"));
  flow.event = test::FlatFlow::Event::start;
  out.clear();
  render_json(flow, false, out);
  CHECK_FALSE(nlohmann::json::parse(out).contains("times"));
}

TEST_CASE("jsonl: starts come with the head of the request only where they are asked for") {
  using flow::index_of;
  for (const bool starts : {true, false}) {
    const auto sink = make_jsonl_sink(base::UniqueFd{}, "test", {.starts = starts});
    CHECK(sink->wants().has(index_of<flow::RequestHead>()) == starts);
    CHECK(sink->wants().has(index_of<flow::HttpUnderWay>()) != starts);
  }
  std::string out;
  const auto event = test::to_event(sample_http());
  render_json(flow::RequestHead{std::get<flow::HttpEnd>(event).flow}, false, out);
  const auto json = nlohmann::json::parse(out);
  CHECK(json["event"] == "start");
  CHECK(json["request_bytes"].is_null());
}

}  // namespace mitm::format
