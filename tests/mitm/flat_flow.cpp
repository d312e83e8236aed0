#include "tests/mitm/flat_flow.h"

namespace test {
namespace {

namespace flow = mitm::flow;
using Event = FlatFlow::Event;
using Type = FlatFlow::Type;

/// What both have under the same names, one way or the other.
template <class From, class To>
void copy_connection(const From& from, To& to) {
  to.process = from.process;
  to.client = from.client;
  to.server = from.server;
  to.sni = from.sni;
  to.tls = from.tls;
  to.upstream_tls = from.upstream_tls;
  to.times = from.times;
  to.decision = from.decision;
  to.reason = from.reason;
}

void add_connection(const flow::ConnectionRecord& connection, FlatFlow& flat) {
  flat.conn = connection.id;
  copy_connection(connection, flat);
}

FlatFlow begin(const flow::FlowFacts& facts, Event event) {
  FlatFlow flat;
  flat.event = event;
  flat.id = facts.id;
  flat.time = facts.began;
  flat.duration = facts.duration;
  flat.error = facts.error;
  add_connection(*facts.connection, flat);
  return flat;
}

FlatFlow flat_http(const flow::HttpFlow& http, Event event) {
  FlatFlow flat = begin(http, event);
  flat.type = Type::http;
  flat.host = http.host;
  flat.url = http.url;
  flat.refused = http.refused;
  flat.method = http.request.method;
  flat.target = http.request.target;
  flat.http_version = http.request.version;
  flat.request_headers = http.request.fields;
  flat.request_trailers = http.request.trailers;
  flat.request_body = http.request.body.text();
  flat.request_body_cut = http.request.body.is_cut();
  flat.request_bytes = http.request.body_bytes;
  flat.edits = http.edits;
  flat.request_ended = http.request.ended;
  flat.status = http.response.status;
  flat.status_text = http.response.reason;
  flat.interim = http.response.interim;
  flat.response_headers = http.response.fields;
  flat.response_trailers = http.response.trailers;
  flat.response_body = http.response.body.text();
  flat.response_body_cut = http.response.body.is_cut();
  flat.response_bytes = http.response.body_bytes;
  flat.response_began = http.response.began;
  flat.response_ended = http.response.ended;
  return flat;
}

FlatFlow flat_tcp(const flow::TcpFlow& tcp, Event event) {
  FlatFlow flat = begin(tcp, event);
  flat.type = static_cast<Type>(static_cast<int>(Type::tcp) + static_cast<int>(tcp.kind));
  flat.host = tcp.host;
  flat.request_bytes = tcp.request_bytes;
  flat.response_bytes = tcp.response_bytes;
  flat.starttls = tcp.starttls;
  return flat;
}

FlatFlow flat_dns(const flow::DnsFlow& dns) {
  FlatFlow flat = begin(dns, Event::end);
  flat.type = Type::dns;
  flat.dns = FlatDns{dns.name, dns.type, dns.rcode, dns.answers};
  flat.request_bytes = dns.request_bytes;
  flat.response_bytes = dns.response_bytes;
  return flat;
}

FlatFlow flat_message(const flow::StreamMessage& message) {
  FlatFlow flat;
  flat.event = Event::message;
  flat.type = static_cast<Type>(static_cast<int>(Type::websocket) + static_cast<int>(message.kind));
  flat.id = message.flow;
  flat.time = message.time;
  add_connection(*message.connection, flat);
  flat.host = message.host;
  flat.url = message.url;
  flat.message = FlatMessage{message.direction == flow::Direction::response, message.what};
  return flat;
}

std::shared_ptr<const flow::ConnectionRecord> connection_of(const FlatFlow& flat) {
  auto connection = std::make_shared<flow::ConnectionRecord>();
  connection->id = flat.conn;
  connection->host = flat.host;
  copy_connection(flat, *connection);
  return connection;
}

template <class Flow>
std::shared_ptr<Flow> flow_of(const FlatFlow& flat) {
  auto made = std::make_shared<Flow>();
  made->id = flat.id;
  made->connection = connection_of(flat);
  made->began = flat.time;
  made->duration = flat.duration;
  made->error = flat.error;
  return made;
}

flow::Body body_of(const std::string& bytes, bool cut) {
  flow::BodyRecorder recorder;
  recorder.append(bytes, bytes.size());
  if (cut) recorder.cut();
  return recorder.body();
}

flow::Event http_event(const FlatFlow& flat) {
  auto http = flow_of<flow::HttpFlow>(flat);
  http->host = flat.host;
  http->url = flat.url;
  http->refused = flat.refused;
  http->request.method = flat.method;
  http->request.target = flat.target;
  http->request.version = flat.http_version;
  http->request.fields = flat.request_headers;
  http->request.trailers = flat.request_trailers;
  http->request.body = body_of(flat.request_body, flat.request_body_cut);
  http->request.body_bytes = flat.request_bytes;
  http->edits = flat.edits;
  http->response.status = flat.status;
  http->response.reason = flat.status_text;
  http->response.interim = flat.interim;
  http->response.fields = flat.response_headers;
  http->response.trailers = flat.response_trailers;
  http->response.body = body_of(flat.response_body, flat.response_body_cut);
  http->response.body_bytes = flat.response_bytes;
  http->request.ended = flat.request_ended;
  http->response.began = flat.response_began;
  http->response.ended = flat.response_ended;
  if (flat.event == Event::start) return flow::HttpUnderWay{std::move(http)};
  return flow::HttpEnd{std::move(http)};
}

flow::Event tcp_event(const FlatFlow& flat) {
  auto tcp = flow_of<flow::TcpFlow>(flat);
  tcp->kind =
      static_cast<flow::TcpFlow::Kind>(static_cast<int>(flat.type) - static_cast<int>(Type::tcp));
  tcp->host = flat.host;
  tcp->request_bytes = flat.request_bytes;
  tcp->response_bytes = flat.response_bytes;
  tcp->starttls = flat.starttls;
  if (flat.event == Event::start) return flow::TcpBegin{std::move(tcp)};
  return flow::TcpEnd{std::move(tcp)};
}

flow::Event dns_event(const FlatFlow& flat) {
  auto dns = flow_of<flow::DnsFlow>(flat);
  dns->name = flat.dns->name;
  dns->type = flat.dns->type;
  dns->rcode = flat.dns->rcode;
  dns->answers = flat.dns->answers;
  dns->request_bytes = flat.request_bytes;
  dns->response_bytes = flat.response_bytes;
  return flow::DnsEnd{std::move(dns)};
}

flow::Event message_event(const FlatFlow& flat) {
  auto message = std::make_shared<flow::StreamMessage>();
  message->kind = static_cast<flow::StreamMessage::Kind>(static_cast<int>(flat.type) -
                                                         static_cast<int>(Type::websocket));
  message->flow = flat.id;
  message->connection = connection_of(flat);
  message->time = flat.time;
  message->host = flat.host;
  message->url = flat.url;
  message->direction =
      flat.message->from_server ? flow::Direction::response : flow::Direction::request;
  message->what = flat.message->what;
  return flow::Message{std::move(message)};
}

}  // namespace

std::optional<FlatFlow> flatten(const flow::Event& event) {
  if (const auto* it = std::get_if<flow::HttpUnderWay>(&event))
    return flat_http(*it->flow, Event::start);
  if (const auto* it = std::get_if<flow::HttpEnd>(&event)) return flat_http(*it->flow, Event::end);
  if (const auto* it = std::get_if<flow::TcpBegin>(&event))
    return flat_tcp(*it->flow, Event::start);
  if (const auto* it = std::get_if<flow::TcpEnd>(&event)) return flat_tcp(*it->flow, Event::end);
  if (const auto* it = std::get_if<flow::DnsEnd>(&event)) return flat_dns(*it->flow);
  if (const auto* it = std::get_if<flow::Message>(&event)) return flat_message(*it->message);
  return std::nullopt;
}

flow::Event to_event(const FlatFlow& flow) {
  if (flow.message) return message_event(flow);
  if (flow.dns) return dns_event(flow);
  return flow.type == Type::http ? http_event(flow) : tcp_event(flow);
}

}  // namespace test
