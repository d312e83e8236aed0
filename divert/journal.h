// What a run has changed on this machine beyond its own memory, written down before it is changed. The nft
// table is not in it: the kernel takes that out itself.
#pragma once

#include <string>
#include <vector>

#include <sys/types.h>

#include "base/error.h"
#include "procmap/process.h"

namespace divert {

struct Journal {
  procmap::ProcessId broker;
  pid_t worker = 0;
  std::string cgroup;  ///< made for exec's CMD; empty: none
};

/// Directory of the journals (root, 0700); one file per network namespace and broker.
inline constexpr const char* kJournalDirectory = "/run/osproxy";

/// Replaces the journal's file (0600, fsynced).
[[nodiscard]] base::Result<> write_journal(const Journal& journal);

/// Undoes what `journal` names and removes its file. Never fails half-way: every step is tried. One line per
/// thing undone.
std::vector<std::string> undo(const Journal& journal);

/// The journals whose broker no longer lives.
[[nodiscard]] std::vector<Journal> stale_journals();

/// Field 22 of /proc/PID/stat together with the pid; start 0 when there is no such process.
procmap::ProcessId process_id_of(pid_t pid);

}  // namespace divert
