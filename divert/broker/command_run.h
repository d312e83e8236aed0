// exec's CMD, from its start to the end of the last descendant that is waited for; it has the
// terminal.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

#include "base/error.h"
#include "divert/policy/policy.h"
#include "divert/process/command.h"
#include "divert/process/terminal.h"

namespace divert {

class CommandRun {
 public:
  /// Without a command there is only the terminal. `wait`: --wait.
  CommandRun(std::optional<Command> command, bool wait)
      : command_(std::move(command)), wait_(wait) {}

  /// Starts it, if there is one; it runs nothing before release().
  [[nodiscard]] base::Result<> hold();
  /// Into the foreground. The error is execve(2)'s.
  [[nodiscard]] base::Result<> release();
  /// What identifies its connections, once it is held.
  [[nodiscard]] ExecScope capture() const;
  /// 0: no command, or it has ended.
  [[nodiscard]] pid_t pid() const { return pid_; }
  /// It runs, or has run.
  [[nodiscard]] bool was_released() const { return released_; }
  /// Its exit status; 0 before its end.
  [[nodiscard]] int status() const { return status_; }

  /// What a terminal would send to the whole foreground group goes to CMD's group.
  void forward(int signal) const;
  /// After our own stop: back into the foreground.
  void go_on();
  void take_terminal_back() { terminal_.take_back(); }
  /// `status` as of waitpid(2). Returns what is to be said of it.
  std::vector<std::string> ended(int status);
  /// It has ended, and so has every descendant that is waited for.
  [[nodiscard]] bool is_over() const;
  /// If it was never released.
  void kill();

 private:
  std::optional<Command> command_;
  bool wait_;
  Terminal terminal_;
  std::optional<HeldCommand> held_;
  pid_t pid_ = 0;
  bool released_ = false;
  int status_ = 0;
};

}  // namespace divert
