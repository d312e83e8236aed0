// What a flow is, and how far it has come.
#include <array>

#include "mitm/query/field.h"
#include "mitm/query/subject.h"

namespace mitm::query {
namespace {

using enum Columns::Table;
using enum ValueType;

bool is_answered(const Subject& it) {
  if (it.http != nullptr) return it.http->response.status != 0;
  return it.dns != nullptr && (it.dns->response_bytes || !it.dns->rcode.empty());
}

bool has_websocket(const Subject& it) {
  if (it.http == nullptr) return false;
  constexpr int kSwitchingProtocols = 101;
  if (it.http->response.status == kSwitchingProtocols &&
      http::iequals(it.http->response.fields.find("upgrade"), "websocket"))
    return true;
  for (const auto& message : it.flow.messages)
    if (message->kind == flow::StreamMessage::Kind::websocket) return true;
  return false;
}

constexpr std::string_view kUdp = "osproxy records no UDP flows but DNS";

const std::array kFields{
    Field{.name = "all",
          .letter = "all",
          .type = flag,
          .settled = Settled::at_start,
          .help = "is any flow",
          .example = "~all",
          .get = [](Subject&, const Test&, Values& values) { values.flag(true); },
          .columns = {flow, "1"}},
    Field{.name = "http",
          .letter = "http",
          .type = flag,
          .kinds = kHttp,
          .settled = Settled::at_start,
          .help = "is an HTTP request",
          .example = "~http",
          .get = [](Subject& it, const Test&, Values& values) { values.flag(it.http != nullptr); },
          .columns = {flow, "flow.type = 'http'"}},
    Field{.name = "tcp",
          .letter = "tcp",
          .type = flag,
          .kinds = kTcp,
          .help = "is an intercepted connection that carried no HTTP",
          .example = "~tcp",
          .get =
              [](Subject& it, const Test&, Values& values) {
                values.flag(it.tcp != nullptr && it.tcp->kind == flow::TcpFlow::Kind::tcp);
              },
          .columns = {flow, "flow.type = 'tcp'"}},
    Field{.name = "udp",
          .letter = "udp",
          .type = flag,
          .help = "is a UDP flow",
          .example = "~udp",
          .get = [](Subject&, const Test&, Values&) {},
          .columns = {flow, "0"},
          .never = kUdp},
    Field{.name = "dns",
          .letter = "dns",
          .type = flag,
          .kinds = kDns,
          .settled = Settled::at_start,
          .help = "is a question to a name server",
          .example = "~dns",
          .get = [](Subject& it, const Test&, Values& values) { values.flag(it.dns != nullptr); },
          .columns = {flow, "flow.type = 'dns'"}},
    Field{.name = "websocket",
          .letter = "websocket",
          .type = flag,
          .kinds = kHttp,
          .cost = Cost::heads,
          .of_progress = true,
          .help = "is a WebSocket",
          .example = "~websocket",
          .get = [](Subject& it, const Test&, Values& values) { values.flag(has_websocket(it)); }},
    Field{.name = "type",
          .help = "type of the flow",
          .example = "type == tls_error",
          .get = [](Subject& it, const Test&, Values& values) { values.text(it.flow.type()); },
          .columns = {flow, "flow.type"},
          .candidates = "http tcp tls_error pass block dns"},
    Field{.name = "unanswered",
          .letter = "q",
          .type = flag,
          .kinds = kHttp | kDns,
          .of_progress = true,
          .help = "has no response yet",
          .example = "~q",
          .get =
              [](Subject& it, const Test&, Values& values) {
                values.flag((it.http != nullptr || it.dns != nullptr) && !is_answered(it));
              },
          .columns = {none,
                      "(flow.type = 'http' AND flow.status IS NULL"
                      " OR flow.type = 'dns' AND flow.response_bytes IS NULL)",
                      "(flow.type = 'http' AND flow.status IS NULL)"}},
    Field{.name = "answered",
          .letter = "s",
          .type = flag,
          .kinds = kHttp | kDns,
          .of_progress = true,
          .help = "has a response",
          .example = "~s",
          .get = [](Subject& it, const Test&, Values& values) { values.flag(is_answered(it)); },
          .columns = {none, "(flow.status IS NOT NULL OR flow.type = 'dns')",
                      "(flow.type = 'http' AND flow.status IS NOT NULL"
                      " OR flow.type = 'dns' AND flow.response_bytes IS NOT NULL)"}},
    Field{.name = "failed",
          .letter = "e",
          .type = flag,
          .help = "has an error",
          .example = "~e",
          .get = [](Subject& it, const Test&,
                    Values& values) { values.flag(!it.flow.error().empty()); },
          .columns = {flow, "flow.error <> '' OR flow.state = 2"}},
    Field{.name = "error",
          .help = "error of the flow",
          .example = "error contains \"certificate\"",
          .get = [](Subject& it, const Test&, Values& values) { values.known(it.flow.error()); },
          .columns = {flow,
                      "CASE WHEN flow.state = 2 AND coalesce(flow.error, '') = '' "
                      "THEN 'interrupted: osproxy ended before it did' ELSE flow.error END"}},
    Field{.name = "live",
          .type = flag,
          .help = "has not ended",
          .example = "live",
          .get = [](Subject& it, const Test&,
                    Values& values) { values.flag(it.flow.state == flow::Flow::State::live); },
          .columns = {flow, "flow.state = 0"}},
    Field{
        .name = "interrupted",
        .type = flag,
        .help = "was under way when osproxy was killed (in order: error == \"osproxy ended\")",
        .example = "interrupted",
        .get = [](Subject& it, const Test&,
                  Values& values) { values.flag(it.flow.state == flow::Flow::State::interrupted); },
        .columns = {flow, "flow.state = 2"}},
    Field{.name = "id",
          .type = number,
          .settled = Settled::at_start,
          .help = "number of the flow",
          .example = "id < 100",
          .get = [](Subject& it, const Test&,
                    Values& values) { values.number(static_cast<double>(it.facts.id)); },
          .columns = {flow, "flow.id"}},
};

}  // namespace

std::span<const Field> kind_fields() {
  return kFields;
}

}  // namespace mitm::query
