// KERN_PROC. The kernel computes a start time as boot time plus what it keeps, so that it moves
// when the clock is set: a process is named by what is kept.
#include <cstring>

#include <sys/param.h>
#include <sys/sysctl.h>
#include <sys/time.h>
#include <sys/user.h>

#include "procmap/proc_parse.h"
#include "procmap/process_cache.h"
#include "procmap/process_list.h"
#include "procmap/sysctl.h"

namespace procmap {
namespace {

static_assert(sizeof(kinfo_proc) == 1088 || sizeof(void*) != 8);

constexpr std::size_t kMaxArguments = 256 << 10;

std::chrono::microseconds microseconds(const timeval& time) {
  return std::chrono::seconds{time.tv_sec} + std::chrono::microseconds{time.tv_usec};
}

std::chrono::microseconds boot_time() {
  const int numbers[] = {CTL_KERN, KERN_BOOTTIME};
  timeval boot{};
  const auto bytes = query_sysctl(numbers, sizeof boot);
  if (bytes.size() == sizeof boot) std::memcpy(&boot, bytes.data(), sizeof boot);
  return microseconds(boot);
}

std::optional<ProcessRecord> record_of(pid_t pid) {
  const int numbers[] = {CTL_KERN, KERN_PROC, KERN_PROC_PID, pid};
  const auto bytes = query_sysctl(numbers, sizeof(kinfo_proc));
  kinfo_proc info{};
  if (bytes.size() != sizeof info) return std::nullopt;
  std::memcpy(&info, bytes.data(), sizeof info);
  if (info.ki_structsize != sizeof info || info.ki_pid != pid) return std::nullopt;
  const auto start = microseconds(info.ki_start);
  ProcessRecord record;
  record.id = {pid, static_cast<std::uint64_t>((start - boot_time()).count())};
  record.ppid = info.ki_ppid;
  record.uid = info.ki_uid;
  record.gid = info.ki_ngroups > 0 ? info.ki_groups[0] : info.ki_rgid;
  record.comm.assign(info.ki_comm, ::strnlen(info.ki_comm, sizeof info.ki_comm));
  record.start_time = std::chrono::system_clock::time_point{start};
  // New arguments and a new executable come with execve(2). 0 for those who may not see addresses.
  record.image = reinterpret_cast<std::uintptr_t>(info.ki_args) ^
                 reinterpret_cast<std::uintptr_t>(info.ki_textvp);
  return record;
}

std::string path_of(pid_t pid) {
  const int numbers[] = {CTL_KERN, KERN_PROC, KERN_PROC_PATHNAME, pid};
  auto path = query_sysctl(numbers, MAXPATHLEN);
  path.resize(::strnlen(path.data(), path.size()));
  return path;
}

std::vector<std::string> arguments_of(pid_t pid) {
  const int numbers[] = {CTL_KERN, KERN_PROC, KERN_PROC_ARGS, pid};
  return parse_cmdline(query_sysctl(numbers, kMaxArguments));
}

}  // namespace

std::vector<pid_t> live_processes() {
  const auto bytes = query_sysctl("kern.proc.proc");
  std::vector<pid_t> pids;
  if (!bytes) return pids;
  for (std::size_t at = 0; at + sizeof(kinfo_proc) <= bytes->size(); at += sizeof(kinfo_proc)) {
    kinfo_proc info{};
    std::memcpy(&info, bytes->data() + at, sizeof info);
    pids.push_back(info.ki_pid);
  }
  return pids;
}

ProcessSource system_processes() {
  return {record_of, path_of, arguments_of};
}

ProcessId process_id(pid_t pid) {
  const auto record = record_of(pid);
  return record ? record->id : ProcessId{pid, 0};
}

}  // namespace procmap
