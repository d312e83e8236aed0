// Names of programs that connected and were not selected, for the user of a run that has seen
// nothing: the program that connects may be called otherwise than the one that was started.
#pragma once

#include <atomic>
#include <mutex>
#include <set>
#include <string>

#include "divert/packet/pending_connections.h"

namespace divert {

/// For any thread. Keeps the first few names only.
class PassedPrograms {
 public:
  static constexpr std::size_t kMost = 8;

  /// Takes the name down when `ruling` lets the connection pass because the filter does not select
  /// its program.
  void notice(const Ruling& ruling);

  /// "git-remote-http, python3.11 (script.py)"; empty: there was none.
  [[nodiscard]] std::string list() const;

 private:
  std::atomic<bool> full_{false};
  mutable std::mutex mutex_;
  std::set<std::string> names_;
};

}  // namespace divert
