// The kernel leaves the environment of Apple's own programs out of KERN_PROCARGS2
// (bsd/kern/kern_sysctl.c of XNU).
#include "procmap/exec_arguments.h"
#include "procmap/process_cache.h"

namespace procmap {

ExecArguments exec_arguments(pid_t pid) {
  const ProcessSource source = system_processes();
  return {source.path(pid), source.arguments(pid), {}};
}

}  // namespace procmap
