// The readers of messages on any bytes: whole and in pieces they must tell the same, keep no more
// than they may, and count no more than came.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#include "mitm/http/event_stream.h"
#include "mitm/http/grpc.h"
#include "mitm/http/websocket.h"

namespace {

using mitm::http::EventStreamReader;
using mitm::http::GrpcReader;
using mitm::http::Message;
using mitm::http::MessageReader;
using mitm::http::PermessageDeflate;
using mitm::http::Side;
using mitm::http::WebSocketReader;

struct Teller final : MessageReader::Handler {
  explicit Teller(std::size_t most) : limit(most) {}
  void message(Message& message) override {
    if (message.payload.size() > limit) std::abort();
    if (message.name.size() > EventStreamReader::kWord ||
        message.id.size() > EventStreamReader::kWord)
      std::abort();
    if (message.bytes && !message.cut && message.kind != Message::Kind::close &&
        message.payload.size() != *message.bytes)
      std::abort();
    if (message.reason.size() > 123) std::abort();
    carried += message.wire_bytes;
    text += to_string(message.kind);
    text += message.compressed ? 'z' : '-';
    text += message.cut ? '~' : '.';
    text += message.bytes ? std::to_string(*message.bytes) : "?";
    text += '/' + std::to_string(message.wire_bytes) + ' ' + std::to_string(message.code);
    text +=
        message.payload + '\n' + message.reason + '\n' + message.name + '\n' + message.id + '\n';
  }
  std::size_t limit;
  std::uint64_t carried = 0;
  std::string text;
};

std::unique_ptr<MessageReader> make(std::uint8_t kind, std::size_t limit) {
  if ((kind & 0x0f) == 14) return std::make_unique<GrpcReader>(limit);
  if ((kind & 0x0f) == 15) return std::make_unique<EventStreamReader>(limit);
  const Side side = (kind & 1) != 0 ? Side::request : Side::response;
  std::optional<PermessageDeflate> deflate;
  if ((kind & 2) != 0) deflate = PermessageDeflate{(kind & 4) != 0, 8 + (kind >> 4) % 8};
  return std::make_unique<WebSocketReader>(side, deflate, limit);
}

std::string story(std::uint8_t kind, std::size_t limit, std::string_view stream,
                  std::size_t piece) {
  const auto reader = make(kind, limit);
  Teller teller{limit};
  for (std::string_view rest = stream; !rest.empty();
       rest.remove_prefix(std::min(piece, rest.size())))
    reader->feed(rest.substr(0, piece), teller);
  if (teller.carried > stream.size()) std::abort();
  return teller.text + (reader->error() != nullptr ? reader->error() : "");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 3) return 0;
  const std::string_view stream{reinterpret_cast<const char*>(data) + 3, size - 3};
  const std::size_t limit = data[1];
  const std::string whole = story(data[0], limit, stream, stream.size() + 1);
  if (whole != story(data[0], limit, stream, 1)) std::abort();
  if (whole != story(data[0], limit, stream, 1U + data[2])) std::abort();

  mitm::http::Fields fields;
  fields.add("Sec-WebSocket-Extensions", stream);
  const auto terms = mitm::http::websocket_terms(fields);
  for (const auto& agreed : {terms.program, terms.server}) {
    if (agreed && (agreed->window_bits < 8 || agreed->window_bits > 15)) std::abort();
  }
  return 0;
}
