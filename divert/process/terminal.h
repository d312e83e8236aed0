// The controlling terminal: who is in the foreground, and its modes.
#pragma once

#include <sys/types.h>
#include <termios.h>

#include "base/fd.h"

namespace divert {

/// Remembers the terminal as it was when the program started in its foreground; does nothing
/// without one, or when we run in the background.
class Terminal {
 public:
  Terminal();

  /// Makes `group` the foreground process group.
  void give_to(pid_t group);
  /// Makes ours the foreground process group again and restores the modes.
  void take_back();

 private:
  base::UniqueFd tty_;
  termios modes_{};
  bool given_ = false;
};

}  // namespace divert
