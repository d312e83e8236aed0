// The guard: a process that outlives the broker by a moment and puts things right.
#pragma once

#include <sys/types.h>

#include "base/error.h"
#include "base/fd.h"
#include "divert/broker/journal.h"

namespace divert {

/// The broker's end of the guard.
class Guard {
 public:
  /// Forks it: own session, deaf to INT, TERM and HUP. It sleeps on a pipe whose only write end
  /// stays with the caller; at end-of-file, however the broker died, it says so on standard error,
  /// ends the worker, whose connections are reset, and undoes `journal`. When no heartbeat comes
  /// for two seconds (of the guard's own rounds, see heartbeats.h) it kills the broker first. Call
  /// before any thread and before rules are loaded.
  [[nodiscard]] static base::Result<Guard> start(const Journal& journal);

  enum class Engine : bool { works, hangs };
  /// To be called at least every half second. A packet engine that hangs is silence as well, but
  /// another reason to give.
  void beat(Engine engine = Engine::works);
  /// The broker is about to be stopped by job control: no heartbeat is expected until the next one.
  void pause();
  /// The broker has undone everything itself: the guard ends without doing anything, or is killed
  /// when it does not within half a second. Blocking.
  void dismiss();
  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = 0;
  base::UniqueFd pipe_;
};

}  // namespace divert
