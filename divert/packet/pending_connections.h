// Who is being looked up, whose upstream is being tried, and what was decided: the packet engine's
// book-keeping. No clock, no thread, no kernel: what happens goes in, what is to be done comes out.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>

#include "divert/packet/held_packet.h"
#include "divert/packet/packet.h"
#include "divert/policy/policy.h"
#include "pfctl/ruleset.h"
#include "procmap/owner.h"

namespace divert {

/// Owner and verdict of one connection.
struct Ruling {
  procmap::Owner owner;
  Verdict verdict;
  bool bound = false;  ///< it passes only because its socket is bound to a device
};

/// A question about an accepted connection that waits for the ruling.
struct PendingQuestion {
  std::size_t link = 0;  ///< on which it came
  std::uint64_t question = 0;
};

/// What PendingConnections wants done.
struct ReleasePacket {
  HeldPacket packet;
  Release how = Release::pass;
};
struct Refuse {
  HeldPacket packet;
  pfctl::Refusal how = pfctl::Refusal::reset;
};
/// Look the owner up, and come back with settle().
struct LookUp {
  FlowKey key;
  std::uint64_t token = 0;
  std::uint32_t interface = 0;            ///< of the packet
  std::optional<std::uint32_t> gid = {};  ///< of the socket's maker, where the kernel says
};
/// The question that procmap answers; `interface` of the packet.
[[nodiscard]] procmap::SocketQuery sought(const FlowKey& key, std::uint32_t interface);
/// Connect to the destination, and come back with connected().
struct ConnectAhead {
  FlowKey key;
  std::uint64_t token = 0;
  Ruling ruling;
  bool again = false;  ///< an attempt of the same connection has timed out before, and been shown
};
/// Show a connection that never reaches us.
struct Show {
  FlowKey key;
  Ruling ruling;
};
/// Show that QUIC of a program that is intercepted was refused.
struct QuicRefused {
  FlowKey key;
  Ruling ruling;
};
struct Reply {
  FlowKey key;
  PendingQuestion to;
  Ruling ruling;
  std::uint64_t token = 0;  ///< of the upstream connection that waits for it; 0: none
};
/// A datagram between a program that is intercepted and a name server.
struct DnsDatagram {
  FlowKey key;  ///< from the program's side
  Ruling ruling;
  bool from_server = false;
  std::string payload;
  std::chrono::steady_clock::time_point came;
};
using Effect = std::variant<ReleasePacket, Refuse, LookUp, ConnectAhead, Show, QuicRefused, Reply,
                            DnsDatagram>;
using Effects = std::vector<Effect>;

/// Everything that is counted and shown at the end of a run.
struct PendingCounts {
  std::uint64_t retransmissions = 0;  ///< first packets that came again while the first was held
  std::uint64_t late_lookups = 0;     ///< diverted unseen, decided at the accept
  std::uint64_t late_upstreams = 0;   ///< held for an upstream in vain, dropped
  std::uint64_t overflows = 0;        ///< no room for another entry: decided at the accept
  std::uint64_t unowned =
      0;  ///< cannot be decided at the accept, held for a lookup in vain, dropped
  std::uint64_t crowded = 0;       ///< cannot be decided at the accept, and no room: dropped
  std::uint64_t bound_unseen = 0;  ///< bound to a device, passed before the lookup had ended
  std::uint64_t abandoned =
      0;  ///< held when their program began another connection from that port: dropped
};

class PendingConnections {
 public:
  using Time = std::chrono::steady_clock::time_point;

