// Requests and answers over netlink.
#include "procmap/diag_socket_linux.h"

#include <cerrno>

#include <linux/netlink.h>
#include <sys/socket.h>
#include <sys/time.h>

namespace procmap {

base::Result<DiagSocketFd> DiagSocketFd::open() {
  base::UniqueFd fd{::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG)};
  if (!fd) return base::os_error("cannot open a sock_diag socket", errno);
  const timeval limit{1, 0};
  const int room = 4 << 20;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
  return DiagSocketFd{std::move(fd)};
}

/// Hands every reply to `take` until it says false. False when the kernel does not answer.
template <class Take>
bool DiagSocketFd::exchange(const std::string& request, Take take) {
  while (::send(fd_.get(), request.data(), request.size(), 0) < 0) {
    if (errno != EINTR) return false;
  }
  for (;;) {
    const ssize_t n = ::recv(fd_.get(), buffer_.data(), buffer_.size(), 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    std::string_view bytes{buffer_.data(), static_cast<std::size_t>(n)};
    while (!bytes.empty()) {
      const auto reply = decode_reply(bytes);
      if (!reply) return false;
      // A late answer to an earlier question that had timed out.
      if (reply->sequence != sequence_) continue;
      if (!take(*reply)) return true;
    }
  }
}

std::optional<DiagSocket> DiagSocketFd::exact(Family family, const SocketQuery& sought) {
  std::optional<DiagSocket> found;
  const auto query = encode_exact_query(family, sought, ++sequence_);
  exchange(query, [&](const DiagReply& reply) {
    // The kernel may answer with a listener that would take the connection: that is not the socket
    // asked for. A UDP socket need not be bound to an address, or connected.
    const bool same =
        reply.kind == DiagReply::Kind::socket &&
        (sought.transport == Transport::udp
             ? reply.socket.local.port() == sought.source.port()
             : reply.socket.local == sought.source && reply.socket.remote == sought.destination);
    if (same) found = reply.socket;
    return false;
  });
  return found;
}

std::optional<std::vector<DiagSocket>> DiagSocketFd::dump(Family family) {
  std::vector<DiagSocket> sockets;
  int error = 0;
  const bool good = exchange(encode_dump_query(family, ++sequence_), [&](const DiagReply& reply) {
    if (reply.kind == DiagReply::Kind::error) error = reply.error;
    if (reply.kind == DiagReply::Kind::socket) sockets.push_back(reply.socket);
    return reply.kind == DiagReply::Kind::socket;
  });
  if (!good || error != 0) {
    errno = error != 0 ? error : errno;
    return std::nullopt;
  }
  return sockets;
}

}  // namespace procmap
