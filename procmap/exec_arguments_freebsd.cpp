// KERN_PROC_ENV, beside what is read of every process.
#include <sys/param.h>
#include <sys/sysctl.h>

#include "procmap/exec_arguments.h"
#include "procmap/proc_parse.h"
#include "procmap/process_cache.h"
#include "procmap/sysctl.h"

namespace procmap {
namespace {

constexpr std::size_t kMost = 512 << 10;  ///< bytes; ARG_MAX
constexpr std::size_t kMostWords = 100'000;

}  // namespace

ExecArguments exec_arguments(pid_t pid) {
  const ProcessSource source = system_processes();
  const int numbers[] = {CTL_KERN, KERN_PROC, KERN_PROC_ENV, pid};
  return {source.path(pid), source.arguments(pid),
          parse_cmdline(query_sysctl(numbers, kMost), kMostWords)};
}

}  // namespace procmap
