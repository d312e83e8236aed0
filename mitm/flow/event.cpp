// What events weigh in a queue, and the names of their kinds.
#include "mitm/flow/event.h"

namespace mitm::flow {
namespace {

template <class... Cases>
struct Overloaded : Cases... {
  using Cases::operator()...;
};
template <class... Cases>
Overloaded(Cases...) -> Overloaded<Cases...>;  // for clang 14, which builds the fuzz targets

std::size_t weight_of(const HttpFlow& flow) {
  std::size_t bytes = sizeof flow;
  for (const http::Fields* fields : {&flow.request.fields, &flow.response.fields,
                                     &flow.request.trailers, &flow.response.trailers})
    bytes += fields->memory();
  for (const auto& interim : flow.response.interim)
    bytes += sizeof interim + interim.fields.memory();
  for (const std::string* text :
       {&flow.host, &flow.url, &flow.request.method, &flow.request.authority, &flow.request.target,
        &flow.refused, &flow.response.reason, &flow.error})
    bytes += text->size();
  return bytes + flow.request.body.size() + flow.response.body.size();
}

std::size_t weight_of(const TcpFlow& flow) {
  return sizeof flow + flow.host.size() + flow.error.size();
}

std::size_t weight_of(const DnsFlow& flow) {
  std::size_t bytes = sizeof flow + flow.name.size() + flow.error.size();
  for (const auto& answer : flow.answers)
    bytes += sizeof answer + answer.name.size() + answer.type.size() + answer.data.size();
  return bytes;
}

std::size_t weight_of(const StreamMessage& message) {
  const http::Message& what = message.what;
  return sizeof message + message.host.size() + message.url.size() + what.payload.size() +
         what.reason.size() + what.name.size() + what.id.size();
}

template <class Kind>
Event without_bodies_of(const HttpFlow& flow) {
  auto bare = std::make_shared<HttpFlow>(flow);
  bare->request.body = flow.request.body.without_bytes();
  bare->response.body = flow.response.body.without_bytes();
  return Kind{std::move(bare)};
}

Event without_payload(const StreamMessage& message) {
  auto bare = std::make_shared<StreamMessage>(message);
  http::drop_payload(bare->what);
  return Message{std::move(bare)};
}

}  // namespace

std::size_t weight(const Event& event) {
  return std::visit(Overloaded{
                        [](const ConnectionOpened&) { return sizeof(ConnectionRecord); },
                        [](const ConnectionEnd&) { return sizeof(ConnectionRecord); },
                        [](const Message& message) { return weight_of(*message.message); },
                        [](const TcpData& data) { return sizeof(Data) + data.data->bytes.size(); },
                        [](const LogLine& line) { return sizeof line + line.text.size(); },
                        [](const auto& other) { return weight_of(*other.flow); },
                    },
                    event);
}

Event without_bodies(const Event& event) {
  return std::visit(
      Overloaded{
          [](const RequestHead& it) { return without_bodies_of<RequestHead>(*it.flow); },
          [](const RequestEnd& it) { return without_bodies_of<RequestEnd>(*it.flow); },
          [](const ResponseHead& it) { return without_bodies_of<ResponseHead>(*it.flow); },
          [](const HttpUnderWay& it) { return without_bodies_of<HttpUnderWay>(*it.flow); },
          [](const HttpEnd& it) { return without_bodies_of<HttpEnd>(*it.flow); },
          [](const Message& it) { return without_payload(*it.message); },
          [](const auto& other) { return Event(other); },
      },
      event);
}

std::string_view to_string(TcpFlow::Kind kind) {
  switch (kind) {
    case TcpFlow::Kind::tcp:
      return "tcp";
    case TcpFlow::Kind::tls_error:
      return "tls_error";
    case TcpFlow::Kind::pass:
      return "pass";
    case TcpFlow::Kind::block:
      return "block";
  }
  return "tcp";
}

std::string_view to_string(StreamMessage::Kind kind) {
  switch (kind) {
    case StreamMessage::Kind::websocket:
      return "websocket";
    case StreamMessage::Kind::sse:
      return "sse";
    case StreamMessage::Kind::grpc:
      return "grpc";
    case StreamMessage::Kind::tcp:
      return "tcp";
  }
  return "websocket";
}

}  // namespace mitm::flow
