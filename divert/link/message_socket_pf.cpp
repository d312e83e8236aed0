// macOS has no SOCK_SEQPACKET for unix sockets, and a datagram socket there does not tell that the
// other end is gone; FreeBSD's packets are a stream with marks since release 15, and come in parts.
// So: a stream, four bytes of length (host byte order) in front of each message. Plain POSIX:
// compiled and tested on Linux as well.
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "divert/link/message_socket.h"
#include "divert/link/wire.h"

namespace divert {
namespace {

using Length = std::uint32_t;

bool wait_for(int fd, short event) {
  pollfd ready{fd, event, 0};
  return ::poll(&ready, 1, -1) >= 0 || errno == EINTR;
}

/// Bytes that were taken, 0 when there is no room, -1 with errno.
ssize_t put(int fd, std::string_view head, std::string_view body) {
  std::array parts{iovec{const_cast<char*>(head.data()), head.size()},
                   iovec{const_cast<char*>(body.data()), body.size()}};
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  for (;;) {
    const ssize_t n = ::sendmsg(fd, &message, MSG_DONTWAIT | base::kNoSignal);
    if (n >= 0) return n;
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS) return 0;
    if (errno != EINTR) return -1;
  }
}

}  // namespace

base::Result<MessageSocket::Pair> MessageSocket::make_pair() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0)
    return base::os_error("cannot make a socketpair", errno);
  Pair pair{MessageSocket{base::UniqueFd{ends[0]}}, MessageSocket{base::UniqueFd{ends[1]}}};
  // The system's own 8 KB would cut most bursts.
  const int room = static_cast<int>(2 * wire::kMaxMessage);
  for (const int end : ends) {
    if (!base::set_close_on_exec(end)) return base::os_error("cannot set up a socketpair", errno);
    ::setsockopt(end, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    ::setsockopt(end, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
  }
  return pair;
}

int MessageSocket::send(std::string_view message, Wait wait, int /*with*/) {
  const auto length = static_cast<Length>(message.size());
  std::array<char, sizeof length> head{};
  std::memcpy(head.data(), &length, sizeof length);
  for (;;) {
    flush();
    ssize_t n = 0;
    if (!pending()) {
      n = put(descriptor(), {head.data(), head.size()}, message);
      if (n < 0) return errno;
    }
    if (n > 0) {
      const auto taken = static_cast<std::size_t>(n);
      if (taken < head.size()) unsent_.assign(head.data() + taken, head.size() - taken);
      unsent_.append(message.substr(taken < head.size() ? 0 : taken - head.size()));
      break;
    }
    if (wait == Wait::no) return EAGAIN;
    if (!wait_for(descriptor(), POLLOUT)) return errno;
  }
  while (wait == Wait::yes && pending()) {
    if (!wait_for(descriptor(), POLLOUT)) return errno;
    flush();
  }
  return 0;
}

/// The other end's death is noticed when receiving: what cannot be sent any more is forgotten.
void MessageSocket::flush() {
  while (pending()) {
    const ssize_t n = put(descriptor(), unsent_, {});
    if (n == 0) return;
    n < 0 ? unsent_.clear() : (void)unsent_.erase(0, static_cast<std::size_t>(n));
  }
}

/// Never reads beyond the message: the next one may be for another process that holds this end.
ssize_t MessageSocket::receive(std::span<char> buffer, Wait wait, base::UniqueFd* /*with*/) {
  for (;;) {
    Length length = 0;
    std::size_t wanted = sizeof length;
    if (arriving_.size() >= sizeof length) {
      std::memcpy(&length, arriving_.data(), sizeof length);
      if (length == 0 || length > buffer.size()) {
        errno = EMSGSIZE;
        return -1;
      }
      wanted += length;
    }
    if (length != 0 && arriving_.size() == wanted) {
      std::memcpy(buffer.data(), arriving_.data() + sizeof length, length);
      arriving_.clear();
      return static_cast<ssize_t>(length);
    }
    const std::size_t there = arriving_.size();
    arriving_.resize(wanted);
    const ssize_t n = ::recv(descriptor(), arriving_.data() + there, wanted - there, MSG_DONTWAIT);
    const int error = n < 0 ? errno : 0;
    arriving_.resize(there + static_cast<std::size_t>(n > 0 ? n : 0));
    if (n == 0) return 0;
    if (n > 0 || error == EINTR) continue;
    errno = error;
    if (error != EAGAIN || wait == Wait::no) return -1;
    if (!wait_for(descriptor(), POLLIN)) return -1;
  }
}

}  // namespace divert
