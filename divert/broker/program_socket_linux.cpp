// A socket's user and groups are those that its maker had for file systems at socket(2) (f_cred).
// setfsuid(2) and its kin are the calling thread's alone, and so are raw system calls for groups.
#include <algorithm>
#include <atomic>
#include <cerrno>

#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/fsuid.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "divert/broker/program_socket.h"

namespace divert {
namespace {

/// The calling thread's identity; back to what it was at the end.
class Identity {
 public:
  Identity() : groups_(static_cast<std::size_t>(std::max(::getgroups(0, nullptr), 0))) {
    if (!groups_.empty()) (void)!::getgroups(static_cast<int>(groups_.size()), groups_.data());
  }
  Identity(const Identity&) = delete;
  Identity& operator=(const Identity&) = delete;
  ~Identity() {
    ::setfsuid(::geteuid());
    ::setfsgid(::getegid());
    (void)set_groups(groups_);
  }

  /// False: errno says why.
  [[nodiscard]] static bool become(const SocketMaker& maker) {
    constexpr auto kNobody = ~0U;  // changes nothing, and tells what is
    if (!set_groups(maker.groups)) return false;
    ::setfsgid(maker.gid);
    ::setfsuid(maker.uid);
    if (static_cast<gid_t>(::setfsgid(kNobody)) == maker.gid &&
        static_cast<uid_t>(::setfsuid(kNobody)) == maker.uid)
      return true;
    errno = EINVAL;
    return false;
  }

 private:
  static bool set_groups(const std::vector<gid_t>& groups) {
    return ::syscall(SYS_setgroups, groups.size(), groups.data()) == 0;
  }

  std::vector<gid_t> groups_;
};

/// Of those that ask for a privileged port, as rresvport(3): servers look only whether it is one.
constexpr std::uint16_t kPrivileged = 1024, kFirstReserved = 512;

bool bind_to(int socket, const base::Endpoint& here) {
  return ::bind(socket, here.data(), static_cast<socklen_t>(here.size())) == 0;
}

/// In turn, so that a port whose connection has ended rests as long as it can.
bool bind_privileged(int socket, const base::Address& address) {
  static std::atomic<unsigned> next{0};
  constexpr unsigned kCount = kPrivileged - kFirstReserved;
  for (unsigned tried = 0; tried < kCount; ++tried) {
    const unsigned offset = next.fetch_add(1, std::memory_order_relaxed) % kCount;
    if (bind_to(socket, {address, static_cast<std::uint16_t>(kPrivileged - 1 - offset)}))
      return true;
    if (errno != EADDRINUSE) return false;
  }
  return false;
}

/// A program that has not bound its socket has the address that the kernel would choose for ours as
/// well. What cannot be bound, an address that is not (any more) this machine's or a link-local
/// one, is left to the kernel.
void bind_like(int socket, const base::Endpoint& source) {
  if (source.port() < kPrivileged && bind_privileged(socket, source.address())) return;
  // The port is chosen when it connects: then it may be one that is in use for other destinations.
  const int one = 1;
  ::setsockopt(socket, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
  (void)bind_to(socket, {source.address(), 0});
}

}  // namespace

bool has_program_sockets() {
  return true;
}

base::Result<base::UniqueFd> open_program_socket(const SocketMaker& maker,
                                                 const base::Endpoint& source,
                                                 std::uint32_t own_mark) {
  base::UniqueFd socket;
  int error = 0;
  {
    const Identity before;
    if (Identity::become(maker)) {
      constexpr int kKind = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
      socket.reset(::socket(source.protocol().family(), kKind, IPPROTO_TCP));
    }
    if (!socket) error = errno;
  }
  if (!socket) {
    return base::os_error(
        fmt::format("cannot make a socket as user {} and group {}", maker.uid, maker.gid), error);
  }
  const std::uint32_t mark = maker.mark | own_mark;
  if (::setsockopt(socket.get(), SOL_SOCKET, SO_MARK, &mark, sizeof mark) != 0)
    return base::os_error("cannot mark a socket", errno);
  bind_like(socket.get(), source);
  return socket;
}

}  // namespace divert
