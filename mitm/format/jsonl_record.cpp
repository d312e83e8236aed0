// The reverse of JsonRenderer. What the form leaves out (targets, schemes, when a connection was
// opened) is told from the rest, as far as that can be.
#include "mitm/format/jsonl_record.h"

#include "base/text.h"
#include "mitm/flow/event.h"
#include "mitm/format/flow_builder.h"
#include "mitm/format/json_value.h"
#include "mitm/format/url_parts.h"

namespace mitm::format {
namespace {

using nlohmann::json;

http::Fields read_fields(const json& pairs) {
  http::Fields fields;
  for (const json& pair : pairs) {
    if (pair.is_array() && pair.size() == 2 && pair[0].is_string() && pair[1].is_string())
      fields.add(pair[0].get_ref<const std::string&>(), pair[1].get_ref<const std::string&>());
  }
  return fields;
}

std::shared_ptr<const procmap::ProcessFacts> read_process(const json& object) {
  if (!object.is_object()) return nullptr;
  auto process = std::make_shared<procmap::ProcessFacts>();
  process->id.pid = static_cast<pid_t>(json_count(object, "pid").value_or(0));
  process->ppid = static_cast<pid_t>(json_count(object, "ppid").value_or(0));
  process->name = json_text(object, "name");
  process->exe = json_text(object, "exe");
  process->argv = json_texts(object, "argv");
  process->user = json_text(object, "user");
  process->start_time = json_time(object, "start_time").value_or(flow::Time());
  return process;
}

std::shared_ptr<const flow::CertificateChain> read_chain(const json& certificates) {
  if (!certificates.is_array()) return nullptr;
  auto chain = std::make_shared<flow::CertificateChain>();
  for (const json& object : certificates) {
    flow::CertificateFacts facts;
    facts.subject = json_text(object, "subject");
    facts.issuer = json_text(object, "issuer");
    facts.names = json_texts(object, "names");
    facts.not_before = json_time(object, "not_before").value_or(flow::Time());
    facts.not_after = json_time(object, "not_after").value_or(flow::Time());
    facts.sha256 = json_text(object, "sha256");
    chain->push_back(std::move(facts));
  }
  return chain;
}

std::shared_ptr<const flow::TlsFacts> read_tls(const json& object, bool upstream) {
  if (!object.is_object()) return nullptr;
  auto tls = std::make_shared<flow::TlsFacts>();
  tls->version = json_text(object, "version");
  tls->cipher = json_text(object, "cipher");
  tls->alpn = json_text(object, "alpn");
  if (!upstream) return tls;
  tls->client_certificate = json_text(object, "client_certificate");
  tls->certificates = read_chain(json_member(object, "certificates"));
  return tls;
}

base::Endpoint read_endpoint(const json& event, std::string_view name) {
  const auto endpoint = base::parse_endpoint(json_text(event, name));
  return endpoint ? *endpoint : base::Endpoint();
}

std::shared_ptr<const flow::ConnectionRecord> read_connection(const json& event, flow::Time began) {
  auto record = std::make_shared<flow::ConnectionRecord>();
  record->id = json_count(event, "conn").value_or(0);
  record->opened = began;
  record->process = read_process(json_member(event, "process"));
  record->client = read_endpoint(event, "client");
  record->server = read_endpoint(event, "server");
  record->host = json_text(event, "host");
  record->sni = json_text(event, "sni");
  record->tls = read_tls(json_member(event, "tls"), false);
  record->upstream_tls = read_tls(json_member(event, "upstream_tls"), true);
  record->decision = json_text(event, "decision");
  record->reason = json_text(event, "reason");
  const json& times = json_member(event, "times");
  record->times.connect_began = json_millis(times, "connect_start_ms");
  record->times.connected = json_millis(times, "connected_ms");
  record->times.upstream_tls_done = json_millis(times, "upstream_tls_ms");
  record->times.tls_done = json_millis(times, "tls_ms");
  return record;
}

void read_facts(const json& event, flow::FlowFacts& facts) {
  facts.id = json_count(event, "id").value_or(0);
  facts.began = json_time(event, "time").value_or(flow::Time());
  facts.connection = read_connection(event, facts.began);
  facts.duration = json_millis(event, "duration_ms");
  facts.error = json_text(event, "error");
}

void read_request(const json& event, flow::HttpFlow& http) {
  flow::Request& request = http.request;
  request.method = json_text(event, "method");
  request.version = json_text(event, "http_version");
  request.fields = read_fields(json_member(event, "request_headers"));
  request.trailers = read_fields(json_member(event, "request_trailers"));
  request.body = body_of(json_bytes(event, "request_body"), json_true(event, "request_body_cut"));
  request.body_bytes = json_count(event, "request_bytes");
  const UrlParts url = split_url(http.url);
  request.scheme = url.scheme;
  const std::string_view host = request.fields.find("host");
  request.authority = request.version == "2" || host.empty() ? url.authority : host;
  const bool tunnel = request.method == "CONNECT";
  request.target = tunnel ? std::string_view(http.url) : url.target;
  if (request.target.empty()) request.target = request.method == "OPTIONS" ? "*" : "/";
  if (tunnel) request.scheme = http.connection->tls ? "https" : "http";
}

void read_response(const json& event, flow::Response& response) {
  response.status =
      static_cast<int>(std::min<std::uint64_t>(json_count(event, "status").value_or(0), 999));
  response.reason = json_text(event, "status_text");
  response.fields = read_fields(json_member(event, "response_headers"));
  response.trailers = read_fields(json_member(event, "response_trailers"));
  response.body =
      body_of(json_bytes(event, "response_body"), json_true(event, "response_body_cut"));
  response.body_bytes = json_count(event, "response_bytes");
  for (const json& one : json_member(event, "interim")) {
    response.interim.push_back({static_cast<int>(json_count(one, "status").value_or(0) % 1000),
                                read_fields(json_member(one, "headers")),
                                json_millis(one, "at_ms")});
  }
}

std::shared_ptr<const flow::Edits> read_edits(const json& object) {
  if (!object.is_object()) return nullptr;
  auto edits = std::make_shared<flow::Edits>();
  edits->by = json_texts(object, "by");
  edits->answered = json_true(object, "answered");
  if (const json& request = json_member(object, "request"); request.is_object()) {
    auto& changed = edits->request.emplace();
    changed.method = json_text(request, "method");
    changed.target = json_text(request, "target");
    changed.fields = read_fields(json_member(request, "headers"));
    changed.body = body_of(json_bytes(request, "body"), json_true(request, "body_cut"));
  }
  if (const json& response = json_member(object, "response"); response.is_object()) {
    auto& changed = edits->response.emplace();
    changed.status =
        static_cast<int>(std::min<std::uint64_t>(json_count(response, "status").value_or(0), 999));
    changed.fields = read_fields(json_member(response, "headers"));
    changed.body = body_of(json_bytes(response, "body"), json_true(response, "body_cut"));
  }
  return edits;
}

std::shared_ptr<const flow::HttpFlow> read_http(const json& event) {
  auto http = std::make_shared<flow::HttpFlow>();
  read_facts(event, *http);
  http->host = json_text(event, "host");
  http->url = json_text(event, "url");
  http->refused = json_bytes(event, "refused");
  http->edits = read_edits(json_member(event, "edits"));
  read_request(event, *http);
  read_response(event, http->response);
  const json& times = json_member(event, "times");
  http->request.ended = json_millis(times, "request_end_ms");
  http->response.began = json_millis(times, "response_start_ms");
  http->response.ended = json_millis(times, "response_end_ms");
  return http;
}

std::shared_ptr<const flow::TcpFlow> read_tcp(const json& event, std::string_view type) {
  auto tcp = std::make_shared<flow::TcpFlow>();
  read_facts(event, *tcp);
  tcp->kind = flow::tcp_kind(type).value_or(flow::TcpFlow::Kind::tcp);
  tcp->host = json_text(event, "host");
  tcp->request_bytes = json_count(event, "request_bytes");
  tcp->response_bytes = json_count(event, "response_bytes");
  tcp->starttls = json_text(event, "starttls");
  return tcp;
}

std::shared_ptr<const flow::DnsFlow> read_dns(const json& event) {
  auto dns = std::make_shared<flow::DnsFlow>();
  read_facts(event, *dns);
  const json& question = json_member(event, "question");
  dns->name = json_text(question, "name");
  dns->type = json_text(question, "type");
  dns->rcode = json_text(event, "rcode");
  dns->request_bytes = json_count(event, "request_bytes");
  dns->response_bytes = json_count(event, "response_bytes");
  for (const json& answer : json_member(event, "answers")) {
    dns->answers.push_back({json_text(answer, "name"), json_text(answer, "type"),
                            static_cast<std::uint32_t>(json_count(answer, "ttl").value_or(0)),
                            json_text(answer, "data")});
  }
  return dns;
}

http::Message::Kind message_kind(std::string_view name) {
  using Kind = http::Message::Kind;
  for (const Kind kind : {Kind::binary, Kind::ping, Kind::pong, Kind::close, Kind::event,
                          Kind::call, Kind::trailers}) {
    if (name == to_string(kind)) return kind;
  }
  return Kind::text;
}

std::shared_ptr<const flow::StreamMessage> read_message(const json& event,
                                                        flow::StreamMessage::Kind kind) {
  const json& object = json_member(event, "message");
  auto message = std::make_shared<flow::StreamMessage>();
  message->kind = kind;
  message->flow = json_count(event, "id").value_or(0);
  message->time = json_time(event, "time").value_or(flow::Time());
  message->connection = read_connection(event, message->time);
  message->host = json_text(event, "host");
  message->url = json_text(event, "url");
  message->direction =
      json_text(object, "from") == "server" ? flow::Direction::response : flow::Direction::request;
  http::Message& what = message->what;
  what.kind = message_kind(json_text(object, "kind"));
  what.compressed = json_true(object, "compressed");
  what.cut = json_true(object, "payload_cut");
  what.payload = json_bytes(object, "payload");
  what.bytes = json_count(object, "bytes");
  what.wire_bytes = json_count(object, "wire_bytes").value_or(0);
  what.code = static_cast<int>(json_count(object, "code").value_or(0) & 0xffffU);
  what.reason = json_text(object, "reason");
  what.name = json_text(object, "name");
  what.id = json_text(object, "id");
  return message;
}

std::optional<flow::StreamMessage::Kind> stream_kind(std::string_view type) {
  using Kind = flow::StreamMessage::Kind;
  for (const Kind kind : {Kind::websocket, Kind::sse, Kind::grpc}) {
    if (type == to_string(kind)) return kind;
  }
  return std::nullopt;
}

}  // namespace

base::Result<JsonEvent> read_event(const json& event) {
  if (!event.is_object()) return base::failure("this is no object");
  if (json_count(event, "v") != 1U) return base::failure("key 'v': expected 1");
  JsonEvent read;
  const std::string name = json_text(event, "event");
  const std::string type = json_text(event, "type");
  if (!json_count(event, "id")) return base::failure("key 'id': expected a number");
  if (!json_time(event, "time")) return base::failure("key 'time': expected a time of RFC 3339");
  read.id = *json_count(event, "id");
  if (name == "message") {
    const auto kind = stream_kind(type);
    if (!kind) return base::failure("key 'type': unknown message '{}'", base::printable(type));
    read.kind = JsonEvent::Kind::message;
    read.message = read_message(event, *kind);
    return read;
  }
  if (name != "start" && name != "end")
    return base::failure("key 'event': unknown event '{}'", base::printable(name));
  read.kind = name == "start" ? JsonEvent::Kind::start : JsonEvent::Kind::end;
  if (type == "http") {
    read.flow.record = read_http(event);
  } else if (type == "dns") {
    read.flow.record = read_dns(event);
  } else if (flow::tcp_kind(type)) {
    read.flow.record = read_tcp(event, type);
  } else {
    return base::failure("key 'type': unknown type '{}'", base::printable(type));
  }
  return read;
}

}  // namespace mitm::format
