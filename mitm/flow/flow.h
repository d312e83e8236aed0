// One flow with all that belongs to it, as files, filters and views have it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "mitm/flow/records.h"

namespace mitm::flow {

/// What a user has noted about a flow.
struct Notes {
  std::string mark{};  ///< mitmproxy's form: ":default:", ":red_circle:"; empty: none
  std::string comment{};
  std::vector<std::string> tags{};
};

/// The error of a flow that was interrupted.
inline constexpr std::string_view kInterrupted = "interrupted: osproxy ended before it did";

struct Flow {
  enum class State : std::uint8_t {
    live,  ///< it has not ended
    ended,
    interrupted,  ///< osproxy ended, or was killed, before the flow did
  };

  std::variant<std::shared_ptr<const HttpFlow>, std::shared_ptr<const TcpFlow>,
               std::shared_ptr<const DnsFlow>>
      record;  ///< never null
  /// In the order in which they came: of an http flow those of WebSocket, event stream or gRPC, of
  /// a raw connection what was said (StreamMessage::Kind::tcp).
  std::vector<std::shared_ptr<const StreamMessage>> messages{};
  State state = State::ended;
  Notes notes{};
  std::string uuid{};  ///< 36 characters, for formats that want one; empty: none was given

  /// What every flow has.
  [[nodiscard]] const FlowFacts& facts() const;
  /// Null if it is of another kind.
  [[nodiscard]] const HttpFlow* http() const;
  [[nodiscard]] const TcpFlow* tcp() const;
  [[nodiscard]] const DnsFlow* dns() const;
  /// Empty: none. Of one that was interrupted, and has no other, kInterrupted.
  [[nodiscard]] std::string_view error() const;
  /// "http", "tcp", "tls_error", "pass", "block", "dns": `type` in conf/flow.schema.json.
  [[nodiscard]] std::string_view type() const;
};

}  // namespace mitm::flow
