#include "mitm/format/har_messages.h"

#include <algorithm>
#include <cmath>

#include "mitm/flow/event.h"
#include "mitm/format/flow_builder.h"
#include "mitm/format/json_value.h"

namespace mitm::format {
namespace {

using nlohmann::json;
using Kind = flow::StreamMessage::Kind;

flow::Time time_of(const json& object) {
  constexpr double kLast = 7.26e9;
  const double seconds = json_number(object, "time").value_or(0);
  if (!(seconds > 0 && seconds < kLast)) return {};
  return flow::Time(std::chrono::microseconds(std::llround(seconds * 1e6)));
}

std::shared_ptr<flow::StreamMessage> begin(const json& object, const flow::HttpFlow& http,
                                           Kind kind) {
  const bool sent = json_text(object, "type") == "send";
  const auto direction =
      sent && kind != Kind::sse ? flow::Direction::request : flow::Direction::response;
  auto message = make_message(http, kind, direction, time_of(object));
  message->what.cut = json_true(object, "_cut");
  return message;
}

void set_payload(std::string payload, http::Message& what) {
  what.wire_bytes = payload.size();
  if (!what.cut) what.bytes = payload.size();
  what.payload = std::move(payload);
}

std::shared_ptr<const flow::StreamMessage> read_websocket(const json& object,
                                                          const flow::HttpFlow& http) {
  constexpr std::uint64_t kBinary = 2;
  const bool binary = json_count(object, "opcode") == kBinary;
  auto message = begin(object, http, Kind::websocket);
  message->what.kind = binary ? http::Message::Kind::binary : http::Message::Kind::text;
  set_payload(binary ? json_bytes(object, "data") : json_text(object, "data"), message->what);
  return message;
}

std::shared_ptr<const flow::StreamMessage> read_close(const json& object,
                                                      const flow::HttpFlow& http) {
  auto message = begin(object, http, Kind::websocket);
  message->what.kind = http::Message::Kind::close;
  message->what.code = static_cast<int>(json_count(object, "code").value_or(0) & 0xffffU);
  message->what.reason = json_text(object, "reason");
  message->what.bytes = message->what.wire_bytes =
      message->what.code == 0 ? 0 : sizeof(std::uint16_t) + message->what.reason.size();
  return message;
}

std::shared_ptr<const flow::StreamMessage> read_event(const json& object,
                                                      const flow::HttpFlow& http) {
  auto message = begin(object, http, Kind::sse);
  message->what.kind = http::Message::Kind::event;
  message->what.name = json_text(object, "eventName");
  if (message->what.name == "message") message->what.name.clear();
  message->what.id = json_text(object, "eventId");
  set_payload(json_text(object, "data"), message->what);
  return message;
}

std::shared_ptr<const flow::StreamMessage> read_call(const json& object,
                                                     const flow::HttpFlow& http) {
  auto message = begin(object, http, Kind::grpc);
  const bool trailers = json_text(object, "kind") == "trailers";
  message->what.kind = trailers ? http::Message::Kind::trailers : http::Message::Kind::call;
  message->what.compressed = json_true(object, "compressed");
  set_payload(json_bytes(object, "data"), message->what);
  if (const auto size = json_count(object, "size")) message->what.bytes = size;
  return message;
}

}  // namespace

std::vector<std::shared_ptr<const flow::StreamMessage>> read_har_messages(
    const json& entry, const flow::HttpFlow& http) {
  using Read = std::shared_ptr<const flow::StreamMessage> (*)(const json&, const flow::HttpFlow&);
  constexpr std::pair<std::string_view, Read> kLists[] = {{"_webSocketMessages", read_websocket},
                                                          {"_webSocketClose", read_close},
                                                          {"_eventStreamMessages", read_event},
                                                          {"_grpcMessages", read_call}};
  std::vector<std::shared_ptr<const flow::StreamMessage>> messages;
  for (const auto& [name, read] : kLists) {
    for (const json& object : json_member(entry, name)) {
      if (object.is_object()) messages.push_back(read(object, http));
    }
  }
  std::stable_sort(messages.begin(), messages.end(),
                   [](const auto& a, const auto& b) { return a->time < b->time; });
  return messages;
}

}  // namespace mitm::format
