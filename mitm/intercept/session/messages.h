// The messages inside one exchange, reported one by one: those of a WebSocket, a gRPC call, an
// event stream.
#pragma once

#include <memory>
#include <optional>
#include <string_view>

#include "mitm/http/http1_head.h"
#include "mitm/http/message.h"
#include "mitm/intercept/context/flow_recorder.h"
#include "mitm/intercept/context/memory.h"
#include "mitm/intercept/wire/turn.h"

namespace mitm::intercept {

/// Costs nothing where there are none.
class Messages {
 public:
  /// Once a head of the exchange is in `flow`. `limit`: bytes of each payload that are kept. True:
  /// the request or response is made of messages, and the start of `flow` has to be published
  /// before them.
  [[nodiscard]] bool request_began(const flow::HttpFlow& flow, std::size_t limit);
  [[nodiscard]] bool response_began(const flow::HttpFlow& flow, std::size_t limit);
  /// From here on both directions carry frames.
  void websocket_began(flow::HttpFlow& flow, std::size_t limit);

  /// How many bytes of a body feed() should be given at once.
  [[nodiscard]] std::size_t step(flow::Direction direction) const {
    return readers_[static_cast<int>(direction)] ? Turn::kStep : Turn::kLargeStep;
  }
  /// Body bytes of `flow`, without chunk or frame headers of HTTP.
  void feed(const FlowRecorder& recorder, const flow::HttpFlow& flow, flow::Direction direction,
            std::string_view bytes);

  /// `flow` is about to end: where nothing else went wrong, says what did here.
  void settle(flow::HttpFlow& flow) const;

 private:
  class Reporter;
  using Kind = flow::StreamMessage::Kind;

  template <class Reader, class... Arguments>
  void read(flow::Direction direction, Kind kind, std::size_t limit, Arguments... arguments);
  void look_at_memory(MemoryAccount& memory);
  [[nodiscard]] std::size_t held() const;

  std::optional<Kind> kind_;                         ///< empty: there are no messages
  bool closed_ = false;                              ///< a WebSocket, by a close frame
  std::unique_ptr<http::MessageReader> readers_[2];  ///< by Direction; null: no messages
  std::optional<MemoryShare> share_;                 ///< of what the readers hold
  std::size_t limit_ = 0;                            ///< 0: no payloads are wanted
  bool keeps_ = true;                                ///< there is memory for them
  bool gave_up_ = false;                             ///< there was none once
};

}  // namespace mitm::intercept
