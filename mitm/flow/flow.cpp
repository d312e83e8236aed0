// Names of the enumerators as users read them in JSON and text, and what a flow weighs in the
// queue.
#include "mitm/flow/flow.h"

#include <initializer_list>

namespace mitm::flow {

std::string_view to_string(Event event) {
  if (event == Event::message) return "message";
  return event == Event::start ? "start" : "end";
}

std::string_view to_string(Type type) {
  switch (type) {
    case Type::http:
      return "http";
    case Type::tcp:
      return "tcp";
    case Type::tls_error:
      return "tls_error";
    case Type::pass:
      return "pass";
    case Type::block:
      return "block";
    case Type::dns:
      return "dns";
    case Type::websocket:
      return "websocket";
    case Type::sse:
      return "sse";
    case Type::grpc:
      return "grpc";
  }
  return "tcp";
}

std::size_t weight(const Flow& flow) {
  std::size_t bytes = sizeof(Flow);
  for (const http::Fields* fields : {&flow.request_headers, &flow.response_headers,
                                     &flow.request_trailers, &flow.response_trailers})
    bytes += fields->memory();
  for (const std::string* text :
       {&flow.host, &flow.sni, &flow.method, &flow.url, &flow.request_body, &flow.response_body,
        &flow.refused, &flow.reason, &flow.error})
    bytes += text->size();
  if (flow.dns) {
    for (const auto& answer : flow.dns->answers)
      bytes += sizeof answer + answer.name.size() + answer.type.size() + answer.data.size();
  }
  if (flow.message) {
    const http::Message& what = flow.message->what;
    bytes += what.payload.size() + what.reason.size() + what.name.size() + what.id.size();
  }
  return bytes;
}

}  // namespace mitm::flow
