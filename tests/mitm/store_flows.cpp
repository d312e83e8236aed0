#include "tests/mitm/store_flows.h"

#include "base/network.h"

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
  auto edits = std::make_shared<flow::Edits>();
  edits->by = {"one", ""};
  edits->request = request;
  edits->request->method = "";
  edits->request->body = flow::Body{"changed"};
  edits->response = response;
  edits->response->status = 500;
  edits->response->body = flow::Body{std::string(1000, 'y')};
  record->edits = std::move(edits);
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

}  // namespace test
