// The segments of a conversation as the packets that a capture would show.
#include "base/ip_packet.h"
#include "mitm/format/synthetic_tcp_stream.h"

namespace mitm::format {
namespace {

constexpr std::uint16_t kWindow = 65535;

/// The options of a SYN: the segment size we use, and windows of up to 1 GiB.
std::string syn_options() {
  std::string options;
  base::append_word(options, 0x0204);
  base::append_word(options, Conversation::kMaxPayload);
  base::append_long(options, 0x0103030e);
  return options;
}

}  // namespace

void render_packet(const Segment& segment, const base::Endpoint& client,
                   const base::Endpoint& server, std::string& out) {
  const bool request = segment.direction == flow::Direction::request;
  const std::string options = (segment.flags & kSyn) != 0 ? syn_options() : std::string();
  out.clear();
  base::append_tcp_packet(out, {.source = request ? client : server,
                                .destination = request ? server : client,
                                .sequence = segment.seq,
                                .acknowledgement = segment.ack,
                                .flags = segment.flags,
                                .window = kWindow,
                                .options = options,
                                .payload = segment.payload});
}

}  // namespace mitm::format
