// Process facts where the system tells them by calls about one pid (macOS, FreeBSD), read once per
// program image and kept.
#pragma once

#include <chrono>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "procmap/account_names.h"
#include "procmap/process.h"

namespace procmap {

/// What one call tells of a process.
struct ProcessRecord {
  ProcessId id;
  pid_t ppid = 0;
  uid_t uid = 0;  ///< effective
  gid_t gid = 0;  ///< effective
  std::string comm;
  std::chrono::system_clock::time_point start_time;
  std::uint64_t image =
      0;  ///< differs after execve(2), as far as the system lets that be seen; else 0
};

/// The system's answers; replaced in tests.
struct ProcessSource {
  std::function<std::optional<ProcessRecord>(pid_t)> record;  ///< empty: no such process
  std::function<std::string(pid_t)> path;                     ///< empty when it cannot be read
  std::function<std::vector<std::string>(pid_t)> arguments;   ///< empty when they cannot be read
};

/// Those of the machine: facts_darwin.cpp, facts_freebsd.cpp.
ProcessSource system_processes();

/// The process that has the number now; start_ticks 0: no process has it.
ProcessId process_id(pid_t pid);

/// Not thread-safe. A pid that was given to another process, and a process that has become another
/// program or another user's, are noticed at each look, which takes two calls of the source.
class ProcessCache {
 public:
  explicit ProcessCache(ProcessSource source);

  /// Null when there is no such process.
  std::shared_ptr<const ProcessFacts> facts_of(pid_t pid);
  /// Null also when they would have to be read: arguments and names of users may take their time.
  std::shared_ptr<const ProcessFacts> kept_facts_of(pid_t pid);
  /// What another cache has read.
  void learn(std::shared_ptr<const ProcessFacts> facts);

 private:
  struct Entry {
    std::shared_ptr<const ProcessFacts> facts;
    std::list<pid_t>::iterator use;
  };

  std::shared_ptr<const ProcessFacts> facts_of(pid_t pid, std::size_t depth);
  std::shared_ptr<ProcessFacts> read(const ProcessRecord& record, const std::string& path);
  std::vector<Ancestor> ancestors_of(const ProcessFacts& facts, const ProcessFacts* earlier,
                                     std::size_t depth);
  void forget(pid_t pid);
  void keep(std::shared_ptr<const ProcessFacts> facts);

  ProcessSource source_;
  std::unordered_map<pid_t, Entry> entries_;
  std::list<pid_t> uses_;  ///< most recently used first
  AccountNames names_;
};

}  // namespace procmap
