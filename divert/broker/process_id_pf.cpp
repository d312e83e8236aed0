// Which process a number means, on macOS and FreeBSD: procmap asks the kernel for the start time.
#include "divert/broker/journal.h"
#include "procmap/process_cache.h"

namespace divert {

procmap::ProcessId process_id_of(pid_t pid) {
  return procmap::process_id(pid);
}

}  // namespace divert
