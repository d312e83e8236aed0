#include "tests/mitm/store_flows.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/network.h"
#include "mitm/flow/event.h"

namespace test {
namespace {

using namespace mitm;
using namespace std::chrono_literals;

flow::Time time_at(std::chrono::microseconds since) {
  return flow::Time{std::chrono::sys_days{std::chrono::year{2026} / 11 / 23} + since};
}

std::shared_ptr<const procmap::ProcessFacts> full_process() {
  auto facts = std::make_shared<procmap::ProcessFacts>();
  facts->id = {1234, 5678};
  facts->ppid = 1000;
  facts->uid = 1001;
  facts->gid = 1002;
  facts->groups = {4, 27};
  facts->name = "curl";
  facts->exe = "/usr/bin/curl";
  facts->argv = {"curl", "-s", "", "a b"};
  facts->other_names = {"curl.py"};
  facts->user = "alice";
  facts->group = "staff";
  facts->cgroup = "/user.slice";
  facts->ancestors = {{{1000, 99}, "/bin/bash", {"deploy.sh", "run.sh"}}, {{1, 1}, "", {}}};
  facts->start_time = time_at(7us);
  facts->image = 3;
  return facts;
}

std::shared_ptr<const flow::ConnectionRecord> full_connection() {
  auto record = std::make_shared<flow::ConnectionRecord>();
  record->id = 3;
  record->opened = time_at(11us);
  record->process = full_process();
  record->client = *base::parse_endpoint("10.0.0.1:41000");
  record->server = *base::parse_endpoint("[2001:db8::2]:443");
  record->host = "one.test";
  record->sni = "sni.test";
  record->tls = std::make_shared<const flow::TlsFacts>(
      flow::TlsFacts{"TLSv1.3", "TLS_AES_256_GCM_SHA384", "h2"});
  const auto chain = std::make_shared<const flow::CertificateChain>(
      flow::CertificateChain{{"CN = one.test",
                              "CN = ca",
                              {"one.test", "192.0.2.2"},
                              time_at(1s),
                              time_at(2s),
                              "AB:CD",
                              std::string("\x30\0\xff", 3)},
                             {"CN = ca", "CN = root", {}, time_at(3s), time_at(4s), "EF"}});
  record->upstream_tls = std::make_shared<const flow::TlsFacts>(
      flow::TlsFacts{"TLSv1.2", "ECDHE-RSA-AES128-GCM-SHA256", "http/1.1", "/me.pem", chain});
  record->decision = "intercept";
  record->reason = "filter curl";
  record->times = {1us, 2us, 3us, 4us};
  return record;
}

template <class Record>
std::shared_ptr<Record> begun() {
  auto record = std::make_shared<Record>();
  record->id = 7;
  record->connection = full_connection();
  record->began = time_at(13us);
  record->duration = 17us;
  record->error = "the server left";
  return record;
}

std::shared_ptr<flow::HttpFlow> http_record() {
  auto record = begun<flow::HttpFlow>();
  record->host = "one.test";
  record->url = "https://one.test/p?q=1";
  record->refused = std::string("GET \0\xff", 6);
  flow::Request& request = record->request;
  request = {"POST", "https", "one.test:443", "/p?q=1", "1.1", {}, {}, {}, 5, 19us};
  request.fields.add("Host", "one.test");
  request.fields.add("x-empty", "");
  request.fields.add("X-Twice", "a");
  request.fields.add("x-twice", "b\xff");
  request.trailers.add("x-trailer", "1");
  request.body = flow::Body{"hello"};
  flow::Response& response = record->response;
  response.status = 404;
  response.reason = "Not Found";
  response.fields.add("content-type", "text/plain; charset=utf-8");
  response.trailers.add("x-sum", "2");
  response.interim.push_back({100, {}, 20us});
  response.interim.push_back({103, response.fields, 21us});
  response.body = flow::Body{std::string(100'000, 'z') + std::string("\0end", 4)};
  response.body_bytes = 100'004;
  response.began = 22us;
  response.ended = 23us;
  return record;
}

std::shared_ptr<flow::StreamMessage> message(
    flow::StreamMessage::Kind kind, const std::shared_ptr<const flow::ConnectionRecord>& connection,
    http::Message what) {
  auto made = std::make_shared<flow::StreamMessage>();
  made->kind = kind;
  made->flow = 7;
  made->connection = connection;
  made->time = time_at(31us);
  made->direction = flow::Direction::response;
  made->what = std::move(what);
  return made;
}

/// Names and texts of all members, for comparing.
class Members {
 public:
  template <class T>
  void add(std::string name, const T& value) {
    all.emplace_back(std::move(name), fmt::format("{}", value));
  }
  void add(std::string name, const flow::Time& time) {
    add(std::move(name), time.time_since_epoch().count());
  }
  void add(std::string name, const flow::Offset& offset) {
    all.emplace_back(std::move(name), offset ? fmt::format("{}", offset->count()) : "none");
  }
  void add(std::string name, const std::optional<std::uint64_t>& number) {
    all.emplace_back(std::move(name), number ? fmt::format("{}", *number) : "none");
  }
  void add(const std::string& name, const http::Fields& fields) {
    std::string text;
    for (std::size_t i = 0; i < fields.size(); ++i)
      text += fmt::format("{}={};", fields[i].first, fields[i].second);
    all.emplace_back(name, text);
  }
  void add(const std::string& name, const flow::Body& body) {
    all.emplace_back(name, body.text());
    add(name + ".cut", body.is_cut());
  }

  std::vector<std::pair<std::string, std::string>> all;
};

void add_process(Members& out, const procmap::ProcessFacts& facts) {
  out.add("pid", facts.id.pid);
  out.add("ticks", facts.id.start_ticks);
  out.add("ppid", facts.ppid);
  out.add("uid", facts.uid);
  out.add("gid", facts.gid);
  out.add("groups", fmt::format("{}", facts.groups));
  out.add("name", facts.name);
  out.add("exe", facts.exe);
  out.add("argv", fmt::format("{}", facts.argv));
  out.add("other_names", fmt::format("{}", facts.other_names));
  out.add("user", facts.user);
  out.add("group", facts.group);
  out.add("cgroup", facts.cgroup);
  out.add("image", facts.image);
  out.add("start_time", facts.start_time);
  for (const auto& ancestor : facts.ancestors)
    out.add("ancestor", fmt::format("{} {} {} {}", ancestor.id.pid, ancestor.id.start_ticks,
                                    ancestor.exe, ancestor.other_names));
}

void add_tls(Members& out, const std::string& name, const flow::TlsFacts* tls) {
  out.add(name, tls != nullptr);
  if (tls == nullptr) return;
  out.add(name + ".version", tls->version);
  out.add(name + ".cipher", tls->cipher);
  out.add(name + ".alpn", tls->alpn);
  out.add(name + ".client_certificate", tls->client_certificate);
  if (!tls->certificates) return;
  for (const auto& one : *tls->certificates) {
    out.add(name + ".certificate",
            fmt::format("{} {} {} {}", one.subject, one.issuer, one.names, one.sha256));
    out.add(name + ".not_before", one.not_before);
    out.add(name + ".not_after", one.not_after);
    out.add(name + ".der", one.der);
  }
}

void add_connection(Members& out, const flow::ConnectionRecord& record) {
  out.add("opened", record.opened);
  out.add("process", record.process != nullptr);
  if (record.process) add_process(out, *record.process);
  out.add("client", base::to_string(record.client));
  out.add("server", base::to_string(record.server));
  out.add("connection.host", record.host);
  out.add("sni", record.sni);
  add_tls(out, "tls", record.tls.get());
  add_tls(out, "upstream_tls", record.upstream_tls.get());
  out.add("decision", record.decision);
  out.add("reason", record.reason);
  out.add("connect_began", record.times.connect_began);
  out.add("connected", record.times.connected);
  out.add("upstream_tls_done", record.times.upstream_tls_done);
  out.add("tls_done", record.times.tls_done);
}

void add_http(Members& out, const flow::HttpFlow& flow) {
  out.add("host", flow.host);
  out.add("url", flow.url);
  out.add("refused", flow.refused);
  const flow::Request& request = flow.request;
  out.add("method", request.method);
  out.add("scheme", request.scheme);
  out.add("authority", request.authority);
  out.add("target", request.target);
  out.add("version", request.version);
  out.add("request.fields", request.fields);
  out.add("request.trailers", request.trailers);
  out.add("request.body", request.body);
  out.add("request.body_bytes", request.body_bytes);
  out.add("request.ended", request.ended);
  const flow::Response& response = flow.response;
  out.add("status", response.status);
  out.add("reason phrase", response.reason);
  out.add("response.fields", response.fields);
  out.add("response.trailers", response.trailers);
  for (const auto& interim : response.interim) {
    out.add("interim", interim.status);
    out.add("interim.fields", interim.fields);
    out.add("interim.at", interim.at);
  }
  out.add("response.body", response.body);
  out.add("response.body_bytes", response.body_bytes);
  out.add("response.began", response.began);
  out.add("response.ended", response.ended);
}

void add_tcp(Members& out, const flow::TcpFlow& flow) {
  out.add("kind", to_string(flow.kind));
  out.add("host", flow.host);
  out.add("request_bytes", flow.request_bytes);
  out.add("response_bytes", flow.response_bytes);
  out.add("starttls", flow.starttls);
}

void add_dns(Members& out, const flow::DnsFlow& flow) {
  out.add("name", flow.name);
  out.add("type", flow.type);
  out.add("rcode", flow.rcode);
  out.add("request_bytes", flow.request_bytes);
  out.add("response_bytes", flow.response_bytes);
  for (const auto& one : flow.answers)
    out.add("answer", fmt::format("{} {} {} {}", one.name, one.type, one.ttl, one.data));
}

void add_message(Members& out, const flow::StreamMessage& message) {
  const http::Message& what = message.what;
  out.add("message", to_string(message.kind));
  out.add("message.kind", to_string(what.kind));
  out.add("message.time", message.time);
  out.add("message.direction", static_cast<int>(message.direction));
  out.add("message.compressed", what.compressed);
  out.add("message.cut", what.cut);
  out.add("message.payload", what.payload);
  out.add("message.bytes", what.bytes);
  out.add("message.wire_bytes", what.wire_bytes);
  out.add("message.code", what.code);
  out.add("message.reason", what.reason);
  out.add("message.name", what.name);
  out.add("message.id", what.id);
}

Members members_of(const flow::Flow& flow) {
  Members out;
  const flow::FlowFacts& facts = flow.facts();
  out.add("type", flow.type());
  out.add("began", facts.began);
  out.add("duration", facts.duration);
  out.add("error", facts.error);
  add_connection(out, *facts.connection);
  if (flow.http() != nullptr) add_http(out, *flow.http());
  if (flow.tcp() != nullptr) add_tcp(out, *flow.tcp());
  if (flow.dns() != nullptr) add_dns(out, *flow.dns());
  for (const auto& message : flow.messages) add_message(out, *message);
  out.add("state", static_cast<int>(flow.state));
  out.add("mark", flow.notes.mark);
  out.add("comment", flow.notes.comment);
  out.add("tags", fmt::format("{}", flow.notes.tags));
  out.add("uuid", flow.uuid);
  return out;
}

void annotate(flow::Flow& flow) {
  flow.notes = {":red_circle:", "look\nhere", {"slow", "auth"}};
  flow.uuid = "6f1c9c3e-5a0e-4d7c-9d0b-0d2b8f1a2b3c";
}

}  // namespace

flow::Flow full_http_flow() {
  flow::Flow flow{.record = http_record()};
  annotate(flow);
  return flow;
}

flow::Flow full_websocket_flow() {
  flow::Flow flow{.record = http_record()};
  const auto& connection = flow.facts().connection;
  using Kind = flow::StreamMessage::Kind;
  using What = http::Message::Kind;
  flow.messages = {
      message(Kind::websocket, connection, {What::text, true, false, "hi", 2, 9, 0, "", "", ""}),
      message(Kind::websocket, connection,
              {What::binary, false, true, std::string("\0\1", 2), 20, 24, 0, "", "", ""}),
      message(Kind::websocket, connection,
              {What::close, false, false, "", 4, 6, 1001, "bye", "", ""}),
      message(Kind::sse, connection,
              {What::event, false, false, "data", 4, 20, 0, "", "tick", "42"}),
      message(Kind::grpc, connection,
              {What::call, true, false, "x", std::nullopt, 6, 0, "", "", ""})};
  annotate(flow);
  return flow;
}

flow::Flow full_tcp_flow() {
  auto record = begun<flow::TcpFlow>();
  record->host = "one.test";
  record->request_bytes = 3;
  record->response_bytes = 4;
  record->starttls = "smtp";
  flow::Flow flow{.record = record};
  flow.messages = {
      message(flow::StreamMessage::Kind::tcp, record->connection,
              {http::Message::Kind::binary, false, false, "220\r\n", 5, 5, 0, "", "", ""})};
  annotate(flow);
  return flow;
}

flow::Flow full_dns_flow() {
  auto record = begun<flow::DnsFlow>();
  record->name = "one.test";
  record->type = "AAAA";
  record->rcode = "NOERROR";
  record->answers = {{"one.test", "CNAME", 60, "two.test"}, {"two.test", "AAAA", 0, "::1"}};
  record->request_bytes = 30;
  record->response_bytes = 60;
  flow::Flow flow{.record = record};
  annotate(flow);
  return flow;
}

std::vector<std::string> differences(const flow::Flow& a, const flow::Flow& b) {
  const auto before = members_of(a).all;
  const auto after = members_of(b).all;
  std::vector<std::string> found;
  if (before.size() != after.size())
    found.push_back(fmt::format("{} members are now {}", before.size(), after.size()));
  for (std::size_t i = 0; i < std::min(before.size(), after.size()); ++i) {
    if (before[i] != after[i])
      found.push_back(fmt::format("{}: '{}' is now {} '{}'", before[i].first,
                                  before[i].second.substr(0, 80), after[i].first,
                                  after[i].second.substr(0, 80)));
  }
  return found;
}

}  // namespace test
