// pf looks at the user of a socket, too, but tells our own connections by their group.
#include <cerrno>

#include "divert/broker/program_socket.h"

namespace divert {

bool has_program_sockets() {
  return false;
}

base::Result<base::UniqueFd> open_program_socket(const SocketMaker& /*maker*/,
                                                 const base::Endpoint& /*source*/,
                                                 std::uint32_t /*own_mark*/) {
  return base::os_error("cannot make a socket as another user", ENOTSUP);
}

}  // namespace divert
