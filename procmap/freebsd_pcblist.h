// net.inet.tcp.pcblist, net.inet.udp.pcblist and kern.file of FreeBSD (12 and later, 64 bits), as
// bytes.
#pragma once

#include <string_view>
#include <vector>

#include "base/error.h"
#include "procmap/bsd_socket.h"

namespace procmap {

/// The answer of net.inet.tcp.pcblist or net.inet.udp.pcblist. The length of a record is in the
/// record: longer ones are read as far as they are known. Fails when the bytes are cut, lie about a
/// length, or a record is too short. `name` is the address of the struct socket, which kern.file
/// knows as well; 0: the program has closed it. The pids stay 0.
[[nodiscard]] base::Result<BsdTable> parse_freebsd_pcblist(std::string_view bytes,
                                                           Transport transport);

/// A descriptor that is a socket.
struct SocketHolder {
  std::uint64_t socket = 0;  ///< BsdSocket::name
  pid_t pid = 0;
  uid_t uid = 0;  ///< effective, of the process
  int descriptor = -1;
};

/// The sockets among the answer of kern.file, in its order. Fails as above.
[[nodiscard]] base::Result<std::vector<SocketHolder>> parse_freebsd_files(std::string_view bytes);

/// Who holds the socket, of several the one with the highest pid: after a fork, usually the one
/// that works with it. Null: no process.
const SocketHolder* find_holder(const std::vector<SocketHolder>& holders, std::uint64_t socket);

}  // namespace procmap
