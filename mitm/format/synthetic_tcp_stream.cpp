// Wireshark, tcpflow or Zeek reassemble a stream only from a conversation that begins with a
// handshake, is acknowledged and ends with FINs. Lost events stay visible as gaps in the sequence
// numbers.
#include "mitm/format/synthetic_tcp_stream.h"

#include <algorithm>

namespace mitm::format {

Conversation::Conversation(std::uint64_t conn) {
  const auto spread =
      static_cast<std::uint32_t>(conn) * 2654435761U;  // Knuth's multiplicative hash
  halves_[0].first = halves_[0].next = spread;
  halves_[1].first = halves_[1].next = ~spread;
}

void Conversation::shake_hands(std::vector<Segment>& out) const {
  const auto [request, response] = halves_;
  out.push_back({flow::Direction::request, request.first - 1, 0, kSyn, {}});
  out.push_back({flow::Direction::response, response.first - 1, request.first, kSyn | kAck, {}});
  out.push_back({flow::Direction::request, request.first, response.first, kAck, {}});
}

void Conversation::add(const flow::Data& data, std::vector<Segment>& out) {
  if (!std::exchange(open_, true)) shake_hands(out);
  const bool request = data.direction == flow::Direction::request;
  Half& sender = halves_[request ? 0 : 1];
  const Half& receiver = halves_[request ? 1 : 0];
  if (sender.ended) return;

  sender.next = sender.first + static_cast<std::uint32_t>(data.offset);
  std::string_view rest = data.bytes;
  while (!rest.empty()) {
    const std::string_view payload = rest.substr(0, kMaxPayload);
    rest.remove_prefix(payload.size());
    const auto flags = static_cast<std::uint8_t>(rest.empty() ? kPsh | kAck : kAck);
    out.push_back({data.direction, sender.next, receiver.next, flags, payload});
    sender.next += static_cast<std::uint32_t>(payload.size());
  }
  if (data.bytes.empty()) {
    out.push_back({data.direction, sender.next++, receiver.next, kFin | kAck, {}});
    sender.ended = true;
  }
  const auto answering = request ? flow::Direction::response : flow::Direction::request;
  out.push_back({answering, receiver.next, sender.next, kAck, {}});
}

}  // namespace mitm::format
