#include "tests/mitm/sample_flow_files.h"

#include <algorithm>

#include <fmt/format.h>

#include "tests/mitm/sample_flows.h"

namespace mitm::format {
namespace {

using flow::Direction;
using Kind = http::Message::Kind;
using std::chrono::microseconds;

std::shared_ptr<const procmap::ProcessFacts> whole_process() {
  auto process = std::make_shared<procmap::ProcessFacts>(*sample_process());
  process->argv = {"curl", "-H", "X: it's", "", "https://example.org/a b"};
  process->uid = 1000;
  process->gid = 100;
  process->group = "users";
  process->cgroup = "/user.slice";
  return process;
}

std::shared_ptr<const flow::CertificateChain> sample_chain() {
  flow::CertificateFacts facts;
  facts.subject = "CN = example.org";
  facts.issuer = "CN = Test CA";
  facts.names = {"example.org", "93.184.216.34"};
  facts.not_before = sample_time() - std::chrono::hours(24);
  facts.not_after = sample_time() + std::chrono::hours(24);
  facts.sha256 = "AB:CD";
  return std::make_shared<const flow::CertificateChain>(flow::CertificateChain{facts});
}

std::shared_ptr<const flow::TlsFacts> tls(const char* alpn, bool upstream) {
  auto facts = std::make_shared<flow::TlsFacts>();
  facts->version = "TLSv1.3";
  facts->cipher = "TLS_AES_256_GCM_SHA384";
  facts->alpn = alpn;
  if (upstream) facts->certificates = sample_chain();
  return facts;
}

std::shared_ptr<flow::ConnectionRecord> connection(std::uint64_t id, const char* alpn) {
  auto record = std::make_shared<flow::ConnectionRecord>();
  record->id = id;
  record->opened = sample_time() - microseconds{2500};
  record->process = whole_process();
  record->client = base::parse_endpoint("10.0.0.1:41000").value();
  record->server = base::parse_endpoint("93.184.216.34:443").value();
  record->host = record->sni = "example.org";
  record->tls = tls(alpn, false);
  record->upstream_tls = tls(alpn, true);
  record->decision = "intercept";
  record->reason = "filter curl";
  record->times = {microseconds{100}, microseconds{1100}, microseconds{1900}, microseconds{2300}};
  return record;
}

std::shared_ptr<flow::ConnectionRecord> plain_connection(std::uint64_t id) {
  auto record = connection(id, "");
  record->server.port(80);
  record->sni.clear();
  record->tls = record->upstream_tls = nullptr;
  record->times.upstream_tls_done = record->times.tls_done = std::nullopt;
  return record;
}

template <class Record>
std::shared_ptr<Record> begin(std::uint64_t id,
                              std::shared_ptr<const flow::ConnectionRecord> record) {
  auto made = std::make_shared<Record>();
  made->id = id;
  made->connection = std::move(record);
  made->began = sample_time();
  made->duration = microseconds{34001};
  return made;
}

std::shared_ptr<flow::HttpFlow> get(std::uint64_t id,
                                    std::shared_ptr<const flow::ConnectionRecord> record) {
  auto http = begin<flow::HttpFlow>(id, std::move(record));
  http->host = "example.org";
  http->url = "https://example.org/path?q=1";
  http->request.method = "GET";
  http->request.scheme = "https";
  http->request.authority = "example.org";
  http->request.target = "/path?q=1";
  http->request.version = "1.1";
  http->request.fields.add("Host", "example.org");
  http->request.fields.add("X-Twice", "one");
  http->request.fields.add("x-twice", "");
  http->request.body_bytes = 0;
  http->request.ended = microseconds{10};
  http->response.status = 200;
  http->response.reason = "OK";
  http->response.fields.add("Content-Type", "text/plain");
  http->response.body = flow::Body("hello\n");
  http->response.body_bytes = 6;
  http->response.began = microseconds{30000};
  http->response.ended = microseconds{34001};
  return http;
}

void set_body(std::string bytes, flow::Request& request) {
  request.body_bytes = bytes.size();
  request.body = flow::Body(std::move(bytes));
}

flow::Flow flow_of(auto record) {
  flow::Flow made;
  made.record = std::move(record);
  return made;
}

flow::Flow full() {
  auto http = get(7, connection(3, "http/1.1"));
  http->request.method = "POST";
  http->request.fields.add("Content-Type", "application/octet-stream");
  set_body(std::string("\0\xff@\r\n binary", 12), http->request);
  http->request.trailers.add("X-Sum", "12");
  http->response.trailers.add("Server-Timing", "db;dur=5");
  http->error = "the program went away";
  flow::Flow made = flow_of(std::move(http));
  made.notes = {":red_circle:", "look at this", {"slow", "login"}};
  made.uuid = "0f2c0000-0000-4000-8000-000000000001";
  return made;
}

flow::Flow http2() {
  auto http = get(8, connection(4, "h2"));
  http->request.version = "2";
  http->request.fields = {};
  http->request.fields.add("user-agent", "curl/8");
  http->response.reason.clear();
  return flow_of(std::move(http));
}

flow::Flow cut() {
  auto http = get(9, connection(3, "http/1.1"));
  flow::BodyRecorder recorder;
  recorder.append("hello", 3);
  http->response.body = recorder.body();
  http->response.body_bytes = 5;
  return flow_of(std::move(http));
}

flow::Flow unanswered() {
  auto http = get(10, plain_connection(5));
  http->url = "http://example.org/path?q=1";
  http->request.scheme = "http";
  http->response = {};
  http->error = "connection refused";
  flow::Flow made = flow_of(std::move(http));
  made.state = flow::Flow::State::interrupted;
  return made;
}

flow::Flow proxied() {
  auto record = plain_connection(6);
  record->server.port(3128);
  auto http = get(11, record);
  http->request.scheme = "http";
  http->request.target = http->url = "http://example.org/path?q=1";
  return flow_of(std::move(http));
}

flow::Flow tunnel() {
  auto record = plain_connection(6);
  record->server.port(3128);
  auto http = get(12, record);
  http->request.method = "CONNECT";
  http->request.scheme = "http";
  http->request.fields = {};
  http->request.fields.add("Host", "example.org:443");
  http->request.authority = http->request.target = http->url = "example.org:443";
  http->response.body = {};
  http->response.body_bytes = 0;
  return flow_of(std::move(http));
}

std::shared_ptr<flow::StreamMessage> say(const flow::HttpFlow& http,
                                         flow::StreamMessage::Kind where, Kind kind,
                                         Direction direction, std::string text) {
  auto message = std::make_shared<flow::StreamMessage>();
  message->kind = where;
  message->flow = http.id;
  message->connection = http.connection;
  message->time = http.began + microseconds{32000};
  message->host = http.host;
  message->url = http.url;
  message->direction = direction;
  message->what.kind = kind;
  message->what.bytes = message->what.wire_bytes = text.size();
  message->what.payload = std::move(text);
  return message;
}

flow::Flow websocket() {
  auto http = get(13, connection(7, "http/1.1"));
  http->response.status = 101;
  http->response.reason = "Switching Protocols";
  http->response.body = {};
  http->response.body_bytes = 0;
  http->request.fields.add("Upgrade", "websocket");
  constexpr auto kHere = flow::StreamMessage::Kind::websocket;
  flow::Flow made = flow_of(http);
  made.messages.push_back(say(*http, kHere, Kind::text, Direction::request, "gr\xc3\xbc\xc3\x9f"));
  made.messages.push_back(
      say(*http, kHere, Kind::binary, Direction::response, std::string("\0\x01\xff", 3)));
  auto close = say(*http, kHere, Kind::close, Direction::request, "");
  close->time += microseconds{1};
  close->what.code = 1001;
  close->what.reason = "going away";
  close->what.bytes = close->what.wire_bytes = 12;
  made.messages.push_back(std::move(close));
  return made;
}

flow::Flow events() {
  auto http = get(14, connection(8, "http/1.1"));
  http->response.fields = {};
  http->response.fields.add("Content-Type", "text/event-stream");
  http->response.body = flow::Body("event: tick\nid: 4\ndata: one\n\n");
  http->response.body_bytes = 29;
  flow::Flow made = flow_of(http);
  auto event = say(*http, flow::StreamMessage::Kind::sse, Kind::event, Direction::response, "one");
  event->what.name = "tick";
  event->what.id = "4";
  event->what.wire_bytes = 29;
  made.messages.push_back(std::move(event));
  return made;
}

flow::Flow tcp(flow::TcpFlow::Kind kind, std::uint64_t id) {
  auto made = begin<flow::TcpFlow>(id, connection(id, ""));
  made->kind = kind;
  made->host = "example.org";
  if (kind != flow::TcpFlow::Kind::tcp) {
    if (kind == flow::TcpFlow::Kind::tls_error) made->error = "unknown certificate authority";
    return flow_of(std::move(made));
  }
  made->request_bytes = 5;
  made->response_bytes = 3;
  made->starttls = "smtp";
  flow::Flow flow = flow_of(made);
  for (const bool from_server : {false, true}) {
    auto message = std::make_shared<flow::StreamMessage>();
    message->kind = flow::StreamMessage::Kind::tcp;
    message->flow = id;
    message->connection = made->connection;
    message->time = made->began + microseconds{from_server ? 20 : 10};
    message->host = made->host;
    message->direction = from_server ? Direction::response : Direction::request;
    message->what.kind = Kind::binary;
    message->what.payload = from_server ? std::string("o\0k", 3) : "hello";
    message->what.bytes = message->what.wire_bytes = message->what.payload.size();
    flow.messages.push_back(std::move(message));
  }
  return flow;
}

flow::Flow dns() {
  auto record = plain_connection(20);
  record->server = base::parse_endpoint("10.0.0.53:53").value();
  record->host.clear();
  auto made = begin<flow::DnsFlow>(20, record);
  made->name = "example.org";
  made->type = "A";
  made->rcode = "NOERROR";
  made->answers = {{"example.org", "CNAME", 60, "www.example.org"},
                   {"www.example.org", "A", 60, "93.184.216.34"},
                   {"www.example.org", "AAAA", 60, "2001:db8::1"},
                   {"example.org", "MX", 5, "10 mail.example.org"},
                   {"example.org", "TXT", 5, "v=spf1 -all"},
                   {"example.org", "HTTPS", 5, "0001000001"}};
  made->request_bytes = 29;
  made->response_bytes = 200;
  return flow_of(std::move(made));
}

flow::Flow unanswered_dns() {
  flow::Flow made = dns();
  auto record = std::make_shared<flow::DnsFlow>(*made.dns());
  record->id = 21;
  record->rcode.clear();
  record->answers.clear();
  record->error = "no answer within 5 s";
  made.record = std::move(record);
  return made;
}

}  // namespace

std::vector<SampleFlow> sample_flows() {
  using TcpKind = flow::TcpFlow::Kind;
  return {{"full", full()},
          {"http2", http2()},
          {"cut", cut()},
          {"unanswered", unanswered()},
          {"proxied", proxied()},
          {"tunnel", tunnel()},
          {"websocket", websocket()},
          {"events", events()},
          {"tcp", tcp(TcpKind::tcp, 15)},
          {"tls_error", tcp(TcpKind::tls_error, 16)},
          {"pass", tcp(TcpKind::pass, 17)},
          {"block", tcp(TcpKind::block, 18)},
          {"dns", dns()},
          {"unanswered_dns", unanswered_dns()}};
}

flow::Flow sample_flow(std::string_view name) {
  for (SampleFlow& sample : sample_flows()) {
    if (sample.name == name) return std::move(sample.flow);
  }
  return {};
}

std::shared_ptr<flow::HttpFlow> copy_http(const flow::Flow& flow) {
  return std::make_shared<flow::HttpFlow>(*flow.http());
}

std::shared_ptr<flow::ConnectionRecord> copy_connection(const flow::Flow& flow) {
  return std::make_shared<flow::ConnectionRecord>(*flow.facts().connection);
}

ReadFlows read_all(FlowReader& reader) {
  ReadFlows all;
  for (;;) {
    auto next = reader.next();
    if (!next) all.errors.push_back(next.error().text);
    if (!next && !reader.goes_on()) return all;
    if (!next) continue;
    if (!*next) return all;
    all.flows.push_back(std::move(**next));
  }
}

std::string write_all(FlowWriter& writer, const std::vector<flow::Flow>& flows) {
  std::string out;
  writer.begin(out);
  for (const flow::Flow& flow : flows) writer.write(flow, out).value();
  writer.end(out);
  return out;
}

ByteSource slow_source(std::string_view bytes) {
  return [bytes](std::span<char> out) mutable -> base::Result<std::size_t> {
    if (bytes.empty() || out.empty()) return std::size_t{0};
    out[0] = bytes[0];
    bytes.remove_prefix(1);
    return std::size_t{1};
  };
}

}  // namespace mitm::format
