// What the readers of messages share.
#include "mitm/http/message.h"

#include <algorithm>

namespace mitm::http {

std::string_view to_string(Message::Kind kind) {
  using Kind = Message::Kind;
  switch (kind) {
    case Kind::text:
      return "text";
    case Kind::binary:
      return "binary";
    case Kind::ping:
      return "ping";
    case Kind::pong:
      return "pong";
    case Kind::close:
      return "close";
    case Kind::event:
      return "event";
    case Kind::call:
      return "call";
    case Kind::trailers:
      return "trailers";
  }
  return "binary";
}

void keep(std::string_view part, std::size_t limit, Message& message) {
  const std::size_t room = limit - std::min(limit, message.payload.size());
  message.payload.append(part.substr(0, room));
  if (part.size() > room) message.cut = true;
}

void drop_payload(Message& message) {
  if (!message.payload.empty()) message.cut = true;
  std::string{}.swap(message.payload);
}

}  // namespace mitm::http
