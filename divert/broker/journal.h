// What a run has changed on this machine beyond its own memory, written down before it is changed.
// The packet filter is not in it: on Linux the kernel takes our table out itself, and pf's loader
// has a journal.
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
  /// While it lives it is about to undo the journal; 0: not started yet.
  procmap::ProcessId guard{};
};

/// Directory of the journals (root, 0700); one file per network namespace and broker.
extern const char* const kJournalDirectory;

/// Replaces the journal's file (0600, fsynced).
[[nodiscard]] base::Result<> write_journal(const Journal& journal);

/// Undoes what `journal` names and removes its file. Never fails half-way: every step is tried. One
/// line per thing undone.
std::vector<std::string> undo(const Journal& journal);

/// The journals whose broker no longer lives, nor a guard that sees to it.
[[nodiscard]] std::vector<Journal> stale_journals();

/// Removes what runs that were killed as a whole have left beside the rules: cgroups, journals,
/// drafts of journals. One line per thing.
std::vector<std::string> remove_leftovers();

/// Takes out what a broker that has died has left in the packet filter, where that does not go with
/// it. One line per thing.
std::vector<std::string> undo_rules();

/// The pid together with the time its process was started, in the system's unit; start 0 when there
/// is no such process, or (Linux) it has ended and was not waited for.
procmap::ProcessId process_id_of(pid_t pid);

}  // namespace divert
