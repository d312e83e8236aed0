// Packets of unix(7): the kernel keeps messages apart.
#include <array>
#include <cerrno>
#include <cstring>

#include <sys/socket.h>

#include "divert/link/message_socket.h"

namespace divert {
namespace {

int flags_for(MessageSocket::Wait wait) {
  return wait == MessageSocket::Wait::no ? MSG_DONTWAIT : 0;
}

/// Room for one descriptor beside a message; without it the kernel closes it.
struct Control {
  void offer(msghdr& header) {
    header.msg_control = room.data();
    header.msg_controllen = room.size();
  }
  void put(msghdr& header, int descriptor) {
    offer(header);
    cmsghdr* const first = CMSG_FIRSTHDR(&header);
    first->cmsg_level = SOL_SOCKET;
    first->cmsg_type = SCM_RIGHTS;
    first->cmsg_len = CMSG_LEN(sizeof descriptor);
    std::memcpy(CMSG_DATA(first), &descriptor, sizeof descriptor);
  }
  static base::UniqueFd taken(msghdr& header) {
    const cmsghdr* const first = CMSG_FIRSTHDR(&header);
    if (!first || first->cmsg_level != SOL_SOCKET || first->cmsg_type != SCM_RIGHTS) return {};
    int descriptor = -1;
    std::memcpy(&descriptor, CMSG_DATA(first), sizeof descriptor);
    return base::UniqueFd{descriptor};
  }

  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> room;
};

}  // namespace

base::Result<MessageSocket::Pair> MessageSocket::make_pair() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
    return base::os_error("cannot make a socketpair", errno);
  return Pair{MessageSocket{base::UniqueFd{ends[0]}}, MessageSocket{base::UniqueFd{ends[1]}}};
}

int MessageSocket::send(std::string_view message, Wait wait, int with) {
  iovec part{const_cast<char*>(message.data()), message.size()};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  Control control{};
  if (with >= 0) control.put(header, with);
  for (;;) {
    if (::sendmsg(descriptor(), &header, MSG_NOSIGNAL | flags_for(wait)) >= 0) return 0;
    if (errno != EINTR) return errno;
  }
}

ssize_t MessageSocket::receive(std::span<char> buffer, Wait wait, base::UniqueFd* with) {
  iovec part{buffer.data(), buffer.size()};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  Control control{};
  if (with) control.offer(header);
  for (;;) {
    const ssize_t n = ::recvmsg(descriptor(), &header, MSG_CMSG_CLOEXEC | flags_for(wait));
    if (n >= 0 && with) *with = Control::taken(header);
    if (n >= 0 || errno != EINTR) return n;
  }
}

/// A packet is sent whole.
void MessageSocket::flush() {}

}  // namespace divert
