// What may want to hold or change the messages of a connection, as seen by the interception that
// asks it.
#pragma once

#include <cstdint>

#include "mitm/flow/records.h"
#include "mitm/sniff/sniffer.h"

namespace mitm::intercept {

/// How much of a connection's messages a gate wants to see before they are passed on.
enum class Interest : std::uint8_t {
  none,      ///< nothing: bytes pass as they come, and are read along
  heads,     ///< heads; bodies pass as they come
  messages,  ///< whole messages
};

/// Called on the contexts of connections, by all of them at once; must not block.
///
/// There is no session yet that holds or changes messages: a connection for which the answer is
/// not `none` is reset, with a flow that says so. Nothing passes a gate unseen that is meant to see
/// it. The calls by which a gate decides about a message come with that session.
class Gate {
 public:
  virtual ~Gate() = default;
  /// Asked once per connection, when its host is known and before the first byte of HTTP is passed
  /// on; once more inside the tunnel of an explicit proxy, where the host is another. After a
  /// change of protocol (h2c, WebSocket) the answer still holds. Not asked of what is not HTTP.
  /// `protocol`: http1 or http2.
  [[nodiscard]] virtual Interest interest(const flow::ConnectionRecord& connection,
                                          sniff::Protocol protocol) = 0;

  /// Is interested in nothing.
  [[nodiscard]] static Gate& none();
};

}  // namespace mitm::intercept
