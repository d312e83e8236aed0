// The worker of a run: engines and sinks around divert's accept loops.
#pragma once

#include "divert/process/privilege.h"
#include "divert/worker/worker.h"
#include "mitm/cli/config_loader.h"

namespace mitm::cli {

struct WorkerPlan {
  divert::WorkerSetup sockets;
  Prepared prepared;
  base::User user;             ///< what it becomes
  bool typed_by_root = false;  ///< files by name are root's
  gid_t exempt_gid = 0;
  bool ca_trusted = false;  ///< a store has the root, or the program was given it
  bool is_exec = false;     ///< one command, which was told what to trust
  bool to_stderr = false;   ///< flows go to standard error unless there is a file (exec)
};

/// What reads bytes from the network runs as: the user who typed the command, or nobody for root.
[[nodiscard]] base::User worker_user(const base::User& typed_by);

/// The worker process, from the fork to its end; returns its exit status. Says what went wrong on
/// standard error.
int run_worker(WorkerPlan plan);

}  // namespace mitm::cli
