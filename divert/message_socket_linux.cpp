// Packets of unix(7): the kernel keeps messages apart.
#include <cerrno>

#include <sys/socket.h>

#include "divert/message_socket.h"

namespace divert {
namespace {

int flags_for(MessageSocket::Wait wait) {
  return wait == MessageSocket::Wait::no ? MSG_DONTWAIT : 0;
}

}  // namespace

base::Result<MessageSocket::Pair> MessageSocket::make_pair() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
    return base::os_error("cannot make a socketpair", errno);
  return Pair{MessageSocket{base::UniqueFd{ends[0]}}, MessageSocket{base::UniqueFd{ends[1]}}};
}

int MessageSocket::send(std::string_view message, Wait wait) {
  for (;;) {
    if (::send(descriptor(), message.data(), message.size(), MSG_NOSIGNAL | flags_for(wait)) >= 0) return 0;
    if (errno != EINTR) return errno;
  }
}

ssize_t MessageSocket::receive(std::span<char> buffer, Wait wait) {
  for (;;) {
    const ssize_t n = ::recv(descriptor(), buffer.data(), buffer.size(), flags_for(wait));
    if (n >= 0 || errno != EINTR) return n;
  }
}

/// A packet is sent whole.
void MessageSocket::flush() {}

}  // namespace divert
