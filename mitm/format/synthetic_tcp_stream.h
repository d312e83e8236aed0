// The TCP segments that a recorded connection could have been made of. Pure: no file, no clock.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/network.h"
#include "mitm/flow/event.h"

namespace mitm::format {

/// Flags as in the TCP header (RFC 9293 section 3.1).
enum TcpFlag : std::uint8_t { kFin = 0x01, kSyn = 0x02, kPsh = 0x08, kAck = 0x10 };

struct Segment {
  flow::Direction direction = flow::Direction::request;
  std::uint32_t seq = 0;
  std::uint32_t ack = 0;  ///< 0 in the first SYN
  std::uint8_t flags = 0;
  std::string_view payload;
};

/// One connection from its handshake, which the first event brings, to both FINs.
class Conversation {
 public:
  static constexpr std::size_t kMaxPayload = 16384;

  /// Initial sequence numbers follow from `conn`: two connections over the same ports do not look
  /// like a retransmission.
  explicit Conversation(std::uint64_t conn);

  /// Appends the segments of `data`, and the acknowledgement of the other side. Payloads point into
  /// `data`. Nothing is said in a direction that has ended.
  void add(const flow::Data& data, std::vector<Segment>& out);
  [[nodiscard]] bool ended() const { return halves_[0].ended && halves_[1].ended; }

 private:
  struct Half {
    std::uint32_t first = 0;  ///< sequence number of the stream's first byte
    std::uint32_t next = 0;
    bool ended = false;
  };
  void shake_hands(std::vector<Segment>& out) const;

  Half halves_[2];  ///< indexed by Direction
  bool open_ = false;
};

/// The IP packet (version 4 or 6, as the endpoints are) that carries `segment` between `client` and
/// `server`, checksums included. Replaces `out`.
void render_packet(const Segment& segment, const base::Endpoint& client,
                   const base::Endpoint& server, std::string& out);

}  // namespace mitm::format
