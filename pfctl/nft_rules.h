// The rules of our nftables table, in order: the one list that both the text and the netlink
// messages are made from, so that what `osproxy rules` prints cannot differ from what is loaded.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/network.h"
#include "base/own_number.h"
#include "pfctl/ruleset.h"

namespace pfctl {

/// In front of dstnat (-100), so that no redirect of others decides first. nft refuses `dstnat -
/// 1` in an output hook.
inline constexpr const char* kDivertChain = "divert";
inline constexpr std::int32_t kDivertPriority = -101;

/// At the priority raw: before connection tracking looks at a packet.
inline constexpr const char* kZoneChain = "zone";
inline constexpr std::int32_t kZonePriority = -300;

/// The connection tracking zone of the original direction of our own connections. A program's
/// connection may come to have the very addresses and ports that one of ours had a moment ago; in
/// one zone the kernel would take it for that one, which is not translated, and it would escape.
/// Replies stay in the default zone, so that stateful firewalls know them.
inline constexpr std::uint16_t kZone = base::kOwnNumber;

/// Behind connection tracking, in front of address translation. Every packet comes by
/// here: so its few rules only ask whether this is the first one of a connection. Everything else
/// is asked in kJudgeChain.
inline constexpr const char* kFirstChain = "first";
inline constexpr std::int32_t kFirstPriority = -150;
inline constexpr const char* kJudgeChain = "judge";

/// Copies of questions to name servers go to the group of the CPU on which they are asked: its
/// reader is there as well, and runs before the program does anything else.
inline constexpr const char* kQuestionsChain = "questions";

/// Datagrams that are as long as what opens a QUIC connection, and begin like it: those of a known
/// version go on to kJudgeChain.
inline constexpr const char* kQuicChain = "quic";

/// Of the UDP datagram in which a client opens a QUIC connection, with the header of UDP: 1200
/// bytes of payload at least (RFC 9000 14.1).
inline constexpr std::uint16_t kQuicLength = 1208;

/// Bytes 1 to 4 of a long header (RFC 8999 5.1), or the first `bits` of them.
struct QuicVersions {
  std::uint32_t first = 0;
  unsigned bits = 32;  ///< a multiple of 8

  bool operator==(const QuicVersions&) const = default;
};

/// Of the chain that copies first packets: in front of kFirstChain, where a packet may be refused.
inline constexpr const char* kCopyChain = "copy";
inline constexpr std::int32_t kCopyPriority = kFirstPriority - 1;

/// In the input hook: answers of name servers, to be copied.
inline constexpr const char* kAnswersChain = "answers";

/// Values of the kernel's route types (RTN_*).
enum class AddressType : std::uint32_t { local = 2, broadcast = 3, anycast = 4, multicast = 5 };

enum class Family : std::uint8_t { ipv4, ipv6 };

enum class Transport : std::uint8_t {
  any,
  tcp,
  syn,  ///< TCP: the first packet of a connection
  udp,
};

/// What becomes of a packet for which all conditions of a rule hold.
struct Leave {};  ///< nothing, and no later rule of ours is asked
struct ToListener {
  std::uint16_t port = 0;
};
struct IntoZone {
  std::uint32_t clear_mark = 0;  ///< these bits of the packet's mark
};
struct Jump {
  const char* chain = nullptr;  ///< and back, unless it decides
};
struct Hold {
  Queueing in;
};
struct Refuse {
  Refusal how = Refusal::reset;
};
/// A copy goes to an NFLOG group; the packet itself is not touched, and later rules are asked.
struct Copy {
  std::uint16_t group = 0;
};
using Outcome = std::variant<Leave, ToListener, IntoZone, Jump, Hold, Refuse, Copy>;

/// Of one copy: what DNS over UDP can be, with its headers.
inline constexpr std::uint32_t kCopyBytes = 4096;

/// At most so many packets pass the condition. The kernel counts all packets of a rule together.
struct Limit {
  std::uint32_t per_second = 0;
  std::uint32_t burst = 0;

  bool operator==(const Limit&) const = default;
};

/// More DNS than programs of one machine ask for; what exceeds it is not copied, and not shown.
inline constexpr Limit kCopyLimit{2000, 1000};

enum class Hook : std::uint8_t { output, input };

/// One rule: its conditions, all of which must hold, in the order in which they are tested, and its
/// outcome.
struct NftRule {
  std::string_view
      heading;  ///< comment in front of a group; empty: in the group of the rule before
  std::optional<std::uint32_t> group;  ///< of the socket's maker
  std::optional<CgroupMatch> cgroup;   ///< of the socket's maker
  std::vector<AddressType> types;      ///< of the destination; empty: any
  std::optional<Family> family;        ///< not together with destination, which implies it
  std::optional<base::Network> destination;
  Transport transport = Transport::any;
  std::vector<base::PortRange> ports;     ///< destination ports of a tcp or udp rule; empty: any
  std::uint16_t source_port = 0;          ///< of a udp rule without ports; 0: any
  std::optional<std::uint32_t> mark;      ///< the packet's, as a whole
  std::optional<std::uint32_t> mark_bit;  ///< is set in the packet's mark
  std::optional<std::uint32_t> cpu;       ///< that handles the packet
  bool own_zone = false;                  ///< of a connection in kZone
  bool untracked_yet = false;             ///< connection tracking has seen no answer (ct state new)
  bool reply = false;                     ///< answers a flow that began on this machine
  bool long_header = false;  ///< of a udp rule: kQuicLength at least, and a long header
  std::optional<QuicVersions> quic_versions;  ///< of a long header
  std::optional<Limit> limit;
  Outcome outcome = Leave{};
};

/// A chain in a hook, or one that another chain jumps to.
struct NftChain {
  const char* name;
  const char* type;  ///< "filter" or "nat"; null: only jumped to
  std::int32_t priority = 0;
  Hook hook = Hook::output;
  std::vector<NftRule> rules;
};

/// The whole table, in the order in which it is loaded. `ruleset` must be validated.
std::vector<NftChain> nft_chains(const Ruleset& ruleset);

/// A table that decides nothing: copies, for an NFLOG group, of every first packet of a TCP
/// connection from this machine, of datagrams that look like the start of a QUIC connection, and of
/// DNS over UDP.
std::vector<NftChain> copying_chains(std::uint16_t group);

/// One line, without indentation, as nft(8) prints it.
std::string render_nft_rule(const NftRule& rule);

}  // namespace pfctl
