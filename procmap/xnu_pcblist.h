// net.inet.tcp.pcblist_n and net.inet.udp.pcblist_n of macOS, as bytes.
#pragma once

#include <optional>
#include <string_view>

#include "base/error.h"
#include "procmap/bsd_socket.h"

namespace procmap {

/// The answer of either sysctl. Records of kinds that are not known are passed over, longer ones
/// are read as far as they are known. Fails when the bytes are cut, lie about a length, or a known
/// record is too short.
[[nodiscard]] base::Result<BsdTable> parse_xnu_pcblist(std::string_view bytes);

/// struct socket_fdinfo, the answer to PROC_PIDFDSOCKETINFO; empty unless it is a TCP or UDP
/// socket. Knows no owner: uid and pids stay 0.
struct XnuDescriptor {
  BsdSocket socket;
  Transport transport = Transport::tcp;
};
std::optional<XnuDescriptor> parse_xnu_socket_fdinfo(std::string_view bytes);

}  // namespace procmap
