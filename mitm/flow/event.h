// What is published of flows while they happen.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>

#include "base/log_level.h"
#include "mitm/flow/records.h"

namespace mitm::flow {

struct ConnectionOpened {
  std::shared_ptr<const ConnectionRecord> connection;
};
/// The head of a request is there; its body and its response are yet to come.
struct RequestHead {
  std::shared_ptr<const HttpFlow> flow;
};
struct RequestEnd {
  std::shared_ptr<const HttpFlow> flow;
};
/// The head of the response is there.
struct ResponseHead {
  std::shared_ptr<const HttpFlow> flow;
};
/// A request that has waited for its end for a moment, for subscribers that keep flows: should
/// osproxy be killed, they have it. Comes once, and not when HttpUnderWay has come.
struct HttpPending {
  std::shared_ptr<const HttpFlow> flow;
};
/// A flow that lasts: it has neither ended nor been shown so far.
struct HttpUnderWay {
  std::shared_ptr<const HttpFlow> flow;
};
struct HttpEnd {
  std::shared_ptr<const HttpFlow> flow;
};
struct Message {
  std::shared_ptr<const StreamMessage> message;
};
/// What one side of a raw connection has said at once (StreamMessage::Kind::tcp).
struct TcpMessage {
  std::shared_ptr<const StreamMessage> message;
};
/// A piece of a body that is longer than what its flow keeps in memory. The pieces of a body are
/// published in their order, the first one at offset 0, and all of them before the flow's end.
struct BodyPart {
  std::uint64_t flow = 0;
  Direction direction = Direction::request;
  std::uint64_t offset = 0;  ///< of its first byte; a lost event leaves a gap
  Body bytes;
};
struct TcpBegin {
  std::shared_ptr<const TcpFlow> flow;
};
struct TcpEnd {
  std::shared_ptr<const TcpFlow> flow;
};
struct DnsEnd {
  std::shared_ptr<const DnsFlow> flow;
};
/// Decrypted bytes of a connection, for subscribers that want the stream (pcap).
struct Data {
  std::uint64_t conn = 0;
  base::Endpoint client;
  base::Endpoint server;
  Direction direction = Direction::request;
  Time time;
  std::string bytes;  ///< empty: this direction has ended
  /// Of bytes[0] in its direction's stream: a lost event leaves a gap, not a shift.
  std::uint64_t offset = 0;
  std::shared_ptr<const procmap::ProcessFacts> process;  ///< null: unknown
};
struct TcpData {
  std::shared_ptr<const Data> data;
};
struct ConnectionEnd {
  std::shared_ptr<const ConnectionRecord> connection;
};
/// A line about osproxy itself: one that its user should see.
struct LogLine {
  base::LogLevel level = base::LogLevel::warning;
  Time time;
  std::string text;  ///< as it came, without newline
};

using Event = std::variant<ConnectionOpened, RequestHead, RequestEnd, ResponseHead, HttpPending,
                           HttpUnderWay, HttpEnd, Message, TcpMessage, BodyPart, TcpBegin, TcpEnd,
                           DnsEnd, TcpData, ConnectionEnd, LogLine>;

/// The index of Kind in Event.
template <class Kind, std::size_t at = 0>
[[nodiscard]] constexpr std::size_t index_of() {
  if constexpr (std::is_same_v<std::variant_alternative_t<at, Event>, Kind>) {
    return at;
  } else {
    return index_of<Kind, at + 1>();
  }
}

/// A set of kinds of events.
class EventSet {
 public:
  template <class... Kinds>
  [[nodiscard]] static constexpr EventSet of() {
    return EventSet(((1U << index_of<Kinds>()) | ... | 0U));
  }
  constexpr EventSet() = default;
  explicit constexpr EventSet(std::uint32_t bits) : bits_(bits) {}

  [[nodiscard]] constexpr bool has(std::size_t index) const { return (bits_ >> index & 1U) != 0; }
  [[nodiscard]] constexpr std::uint32_t bits() const { return bits_; }
  friend constexpr EventSet operator|(EventSet a, EventSet b) {
    return EventSet(a.bits_ | b.bits_);
  }

 private:
  std::uint32_t bits_ = 0;  ///< one for each kind, by its index in Event
};

/// Bytes that `event` occupies in a queue, roughly. What it shares with its connection is not
/// counted.
[[nodiscard]] std::size_t weight(const Event& event);

/// `event` without the bytes of its bodies and payloads; the same event where it has none.
[[nodiscard]] Event without_bodies(const Event& event);

/// `event` with `limit` bytes of each body and message at most, for subscribers of which the user
/// asked for less than for others.
[[nodiscard]] Event limit_bodies(const Event& event, std::size_t limit);

/// As users read them in JSON and text.
[[nodiscard]] std::string_view to_string(TcpFlow::Kind kind);
/// The reverse; empty: it is none.
[[nodiscard]] std::optional<TcpFlow::Kind> tcp_kind(std::string_view text);
[[nodiscard]] std::string_view to_string(StreamMessage::Kind kind);

}  // namespace mitm::flow
