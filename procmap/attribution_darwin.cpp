// The kernel says who used a socket last and for whom. That process is asked whether it holds the
// socket: of several that do it is the right one. A socket that was handed on is looked for in all
// processes, and where that is not allowed to us, by lsof.
#include <algorithm>
#include <cerrno>
#include <cstddef>

#include <libproc.h>
#include <sys/proc_info.h>
#include <unistd.h>

#include "base/subprocess.h"
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

BsdHolder ask_lsof(const BsdSocket& socket, Transport transport, Clock::time_point deadline) {
  const std::string which =
      fmt::format("-i{}:{}", transport == Transport::tcp ? "TCP" : "UDP", socket.local.port());
  base::Program lsof;
  lsof.arguments = {"/usr/sbin/lsof", "-nP", which, "-FpcfPn"};
  lsof.time_limit = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
  lsof.keep_partial_output = true;
  const auto listed = base::run(lsof);
  if (!listed) return {};
  const auto sockets_there = parse_lsof(listed->out);
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
