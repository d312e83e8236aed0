// Which reader an exchange needs, and what becomes of what it reads.
#include "mitm/intercept/session/messages.h"

#include "mitm/http/event_stream.h"
#include "mitm/http/grpc.h"
#include "mitm/http/websocket.h"

namespace mitm::intercept {

using flow::Direction;

/// Publishes what a reader reads.
class Messages::Reporter final : public http::MessageReader::Handler {
 public:
  Reporter(Messages& messages, const FlowRecorder& recorder, const flow::HttpFlow& flow,
           Direction direction)
      : messages_(messages), recorder_(recorder), flow_(flow), direction_(direction) {}

  void message(http::Message& message) override {
    if (message.kind == http::Message::Kind::close) messages_.closed_ = true;
    recorder_.publish_message(flow_, *messages_.kind_, direction_, std::move(message));
  }

 private:
  Messages& messages_;
  const FlowRecorder& recorder_;
  const flow::HttpFlow& flow_;
  Direction direction_;
};

template <class Reader, class... Arguments>
void Messages::read(Direction direction, Kind kind, std::size_t limit, Arguments... arguments) {
  kind_ = kind;
  limit_ = limit;
  readers_[static_cast<int>(direction)] = std::make_unique<Reader>(arguments..., limit);
}

bool Messages::request_began(const flow::HttpFlow& flow, std::size_t limit) {
  if (!http::is_grpc(flow.request.fields.find("content-type"))) return false;
  read<http::GrpcReader>(Direction::request, Kind::grpc, limit);
  return true;
}

bool Messages::response_began(const flow::HttpFlow& flow, std::size_t limit) {
  const std::string_view type = flow.response.fields.find("content-type");
  if (http::is_grpc(type)) {
    read<http::GrpcReader>(Direction::response, Kind::grpc, limit);
    return true;
  }
  if (!http::is_event_stream(type)) return false;
  const std::string_view coding = flow.response.fields.find("content-encoding");
  const bool coded = !coding.empty() && !http::iequals(coding, "identity");
  kind_ = Kind::sse;
  if (!coded) read<http::EventStreamReader>(Direction::response, Kind::sse, limit);
  return true;
}

void Messages::websocket_began(flow::HttpFlow& flow, std::size_t limit) {
  const auto terms = http::websocket_terms(flow.response.fields);
  if (!terms.unknown.empty()) {
    flow.error =
        "no messages are shown: the WebSocket extension " + terms.unknown + " is not known";
    return;
  }
  read<http::WebSocketReader>(Direction::request, Kind::websocket, limit, http::Side::request,
                              terms.program);
  read<http::WebSocketReader>(Direction::response, Kind::websocket, limit, http::Side::response,
                              terms.server);
}

void Messages::feed(const FlowRecorder& recorder, const flow::HttpFlow& flow, Direction direction,
                    std::string_view bytes) {
  const auto& reader = readers_[static_cast<int>(direction)];
  if (!reader) return;
  MemoryAccount& memory = recorder.context().memory;
  if (limit_ > 0) look_at_memory(memory);
  Reporter reporter{*this, recorder, flow, direction};
  reader->feed(bytes, reporter);
  const std::size_t now = held();
  if (!share_ && now > 0) share_.emplace(memory);
  if (share_) share_->set(now);
}

/// With room for what is held to grow, which it does by doubling.
void Messages::look_at_memory(MemoryAccount& memory) {
  const bool room = memory.has_room_for_payload(share_ ? share_->bytes() : 0);
  if (room == keeps_) return;
  keeps_ = room;
  if (!room) {
    gave_up_ = true;
    memory.count_drop();
  }
  for (const auto& reader : readers_) {
    if (!reader) continue;
    if (room) reader->keep_from_next(limit_);
    if (!room) reader->keep_nothing();
  }
}

std::size_t Messages::held() const {
  std::size_t bytes = 0;
  for (const auto& reader : readers_) bytes += reader ? reader->held() : 0;
  return bytes;
}

void Messages::settle(flow::HttpFlow& flow) const {
  for (const auto direction : {Direction::request, Direction::response}) {
    const auto& reader = readers_[static_cast<int>(direction)];
    if (!flow.error.empty() || !reader || reader->error() == nullptr) continue;
    flow.error = fmt::format("not all messages of {} are shown: {}",
                             direction == Direction::request ? "the program" : "the server",
                             reader->error());
  }
  if (flow.error.empty() && gave_up_)
    flow.error =
        "the memory for all connections was used up: some messages are shown without what they say";
  if (flow.error.empty() && kind_ == Kind::websocket && !closed_)
    flow.error = "the WebSocket ended without a close frame";
}

}  // namespace mitm::intercept
