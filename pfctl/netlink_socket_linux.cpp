// The system calls behind every exchange with netfilter, with their restarts.
#include <cerrno>

#include <linux/netlink.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "pfctl/netlink_socket.h"

namespace pfctl {
namespace {

constexpr timeval kReceiveTimeout{.tv_sec = 1, .tv_usec = 0};

base::Error cannot_open(int error) {
  if (error == EPROTONOSUPPORT || error == EAFNOSUPPORT) {
    return {
        "this kernel has no netfilter over "
        "netlink (CONFIG_NETFILTER_NETLINK); nothing can be diverted",
        error};
  }
  return base::os_error("cannot open a netlink socket to netfilter", error);
}

}  // namespace

base::Result<base::UniqueFd> open_netfilter_socket() {
  base::UniqueFd socket{::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER)};
  if (!socket) return cannot_open(errno);
  const sockaddr_nl kernel{.nl_family = AF_NETLINK, .nl_pad = 0, .nl_pid = 0, .nl_groups = 0};
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&kernel), sizeof kernel) != 0) {
    return cannot_open(errno);
  }
  const int on = 1;
  ::setsockopt(socket.get(), SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
  if (::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &kReceiveTimeout,
                   sizeof kReceiveTimeout) != 0) {
    return cannot_open(errno);
  }
  return socket;
}

base::Result<> send_datagram(int socket, std::string_view bytes) {
  for (;;) {
    const ssize_t sent = ::send(socket, bytes.data(), bytes.size(), 0);
    if (sent >= 0) return {};
    if (errno != EINTR) return base::os_error("cannot send to netfilter", errno);
  }
}

base::Result<std::size_t> receive_datagram(int socket, std::span<char> buffer) {
  for (;;) {
    const ssize_t length = ::recv(socket, buffer.data(), buffer.size(), MSG_TRUNC);
    if (length < 0 && errno == EINTR) continue;
    if (length < 0) return base::os_error("no answer from netfilter", errno);
    if (static_cast<std::size_t>(length) > buffer.size()) {
      return base::failure("an answer from netfilter has {} bytes; at most {} were expected",
                           length, buffer.size());
    }
    return static_cast<std::size_t>(length);
  }
}

}  // namespace pfctl
