// What broker and worker say to each other. A message is one of a MessageSocket; both ends are the
// same program, so integers are in host byte order. Questions have a fixed size; whatever else
// comes is refused.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "base/error.h"
#include "base/fd.h"
#include "base/log_level.h"
#include "base/lru_cache.h"
#include "base/network.h"
#include "divert/policy/policy.h"
#include "procmap/process.h"

namespace divert::wire {

inline constexpr std::size_t kMaxMessage = 128 << 10;

/// An IPv4 or IPv6 endpoint; `family` is 4 or 6, `address` in network order (IPv4 in the first four
/// bytes).
struct PackedEndpoint {
  std::uint8_t address[16];
  std::uint16_t port;
  std::uint8_t family;
  std::uint8_t zero[5];
};
PackedEndpoint pack(const base::Endpoint& endpoint);
[[nodiscard]] std::optional<base::Endpoint> unpack(const PackedEndpoint& packed);

/// Worker to broker, on the link of the context that accepted: where did this connection want to
/// go, who is it, what now?
struct Question {
  std::uint64_t id;
  PackedEndpoint peer;
  PackedEndpoint local;
};
static_assert(sizeof(Question) == 56);

/// Worker to broker, on any link: how the attempt to connect upstream has ended.
struct Connected {
  std::uint64_t token;
  std::int32_t error;  ///< connect(2)'s errno; 0: connected, and to be fetched
  std::uint32_t zero;
};
static_assert(sizeof(Connected) == 16);

/// Worker to broker, on each link: its context comes round.
struct Alive {
  std::uint64_t zero;
};
static_assert(sizeof(Alive) == 8);

// Broker to worker, on any link; an answer on the link of its question.

/// What the broker knows of a connection, and what is to be done with it.
struct ConnectionFacts {
  /// Empty: the kernel knows no such connection (any more).
  std::optional<base::Endpoint> source;
  std::optional<base::Endpoint> destination;
  bool own = false;  ///< the owner is one of our own processes: a loop
  /// Upstream is reached by a socket that has the program's user and group, by which other rules of
  /// this machine may judge it; none of the worker's own will do.
  bool as_program = false;
  base::UniqueFd socket;  ///< that one, unless upstream is connected; comes beside the bytes
  Verdict verdict;
  std::shared_ptr<const procmap::ProcessFacts> process;
};

/// To a Question. A destination equal to the question's `local`: a direct visitor.
struct Answer {
  std::uint64_t id = 0;
  std::uint64_t upstream = 0;  ///< token of the established upstream connection; 0: none
  ConnectionFacts connection{};
};
/// Connect to the destination ahead of the accept, and say Connected.
struct ConnectOrder {
  std::uint64_t token = 0;
  bool again = false;  ///< it has timed out before, and the flow has been shown
  ConnectionFacts connection{};
};
/// A connection that never reaches the worker, to be shown.
struct ShowOrder {
  ConnectionFacts connection{};
};
/// Likewise: QUIC, refused so that its program falls back to TCP.
struct QuicNotice {
  ConnectionFacts connection{};
};
/// A datagram of a name server's, or to one.
struct DnsCopy {
  ConnectionFacts connection{};
  bool from_server = false;
  std::string payload{};
  std::chrono::steady_clock::time_point came{};
};
using Message = std::variant<Answer, ConnectOrder, ShowOrder, QuicNotice, DnsCopy>;

/// Without `socket`.
std::string encode(const Answer& answer);
std::string encode(const ConnectOrder& order);
std::string encode(const ShowOrder& order);
std::string encode(const QuicNotice& notice);
std::string encode(const DnsCopy& copy);
/// Facts of processes by the bytes that carried them: all connections of a process share one copy.
using KnownProcesses = base::LruCache<std::string, std::shared_ptr<const procmap::ProcessFacts>>;
[[nodiscard]] std::optional<Message> decode(std::string_view bytes, KnownProcesses& known);
ConnectionFacts& connection_of(Message& message);

/// On the control pair, both directions: one letter, then text.
enum class Control : char {
  ready = 'r',  ///< worker: accepting
  quit = 'q',   ///< worker: please end; text: why, empty when the reader of our output has gone
  loop = 'l',   ///< worker: our own connection came back in; text: which
  renew = 'n',  ///< worker: the intermediate is about to expire
  log = 'g',    ///< broker: a line for the user; text: see LogMessage
  intermediate = 'i',  ///< broker: PEM of a new intermediate
  stop = 's',          ///< broker: end; text: milliseconds to wait for intercepted connections
};
std::string encode(Control kind, std::string_view text = {});

/// The text of Control::log: the level's letter, then the line; what is longer than a message is
/// cut off. What prints it makes it printable.
struct LogMessage {
  base::LogLevel level = base::LogLevel::warning;
  std::string_view line;
};
std::string encode(const LogMessage& message);
/// `text`: of Control::log. Empty: there is no such level.
[[nodiscard]] std::optional<LogMessage> decode_log(std::string_view text);

}  // namespace divert::wire
