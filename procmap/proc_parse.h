// The files of /proc/PID as values. Pure functions over bytes: a file that is cut or odd gives
// nothing, never a wrong value.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

namespace procmap {

/// proc_pid_stat(5).
struct StatFields {
  std::string comm;
  char state = 0;  ///< 'R', 'S', 'Z', ...
  pid_t ppid = 0;
  std::uint64_t start_ticks = 0;  ///< field 22
  /// A hash of the name and of the addresses of code, stack, data and arguments (fields 26-28,
  /// 45-51): another program image after execve(2) has others. The addresses are 0 without the
  /// right to trace.
  std::uint64_t image = 0;
};
std::optional<StatFields> parse_stat(std::string_view text);

/// Effective ids and thread group of proc_pid_status(5).
struct StatusFields {
  uid_t uid = 0;
  gid_t gid = 0;
  pid_t tgid = 0;
  std::vector<gid_t> groups;  ///< supplementary
};
std::optional<StatusFields> parse_status(std::string_view text);

/// Arguments end in NUL. At most `limit` of them. A process that writes a title over them
/// (setproctitle(3), libuv) leaves NULs behind it: several empty ones at the end do not count.
std::vector<std::string> parse_cmdline(std::string_view bytes, std::size_t limit = 1000);

/// The cgroup v2 line, "0::/path"; empty if none.
std::string parse_cgroup(std::string_view text);

/// "/usr/bin/x (deleted)" names the file that the process was started from.
std::string_view without_deleted(std::string_view exe);

/// The inode in the text of a descriptor's link, "socket:[123]"; 0 for any other.
std::uint32_t parse_socket_link(std::string_view link);

/// Whether a descriptor's link is that of an io_uring.
bool is_ring_link(std::string_view link);

/// The inodes of the sockets among the registered files of an io_uring, from its
/// /proc/PID/fdinfo/N. Empty optional: the text does not say, because the ring was in use or the
/// kernel is older than Linux 6.x, whose lists name no inodes.
std::optional<std::vector<std::uint32_t>> parse_ring_sockets(std::string_view fdinfo);

/// The last process id given out: the fifth field of /proc/loadavg; 0 when the text is odd.
pid_t parse_last_pid(std::string_view loadavg);

}  // namespace procmap
