// Process facts, read once per program image and kept.
#pragma once

#include <list>
#include <memory>
#include <unordered_map>

#include "procmap/account_names.h"
#include "procmap/proc_linux.h"
#include "procmap/process.h"

namespace procmap {

/// Not thread-safe. A pid that was given to another process, and a process that has become another
/// program by execve(2), are noticed at each look: one small file of /proc is read for that.
class FactsCache {
 public:
  explicit FactsCache(const Proc& proc);

  /// Null when there is no such process.
  std::shared_ptr<const ProcessFacts> facts_of(pid_t pid);

  /// The same, when a socket of user `uid` speaks for the process having become that user since it
  /// was read.
  std::shared_ptr<const ProcessFacts> facts_of(pid_t pid, uid_t uid);

  /// What is kept, if it still holds; null when it would have to be read, which can block (a
  /// process that waits for a page keeps its /proc/PID/cmdline locked). `stat`: the process's, now.
  std::shared_ptr<const ProcessFacts> kept(pid_t pid, uid_t uid, const StatFields& stat);

  /// Keeps what another cache has read.
  void keep(std::shared_ptr<const ProcessFacts> facts);

 private:
  struct Entry {
    std::shared_ptr<const ProcessFacts> facts;
    std::list<pid_t>::iterator use;
  };

  [[nodiscard]] bool holds(const Entry& entry, const StatFields& stat) const;
  std::shared_ptr<ProcessFacts> read(pid_t pid, const StatFields& stat);
  /// At one process, without looking for its ancestors. Neither: no such process.
  struct Look {
    std::shared_ptr<const ProcessFacts> known;  ///< ancestors included
    std::shared_ptr<ProcessFacts> read;         ///< not kept yet
  };
  Look look_at(pid_t pid);
  void forget(pid_t pid);

  const Proc& proc_;
  std::unordered_map<pid_t, Entry> entries_;
  std::list<pid_t> uses_;  ///< most recently used first
  AccountNames names_;
  std::chrono::system_clock::time_point boot_;
  long ticks_per_second_ = 100;
};

}  // namespace procmap
