// A socket's user and groups are those that its maker had for file systems at socket(2) (f_cred). setfsuid(2)
// and its kin are the calling thread's alone, and so are raw system calls for groups.
#include <algorithm>
#include <cerrno>

#include <fmt/format.h>
#include <sys/fsuid.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "divert/program_socket.h"

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

}  // namespace

bool has_program_sockets() {
  return true;
}

base::Result<base::UniqueFd> open_program_socket(const SocketMaker& maker, bool ipv6,
                                                 std::uint32_t own_mark) {
  base::UniqueFd socket;
  int error = 0;
  {
    const Identity before;
    if (Identity::become(maker)) {
      constexpr int kKind = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
      socket.reset(::socket(ipv6 ? AF_INET6 : AF_INET, kKind, IPPROTO_TCP));
    }
    if (!socket) error = errno;
  }
  if (!socket) {
    return base::os_error(fmt::format("cannot make a socket as user {} and group {}", maker.uid, maker.gid),
                          error);
  }
  const std::uint32_t mark = maker.mark | own_mark;
  if (::setsockopt(socket.get(), SOL_SOCKET, SO_MARK, &mark, sizeof mark) != 0)
    return base::os_error("cannot mark a socket", errno);
  return socket;
}

}  // namespace divert
