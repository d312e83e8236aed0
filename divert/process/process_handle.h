// A process that is watched and may have to be killed: that one, never another one that has got its
// number since.
#pragma once

#include <chrono>

#include <sys/types.h>

#include "base/fd.h"

namespace divert {

class WatchedProcess {
 public:
  /// Watches the process that has the number now. Empty: it has ended.
  explicit WatchedProcess(pid_t pid);

  /// True: it has ended, within `limit`.
  [[nodiscard]] bool wait(std::chrono::milliseconds limit);
  /// SIGKILL, unless it has ended.
  void kill();

 private:
  pid_t pid_;
  base::UniqueFd handle_;  ///< none: it has ended
};

}  // namespace divert
