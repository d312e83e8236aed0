// libproc, and KERN_PROCARGS2 for the arguments.
#include <cstring>

#include <libproc.h>
#include <sys/proc_info.h>
#include <sys/sysctl.h>

#include "procmap/procargs.h"
#include "procmap/process_cache.h"
#include "procmap/sysctl.h"

namespace procmap {
namespace {

static_assert(sizeof(proc_bsdinfo) == 136);

// kern.argmax, unless a person has raised it. With less room than the arguments take the kernel
// gives the end of them, not the beginning.
constexpr std::size_t kMaxArguments = 1 << 20;

std::optional<ProcessRecord> record_of(pid_t pid) {
  proc_bsdinfo info{};
  if (::proc_pidinfo(pid, PROC_PIDTBSDINFO, 0, &info, sizeof info) != static_cast<int>(sizeof info))
    return std::nullopt;
  const auto start =
      std::chrono::seconds{info.pbi_start_tvsec} + std::chrono::microseconds{info.pbi_start_tvusec};
  ProcessRecord record;
  record.id = {pid, static_cast<std::uint64_t>(start.count())};
  record.ppid = static_cast<pid_t>(info.pbi_ppid);
  record.uid = info.pbi_uid;
  record.gid = info.pbi_gid;
  record.comm.assign(info.pbi_comm, ::strnlen(info.pbi_comm, sizeof info.pbi_comm));
  record.start_time = std::chrono::system_clock::time_point{start};
  return record;
}

std::string path_of(pid_t pid) {
  std::string path(PROC_PIDPATHINFO_MAXSIZE, '\0');
  const int size = ::proc_pidpath(pid, path.data(), static_cast<std::uint32_t>(path.size()));
  path.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
  return path;
}

std::vector<std::string> arguments_of(pid_t pid) {
  const int numbers[] = {CTL_KERN, KERN_PROCARGS2, pid};
  auto arguments = parse_procargs(query_sysctl(numbers, kMaxArguments));
  return arguments ? std::move(arguments->argv) : std::vector<std::string>{};
}

}  // namespace

ProcessSource system_processes() {
  return {record_of, path_of, arguments_of};
}

ProcessId process_id(pid_t pid) {
  const auto record = record_of(pid);
  return record ? record->id : ProcessId{pid, 0};
}

}  // namespace procmap
