// Which process holds the netlink socket with a given port?
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace pfctl {

/// Inode of the netfilter socket with this port, from the text of /proc/net/netlink.
std::optional<std::uint64_t> inode_of_netfilter_port(std::string_view proc_net_netlink,
                                                     std::uint32_t port);

/// The port of a process's first netfilter socket is its pid; those of further ones are chosen by
/// the kernel. So the process is looked up by the socket's inode. Empty when no process that can be
/// seen from here (pid namespace, permission) holds the socket. Walks /proc: for errors and
/// `cleanup`, not per connection.
std::optional<long> process_of_netfilter_port(std::uint32_t port);

}  // namespace pfctl
