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

/// With at most so much of each body.
std::shared_ptr<const Edits> limited(const std::shared_ptr<const Edits>& edits, std::size_t limit) {
  if (!edits) return edits;
  const bool longer = (edits->request && edits->request->body.size() > limit) ||
                      (edits->response && edits->response->body.size() > limit);
  if (!longer) return edits;
  auto shorter = std::make_shared<Edits>(*edits);
  if (shorter->request) shorter->request->body = shorter->request->body.first(limit);
  if (shorter->response) shorter->response->body = shorter->response->body.first(limit);
  return shorter;
}

template <class Kind>
Event without_bodies_of(const HttpFlow& flow) {
  auto bare = std::make_shared<HttpFlow>(flow);
  bare->request.body = flow.request.body.without_bytes();
  bare->response.body = flow.response.body.without_bytes();
  bare->edits = limited(flow.edits, 0);
  return Kind{std::move(bare)};
}

std::shared_ptr<const StreamMessage> without_payload(const StreamMessage& message) {
  auto bare = std::make_shared<StreamMessage>(message);
  http::drop_payload(bare->what);
  return bare;
}

template <class Kind>
Event limited(const Kind& event, std::size_t limit) {
  const HttpFlow& flow = *event.flow;
  auto edits = limited(flow.edits, limit);
  if (flow.request.body.size() <= limit && flow.response.body.size() <= limit &&
      edits == flow.edits)
    return event;
  auto shorter = std::make_shared<HttpFlow>(flow);
  shorter->request.body = flow.request.body.first(limit);
  shorter->response.body = flow.response.body.first(limit);
  shorter->edits = std::move(edits);
  return Kind{std::move(shorter)};
}

Event limited(const Message& event, std::size_t limit) {
  if (event.message->what.payload.size() <= limit) return event;
  auto shorter = std::make_shared<StreamMessage>(*event.message);
  shorter->what.payload.resize(limit);
  shorter->what.cut = true;
  return Message{std::move(shorter)};
}

}  // namespace

std::size_t weight(const Event& event) {
  return std::visit(Overloaded{
                        [](const ConnectionOpened&) { return sizeof(ConnectionRecord); },
                        [](const ConnectionEnd&) { return sizeof(ConnectionRecord); },
                        [](const Message& message) { return weight_of(*message.message); },
                        [](const TcpMessage& message) { return weight_of(*message.message); },
                        [](const BodyPart& part) { return sizeof part + part.bytes.size(); },
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
          [](const HttpPending& it) { return without_bodies_of<HttpPending>(*it.flow); },
          [](const HttpUnderWay& it) { return without_bodies_of<HttpUnderWay>(*it.flow); },
          [](const HttpEnd& it) { return without_bodies_of<HttpEnd>(*it.flow); },
          [](const Message& it) { return Event(Message{without_payload(*it.message)}); },
          [](const TcpMessage& it) { return Event(TcpMessage{without_payload(*it.message)}); },
          [](const BodyPart& it) {
            return Event(BodyPart{it.flow, it.direction, it.offset, it.bytes.without_bytes()});
          },
          [](const auto& other) { return Event(other); },
      },
      event);
}

Event limit_bodies(const Event& event, std::size_t limit) {
  return std::visit(Overloaded{
                        [=](const RequestHead& it) { return limited(it, limit); },
                        [=](const RequestEnd& it) { return limited(it, limit); },
                        [=](const ResponseHead& it) { return limited(it, limit); },
                        [=](const HttpPending& it) { return limited(it, limit); },
                        [=](const HttpUnderWay& it) { return limited(it, limit); },
                        [=](const HttpEnd& it) { return limited(it, limit); },
                        [=](const Message& it) { return limited(it, limit); },
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

std::optional<TcpFlow::Kind> tcp_kind(std::string_view text) {
  using Kind = TcpFlow::Kind;
  for (const Kind kind : {Kind::tcp, Kind::tls_error, Kind::pass, Kind::block}) {
    if (to_string(kind) == text) return kind;
  }
  return std::nullopt;
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
