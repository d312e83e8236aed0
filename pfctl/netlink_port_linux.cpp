// Walks /proc for the process that holds a netlink socket. Only when two osproxies meet, so a walk
// will do.
#include <filesystem>
#include <string>
#include <system_error>

#include <fmt/format.h>
#include <unistd.h>

#include "base/fd.h"
#include "pfctl/netlink_port.h"

namespace pfctl {
namespace {

namespace fs = std::filesystem;

bool holds(const fs::path& process, const std::string& socket) {
  std::error_code error;
  for (fs::directory_iterator entry(process / "fd", error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code gone;
    if (fs::read_symlink(entry->path(), gone) == socket) return true;
  }
  return false;
}

std::optional<long> parse_pid(const std::string& name) {
  if (name.empty() || name.find_first_not_of("0123456789") != name.npos) return {};
  return std::stol(name);
}

}  // namespace

std::optional<long> process_of_netfilter_port(std::uint32_t port) {
  // The thread's own network namespace, which need not be that of the process.
  const auto table = base::read_file("/proc/thread-self/net/netlink");
  if (!table) return {};
  const auto inode = inode_of_netfilter_port(*table, port);
  if (!inode) return {};
  const std::string socket = fmt::format("socket:[{}]", *inode);
  if (holds(fmt::format("/proc/{}", port), socket)) return port;
  std::error_code error;
  for (fs::directory_iterator process("/proc", error), end; !error && process != end;
       process.increment(error)) {
    const auto pid = parse_pid(process->path().filename());
    if (pid && holds(process->path(), socket)) return pid;
  }
  return {};
}

}  // namespace pfctl
