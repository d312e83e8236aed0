// Messages of WebSockets, event streams and gRPC, and what DNS says.
#include <array>

#include "mitm/http/grpc.h"
#include "mitm/query/field.h"
#include "mitm/query/subject.h"
#include "mitm/query/url_parts.h"

namespace mitm::query {
namespace {

using enum Columns::Table;
using enum ValueType;
using flow::Direction;
using Kind = flow::StreamMessage::Kind;

constexpr std::string_view kMayHaveMessages =
    "(flow.type = 'http' AND ifnull(flow.messages, 1) > 0)";

template <Kind kind, class Visit>
void visit_messages(const Subject& it, const Visit& visit) {
  if (it.http == nullptr) return;
  for (const auto& message : it.flow.messages)
    if (message->kind == kind) visit(*message);
}

template <bool request, bool response>
void websocket_payload(Subject& it, const Test&, Values& values) {
  visit_messages<Kind::websocket>(it, [&](const flow::StreamMessage& message) {
    const bool wanted = message.direction == Direction::request ? request : response;
    if (wanted && !values.decided()) values.known(message.what.payload);
  });
}

/// "package.Service" and "Method" of a gRPC call; empty: it is none.
std::pair<std::string_view, std::string_view> grpc_names(const Subject& it) {
  if (it.http == nullptr || !(http::is_grpc(it.http->request.fields.find("content-type")) ||
                              http::is_grpc(it.http->response.fields.find("content-type"))))
    return {};
  std::string_view path = url_parts(it.http->url).path;
  if (path.starts_with('/')) path.remove_prefix(1);
  const auto slash = path.rfind('/');
  if (slash == path.npos) return {};
  return {path.substr(0, slash), path.substr(slash + 1)};
}

void grpc_status(Subject& it, const Test&, Values& values) {
  if (it.http == nullptr) return;
  const flow::Response& response = it.http->response;
  const auto behind = response.trailers.find("grpc-status");
  const auto number_text = behind.empty() ? response.fields.find("grpc-status") : behind;
  if (number_text.empty()) return;
  values.text(number_text);
  const std::string failure = http::grpc_failure(response.fields, response.trailers);
  const std::string_view name = std::string_view(failure).substr(0, failure.find(':'));
  if (name.empty()) values.text("OK");
  // Of an unknown number "grpc-status N" is no name.
  if (!name.empty() && name.find(' ') == name.npos) values.text(name);
}

void dns_answers(Subject& it, const Test&, Values& values) {
  if (it.dns == nullptr) return;
  for (const auto& answer : it.dns->answers) values.known(answer.data);
}

const std::array kFields{
    Field{.name = "ws.count",
          .type = number,
          .kinds = kHttp,
          .cost = Cost::bodies,
          .help = "number of WebSocket messages, if there are any",
          .example = "ws.count > 100",
          .get =
              [](Subject& it, const Test&, Values& values) {
                double count = 0;
                visit_messages<Kind::websocket>(it, [&](const auto&) { ++count; });
                if (count > 0) values.number(count);
              },
          .columns = {none, kMayHaveMessages}},
    Field{.name = "ws.message",
          .scan = Scan::bytes,
          .kinds = kHttp,
          .cost = Cost::bodies,
          .help = "a WebSocket message",
          .example = "ws.message contains subscribe",
          .get = websocket_payload<true, true>,
          .columns = {none, kMayHaveMessages}},
    Field{.name = "ws.client.message",
          .letter = "wq",
          .scan = Scan::bytes,
          .kinds = kHttp,
          .cost = Cost::bodies,
          .help = "a WebSocket message of the program",
          .example = "~wq ping",
          .get = websocket_payload<true, false>,
          .columns = {none, kMayHaveMessages}},
    Field{.name = "ws.server.message",
          .letter = "ws",
          .scan = Scan::bytes,
          .kinds = kHttp,
          .cost = Cost::bodies,
          .help = "a WebSocket message of the server",
          .example = "~ws pong",
          .get = websocket_payload<false, true>,
          .columns = {none, kMayHaveMessages}},
    Field{.name = "ws.opcode",
          .kinds = kHttp,
          .cost = Cost::bodies,
          .help = "kind of a WebSocket message",
          .example = "ws.opcode == binary",
          .get =
              [](Subject& it, const Test&, Values& values) {
                visit_messages<Kind::websocket>(it, [&](const flow::StreamMessage& message) {
                  values.text(http::to_string(message.what.kind));
                });
              },
          .columns = {none, kMayHaveMessages},
          .candidates = "text binary ping pong close"},
    Field{.name = "sse.event",
          .kinds = kHttp,
          .cost = Cost::bodies,
          .help = "type of a server-sent event",
          .example = "sse.event == error",
          .get =
              [](Subject& it, const Test&, Values& values) {
                visit_messages<Kind::sse>(it, [&](const flow::StreamMessage& message) {
                  values.text(message.what.name.empty() ? "message" : message.what.name);
                });
              },
          .columns = {none, kMayHaveMessages}},
    Field{.name = "sse.data",
          .scan = Scan::bytes,
          .kinds = kHttp,
          .cost = Cost::bodies,
          .help = "data of a server-sent event",
          .example = "sse.data contains [DONE]",
          .get =
              [](Subject& it, const Test&, Values& values) {
                visit_messages<Kind::sse>(it, [&](const flow::StreamMessage& message) {
                  values.known(message.what.payload);
                });
              },
          .columns = {none, kMayHaveMessages}},
    Field{.name = "grpc.service",
          .kinds = kHttp,
          .cost = Cost::heads,
          .settled = Settled::at_start,
          .help = "service of a gRPC call",
          .example = "grpc.service endswith Greeter",
          .get = [](Subject& it, const Test&,
                    Values& values) { values.known(grpc_names(it).first); }},
    Field{.name = "grpc.method",
          .letter = "g",
          .kinds = kHttp,
          .cost = Cost::heads,
          .settled = Settled::at_start,
          .help = "method of a gRPC call",
          .example = "~g SayHello",
          .get = [](Subject& it, const Test&,
                    Values& values) { values.known(grpc_names(it).second); }},
    Field{.name = "grpc.status",
          .kinds = kHttp,
          .cost = Cost::heads,
          .help = "status of a gRPC call, its number or its name",
          .example = "grpc.status in {NOT_FOUND, 14}",
          .get = grpc_status,
          .candidates = "OK CANCELLED UNKNOWN DEADLINE_EXCEEDED NOT_FOUND PERMISSION_DENIED "
                        "UNAVAILABLE UNAUTHENTICATED INTERNAL"},
    Field{.name = "dns.name",
          .kinds = kDns,
          .help = "name that was asked for",
          .example = "dns.name endswith .example.org",
          .get =
              [](Subject& it, const Test&, Values& values) {
                if (it.dns != nullptr) values.known(it.dns->name);
              },
          .columns = {flow, "CASE flow.type WHEN 'dns' THEN flow.url END"}},
    Field{.name = "dns.type",
          .kinds = kDns,
          .help = "type that was asked for",
          .example = "dns.type == AAAA",
          .get =
              [](Subject& it, const Test&, Values& values) {
                if (it.dns != nullptr) values.known(it.dns->type);
              },
          .columns = {flow, "CASE flow.type WHEN 'dns' THEN flow.method END"},
          .candidates = "A AAAA CNAME HTTPS MX NS PTR SRV TXT"},
    Field{.name = "dns.rcode",
          .kinds = kDns,
          .cost = Cost::heads,
          .help = "result of the answer",
          .example = "dns.rcode == NXDOMAIN",
          .get =
              [](Subject& it, const Test&, Values& values) {
                if (it.dns != nullptr) values.known(it.dns->rcode);
              },
          .candidates = "NOERROR NXDOMAIN SERVFAIL REFUSED"},
    Field{.name = "dns.answer",
          .kinds = kDns,
          .cost = Cost::heads,
          .help = "address, name or text in the answer",
          .example = "dns.answer == 192.0.2.1",
          .get = dns_answers},
};

}  // namespace

std::span<const Field> message_fields() {
  return kFields;
}

}  // namespace mitm::query