  /// A lookup gets this long before its packet goes on to our listener, where the decision is
  /// waited for.
  static constexpr std::chrono::milliseconds kLookupTimeout{50};
  /// An attempt to connect upstream: this long a packet is held for it; then it vanishes and comes
  /// again.
  static constexpr std::chrono::milliseconds kUpstreamTimeout{3000};
  /// What has been decided is kept this long for the accept, or for the packet when it comes again.
  static constexpr std::chrono::milliseconds kDecisionTtl{8000};
  static constexpr std::size_t kMaxEntries = 65536;
  /// An attempt whose end was not reported is forgotten after this, and so is one that has
  /// timed out: longer than a program's own attempt lasts.
  static constexpr std::chrono::milliseconds kAttemptTtl{180'000};
  /// Datagrams of one flow that are held: QUIC's first flight is one or two.
  static constexpr std::size_t kHeldDatagrams = 8;

  /// Where a socket's packets can go. One that is bound to a device cannot reach our listener.
  enum class Reach : std::uint8_t {
    listener,
    none,            ///< it passes when its lookup takes long: no rule could have refused it
    none_and_rules,  ///< it waits for its lookup, for a rule may refuse it
  };

  /// A first packet has come. The effects say what becomes of it; a LookUp is among them unless
  /// its owner is known and judged already (`ruling`).
  void arrive(const FlowKey& key, std::uint32_t sequence, const HeldPacket& packet, Time now,
              Effects& effects, Reach reach = Reach::listener,
              std::optional<Ruling> ruling = std::nullopt);

  /// The owner is known and judged. A `token` that is no longer current changes nothing.
  void settle(const FlowKey& key, std::uint64_t token, Ruling ruling, Time now, Effects& effects);

  /// The attempt to connect upstream has ended; `error` is connect(2)'s errno, 0: connected. An
  /// error that the network did not give (no descriptors left, ...) leaves the decision to the
  /// accept.
  void connected(const FlowKey& key, std::uint64_t token, int error, Time now, Effects& effects);

  /// A diverted connection has been accepted. What is known of it is handed out once: as a Reply at
  /// once, or when the lookup has ended. False: nothing is known, look it up.
  bool accepted(const FlowKey& key, const PendingQuestion& waiter, Effects& effects);

  /// What has waited long enough. Call when `next_due()` has come.
  void expire(Time now, Effects& effects);
  [[nodiscard]] std::optional<Time> next_due() const;

  /// Releases every held packet unchanged: the run ends or pauses. Those that wait for upstream
  /// are dropped; where the program still wants them they come again within a second. Accepted
  /// connections that wait for their lookup still get their Reply.
  void release_all(Effects& effects);

  /// Whether anything is remembered of it.
  [[nodiscard]] bool knows(const FlowKey& key) const { return entries_.contains(key); }
  [[nodiscard]] std::size_t size() const { return entries_.size(); }
  [[nodiscard]] const PendingCounts& counts() const { return counts_; }

 private:
  enum class State : std::uint8_t {
    looking_up,
    connecting,
    unanswered,  ///< the attempt has timed out; the program's own may go on
    standing,    ///< decided: to our listener; upstream is connected when `upstream`
    refused,
  };
  struct Entry {
    State state = State::looking_up;
    std::uint32_t sequence = 0;
    std::uint64_t token = 0;
    std::optional<HeldPacket> held;
    std::vector<HeldPacket> more;  ///< UDP: that came behind it
    std::optional<Ruling> ruling;
    std::optional<PendingQuestion> waiter;
    bool upstream = false;
    bool waits =
        false;  ///< for its lookup, however long that takes: it cannot be decided at the accept
    bool passes = false;  ///< when that takes long
    pfctl::Refusal refusal = pfctl::Refusal::reset;
    Time due;
  };
  using Entries = std::unordered_map<FlowKey, Entry, FlowKeyHash>;

  void set_due(const FlowKey& key, Entry& entry, Time due);
  void came_again(const FlowKey& key, Entry& entry, const HeldPacket& packet, Time now,
                  Effects& effects);
  void settle_udp(Entries::iterator found, Ruling ruling, Effects& effects);
  void overdue(Entries::iterator found, Effects& effects);
  Entry* current(const FlowKey& key, std::uint64_t token);

  Entries entries_;
  std::multimap<Time, std::pair<FlowKey, std::uint64_t>> timers_;  ///< stale ones are passed over
  std::uint64_t next_token_ = 1;
  PendingCounts counts_;
};

/// How the network's answer `error` (errno of connect(2)) is passed on; empty: it gave none.
[[nodiscard]] std::optional<pfctl::Refusal> refusal_for(int error);

/// Whether the connection is, or by its host may become, one that we carry.
[[nodiscard]] bool concerns_us(const Ruling& ruling);
/// A socket that is bound to a device cannot reach a listener on the loopback: what would be
/// carried passes, for that reason.
void pass_when_bound(Ruling& ruling);
/// Not selected: it is not shown.
[[nodiscard]] bool passes_unseen(const Ruling& ruling);

}  // namespace divert
