// /proc/PID/stat.
#include <fmt/format.h>

#include "base/fd.h"
#include "divert/broker/journal.h"

namespace divert {

procmap::ProcessId process_id_of(pid_t pid) {
  const auto stat = base::read_file(fmt::format("/proc/{}/stat", pid), 4096);
  if (!stat) return {pid, 0};
  // The command's name, in parentheses, may hold anything; the fields after it are numbers: 22 is
  // the twentieth of them.
  const auto close = stat->rfind(')');
  if (close == stat->npos) return {pid, 0};
  // Field 3: it has ended, and its parent has not heard of it yet.
  if (stat->substr(close + 1, 2) == " Z") return {pid, 0};
  std::size_t at = close + 1;
  for (int field = 3; field <= 22 && at != stat->npos; ++field)
    at = stat->find(' ', at + (field > 3 ? 1 : 0));
  return {pid, at == stat->npos ? 0 : std::stoull(stat->substr(at + 1))};
}

}  // namespace divert
