// The kernel says who used a socket last and for whom. That process is asked whether it holds the
// socket: of several that do it is the right one. A socket that was handed on is looked for in all
// processes, and where that is not allowed to us, by lsof.
#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstddef>

#include <fcntl.h>
#include <libproc.h>
#include <poll.h>
#include <spawn.h>
#include <sys/proc_info.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "procmap/attribution.h"
#include "procmap/bsd_attribution.h"
#include "procmap/lsof.h"
#include "procmap/process_list.h"
#include "procmap/sysctl.h"
#include "procmap/xnu_pcblist.h"

namespace procmap {
namespace {

using Clock = std::chrono::steady_clock;

static_assert(sizeof(socket_fdinfo) == 792 && offsetof(socket_fdinfo, psi.soi_so) == 160 &&
              offsetof(socket_fdinfo, psi.soi_protocol) == 180 &&
              offsetof(socket_fdinfo, psi.soi_family) == 184 &&
              offsetof(socket_fdinfo, psi.soi_kind) == 256);
static_assert(offsetof(socket_fdinfo, psi.soi_proto.pri_in.insi_fport) == 264 &&
              offsetof(socket_fdinfo, psi.soi_proto.pri_in.insi_lport) == 268 &&
              offsetof(socket_fdinfo, psi.soi_proto.pri_in.insi_vflag) == 288 &&
              offsetof(socket_fdinfo, psi.soi_proto.pri_in.insi_faddr) == 296 &&
              offsetof(socket_fdinfo, psi.soi_proto.pri_in.insi_laddr) == 312);
static_assert(SOCKINFO_IN == 1 && SOCKINFO_TCP == 2);

base::Result<BsdTable> sockets(Transport transport) {
  const auto bytes = query_sysctl(transport == Transport::tcp ? "net.inet.tcp.pcblist_n"
                                                              : "net.inet.udp.pcblist_n");
  if (!bytes) return bytes.error();
  return parse_xnu_pcblist(*bytes);
}

/// Empty: its descriptors cannot be listed (it has ended, or it is another user's).
std::optional<std::vector<int>> socket_descriptors(pid_t pid) {
  const int estimate = ::proc_pidinfo(pid, PROC_PIDLISTFDS, 0, nullptr, 0);
  if (estimate <= 0) return std::nullopt;
  std::vector<proc_fdinfo> table(static_cast<std::size_t>(estimate) / sizeof(proc_fdinfo) + 16);
  const int size = ::proc_pidinfo(pid, PROC_PIDLISTFDS, 0, table.data(),
                                  static_cast<int>(table.size() * sizeof(proc_fdinfo)));
  if (size <= 0) return std::nullopt;
  table.resize(static_cast<std::size_t>(size) / sizeof(proc_fdinfo));
  std::vector<int> numbers;
  for (const auto& entry : table) {
    if (entry.proc_fdtype == PROX_FDTYPE_SOCKET) numbers.push_back(entry.proc_fd);
  }
  return numbers;
}

bool is_at(pid_t pid, int descriptor, const BsdSocket& wanted) {
  std::string bytes(sizeof(socket_fdinfo), '\0');
  const int size = ::proc_pidfdinfo(pid, descriptor, PROC_PIDFDSOCKETINFO, bytes.data(),
                                    static_cast<int>(bytes.size()));
  if (size != static_cast<int>(sizeof(socket_fdinfo))) return false;
  const auto found = parse_xnu_socket_fdinfo(bytes);
  const bool tcp = wanted.state >= 0;
  return found && (found->transport == Transport::tcp) == tcp &&
         found->socket.local == wanted.local && found->socket.remote == wanted.remote;
}

/// The number of the socket in the process; -1: it does not hold it; empty: that cannot be said.
std::optional<int> descriptor_in(pid_t pid, const BsdSocket& socket) {
  const auto numbers = socket_descriptors(pid);
  if (!numbers) return std::nullopt;
  for (const int number : *numbers) {
    if (is_at(pid, number, socket)) return number;
  }
  return -1;
}

BsdHolder holder(const BsdSocket& socket) {
  const pid_t pid = socket.pid();
  // A delegated socket is held by the one who works for the other.
  if (pid <= 0 || pid != socket.last_pid) return {pid, -1};
  const auto descriptor = descriptor_in(pid, socket);
  if (!descriptor) return {pid, -1};
  return *descriptor >= 0 ? BsdHolder{pid, *descriptor} : BsdHolder{};
}

/// What the command prints until `deadline`, when it is killed. Nothing of ours is inherited.
std::string output_of(const char* path, char* const arguments[], Clock::time_point deadline) {
  int ends[2];
  if (::pipe(ends) != 0) return {};
  base::UniqueFd out{ends[0]}, in{ends[1]};
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_t actions;
  ::posix_spawnattr_init(&attributes);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_CLOEXEC_DEFAULT);
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, in.get(), 1);
  ::posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  pid_t child = 0;
  char* const environment[] = {nullptr};
  const int error = ::posix_spawn(&child, path, &actions, &attributes, arguments, environment);
  ::posix_spawn_file_actions_destroy(&actions);
  ::posix_spawnattr_destroy(&attributes);
  in.reset();
  if (error != 0) return {};
  std::string text;
  char buffer[4096];
  for (;;) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
    pollfd ready{out.get(), POLLIN, 0};
    const int polled = left.count() > 0 ? ::poll(&ready, 1, static_cast<int>(left.count())) : 0;
    if (polled < 0 && errno == EINTR) continue;
    const ssize_t n = polled > 0 ? ::read(out.get(), buffer, sizeof buffer) : 0;
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    text.append(buffer, static_cast<std::size_t>(n));
  }
  // It has closed its output or used up its time: in either case we do not wait for it.
  ::kill(child, SIGKILL);
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) continue;
  return text;
}

