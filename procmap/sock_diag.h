// sock_diag(7) messages: built and read as bytes, without a socket.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/network.h"
#include "procmap/owner.h"

namespace procmap {

/// One socket as the kernel tells it (struct inet_diag_msg of linux/inet_diag.h).
struct DiagSocket {
  base::Endpoint local;  ///< v4-mapped addresses as IPv4
  base::Endpoint remote;
  std::uint8_t state = 0;  ///< TCP_ESTABLISHED = 1, ... (net/tcp_states.h)
  SocketFacts facts;
};

enum class Family : std::uint8_t { v4, v6 };

/// A netlink request for exactly one socket (no NLM_F_DUMP). With Family::v6 IPv4 endpoints are
/// asked for in their mapped form. `sought.interface` finds sockets that are bound to that device,
/// and those that are bound to none. For UDP the kernel names the socket that would receive from
/// `remote`, connected or not.
std::string encode_exact_query(Family family, const SocketQuery& sought, std::uint32_t sequence);
/// A request for all TCP sockets of a family, in all states.
std::string encode_dump_query(Family family, std::uint32_t sequence);

/// What one netlink message says.
struct DiagReply {
  enum class Kind { socket, done, error } kind = Kind::error;
  std::uint32_t sequence = 0;
  int error = 0;  ///< errno, when kind is error
  DiagSocket socket;
};

/// The first message of `bytes`, which is shortened by it. Empty when the bytes are cut or lie
/// about a length.
std::optional<DiagReply> decode_reply(std::string_view& bytes);

/// "ESTAB", "LISTEN", ... as ss(8) writes them; the number of any other.
std::string state_name(std::uint8_t state);

}  // namespace procmap
