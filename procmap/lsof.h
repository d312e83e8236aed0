// What lsof(8) prints for programs: `lsof -nP -i -F pcfPn`.
#pragma once

#include <string_view>
#include <vector>

#include "procmap/bsd_socket.h"

namespace procmap {

struct LsofSocket {
  BsdSocket socket;  ///< last_pid is the holder; local and remote as printed
  Transport transport = Transport::tcp;
  int descriptor = -1;
};

/// The TCP and UDP sockets, in lsof's order. Never fails: lines that are not understood are passed
/// over, as is a last line without its newline.
std::vector<LsofSocket> parse_lsof(std::string_view text);

/// As find_socket().
const LsofSocket* find_lsof(const std::vector<LsofSocket>& sockets, const base::Endpoint& source,
                            const base::Endpoint& destination, Transport transport);

}  // namespace procmap