BsdHolder ask_lsof(const BsdSocket& socket, Transport transport, Clock::time_point deadline) {
  std::string which =
      fmt::format("-i{}:{}", transport == Transport::tcp ? "TCP" : "UDP", socket.local.port());
  std::string program = "lsof", plain = "-nP", fields = "-FpcfPn";
  char* const arguments[] = {program.data(), plain.data(), which.data(), fields.data(), nullptr};
  const auto sockets_there = parse_lsof(output_of("/usr/sbin/lsof", arguments, deadline));
  const auto* found = find_lsof(sockets_there, socket.local, socket.remote, transport);
  return found ? BsdHolder{found->socket.last_pid, found->descriptor} : BsdHolder{};
}

BsdHolder search(const BsdSocket& socket, Transport transport, BsdSystem::Deadline deadline) {
  bool forbidden = false;
  for (const pid_t pid : live_processes()) {
    if (Clock::now() > deadline) return {};
    errno = 0;
    const auto descriptor = descriptor_in(pid, socket);
    if (descriptor && *descriptor >= 0) return {pid, *descriptor};
    if (!descriptor && errno == EPERM) forbidden = true;
  }
  // When we have seen them all, lsof sees no more.
  return forbidden ? ask_lsof(socket, transport, deadline) : BsdHolder{};
}

}  // namespace

std::vector<pid_t> live_processes() {
  const int estimate = ::proc_listallpids(nullptr, 0);
  if (estimate <= 0) return {};
  std::vector<pid_t> pids(static_cast<std::size_t>(estimate) + 64);
  const int count = ::proc_listallpids(pids.data(), static_cast<int>(pids.size() * sizeof(pid_t)));
  pids.resize(count > 0 ? std::min(static_cast<std::size_t>(count), pids.size()) : 0);
  return pids;
}

base::Result<BsdSystem> open_bsd_system() {
  return BsdSystem{sockets, holder, search, system_processes()};
}

}  // namespace procmap
