#include "tests/mitm/query_flows.h"

namespace mitm::query::test {

using namespace std::chrono_literals;

flow::Time sample_time() {
  return std::chrono::sys_days{std::chrono::year{2026} / 11 / 30} + 9h + 15min;
}

void FlowMaker::add_message(flow::StreamMessage::Kind kind, flow::Direction direction,
                            std::string payload, http::Message::Kind what, std::string name) {
  auto message = std::make_shared<flow::StreamMessage>();
  message->kind = kind;
  message->direction = direction;
  message->time = sample_time();
  message->what.kind = what;
  message->what.payload = std::move(payload);
  message->what.name = std::move(name);
  made.messages.push_back(std::move(message));
}

FlowMaker full_maker() {
  FlowMaker maker;
  maker.process->id = {1234, 1};
  maker.process->ppid = 1000;
  maker.process->uid = 1001;
  maker.process->gid = 33;
  maker.process->name = "curl";
  maker.process->exe = "/usr/bin/curl";
  maker.process->argv = {"curl", "-s", "https://example.org/"};
  maker.process->user = "alice";
  maker.process->group = "staff";
  maker.process->cgroup = "/user.slice/session.scope";
  maker.process->start_time = sample_time() - 10min;
  maker.process->ancestors = {{{1000, 1}, "/bin/bash"}, {{900, 1}, "/usr/bin/make"}};
  maker.connection->id = 7;
  maker.connection->opened = sample_time();
  maker.connection->client = base::parse_endpoint("10.0.0.1:41000").value();
  maker.connection->server = base::parse_endpoint("93.184.216.34:443").value();
  maker.connection->host = maker.connection->sni = "www.example.org";
  maker.connection->decision = "intercept";
  maker.connection->reason = "filter curl";
  maker.connection->times = {1ms, 21ms, 101ms, 151ms};
  maker.tls->version = "TLSv1.3";
  maker.tls->cipher = "TLS_AES_256_GCM_SHA384";
  maker.tls->alpn = "h2";
  *maker.upstream = *maker.tls;
  maker.upstream->version = "TLSv1.2";
  maker.upstream->cipher = "ECDHE-RSA-AES128-GCM-SHA256";
  maker.upstream->client_certificate = "/etc/client.pem";
  maker.certificate.subject = "CN = www.example.org, O = Example";
  maker.certificate.issuer = "CN = R11, O = Let's Encrypt";
  maker.certificate.names = {"www.example.org", "*.example.net"};
  maker.certificate.not_before = sample_time() - 24h;
  maker.certificate.not_after = sample_time() + 240h;
  maker.certificate.sha256 = "AB:CD:EF";
  maker.made.notes = {":red_circle:", "look at this\nlater", {"login", "slow"}};
  return maker;
}

flow::HttpFlow full_http() {
  flow::HttpFlow flow;
  flow.id = 42;
  flow.began = sample_time();
  flow.duration = 350ms;
  flow.error = "the server closed the connection";
  flow.host = "www.example.org";
  flow.url = "https://api.example.co.uk:8443/graphql/pkg.Greeter/SayHello?page=2&q=a%20b";
  flow.request.method = "POST";
  flow.request.scheme = "https";
  flow.request.authority = "api.example.co.uk:8443";
  flow.request.version = "1.1";
  flow.request.fields.add("Host", "api.example.co.uk:8443");
  flow.request.fields.add("Content-Type", "application/grpc+json");
  flow.request.fields.add("Cookie", "session=a1b2; theme=dark");
  flow.request.fields.add("X-Tag", "one");
  flow.request.fields.add("X-Tag", "two");
  flow.request.body = flow::Body(
      R"({"query":"mutation SetName($n: String) { set(name: $n) { id } }","items":[{"price":5},)"
      R"({"price":120.5,"name":"lamp"}]})");
  flow.request.body_bytes = 20'000;
  flow.response.status = 503;
  flow.response.fields.add("Content-Type", "text/css; charset=utf-8");
  flow.response.fields.add("Content-Encoding", "identity");
  flow.response.fields.add("Set-Cookie", "token=xyz; Path=/; HttpOnly");
  auto edits = std::make_shared<flow::Edits>();
  edits->by = {"first", "mock"};
  edits->answered = true;
  flow.edits = std::move(edits);
  flow.response.trailers.add("grpc-status", "5");
  flow.response.trailers.add("grpc-message", "no%20such");
  flow.response.body = flow::Body("<title>Out of stock</title>\nsecond line");
  flow.response.body_bytes = 5'000;
  flow.response.began = 120ms;
  return flow;
}

flow::Flow http_flow() {
  return full_maker().flow_of(full_http());
}

flow::Flow websocket_flow() {
  using Kind = flow::StreamMessage::Kind;
  using What = http::Message::Kind;
  FlowMaker maker = full_maker();
  maker.made.notes = {};
  maker.add_message(Kind::websocket, flow::Direction::request, "subscribe all");
  maker.add_message(Kind::websocket, flow::Direction::response, "price 12", What::binary);
  maker.add_message(Kind::sse, flow::Direction::response, "[DONE]", What::event, "progress");
  flow::HttpFlow flow;
  flow.id = 43;
  flow.began = sample_time();
  flow.url = "wss://chat.example.net/";
  flow.request.method = "GET";
  flow.request.version = "1.1";
  flow.response.status = 101;
  flow.response.fields.add("Upgrade", "websocket");
  maker.made.state = flow::Flow::State::live;
  return maker.flow_of(std::move(flow));
}

flow::Flow tcp_flow() {
  FlowMaker maker = full_maker();
  maker.connection->id = 8;
  maker.connection->server = base::parse_endpoint("[2001:db8::1]:25").value();
  maker.add_message(flow::StreamMessage::Kind::tcp, flow::Direction::request, "EHLO client",
                    http::Message::Kind::binary);
  maker.add_message(flow::StreamMessage::Kind::tcp, flow::Direction::response, "250 mail",
                    http::Message::Kind::binary);
  flow::TcpFlow flow;
  flow.id = 44;
  flow.began = sample_time() + 1h;
  flow.host = "mail.example.org";
  flow.request_bytes = 11;
  flow.response_bytes = 8;
  flow.starttls = "smtp";
  maker.made.state = flow::Flow::State::interrupted;
  return maker.flow_of(std::move(flow));
}

flow::Flow dns_flow() {
  FlowMaker maker = full_maker();
  maker.connection->id = 9;
  flow::DnsFlow flow;
  flow.id = 45;
  flow.began = sample_time();
  flow.duration = 5ms;
  flow.name = "db.example.org";
  flow.type = "AAAA";
  flow.rcode = "NXDOMAIN";
  flow.answers = {{"db.example.org", "CNAME", 60, "alias.example.net"}};
  flow.request_bytes = 40;
  flow.response_bytes = 90;
  return maker.flow_of(std::move(flow));
}

flow::Flow bare_flow() {
  flow::Flow flow;
  flow.record = std::make_shared<const flow::HttpFlow>();
  return flow;
}

}  // namespace mitm::query::test
