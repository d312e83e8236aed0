// POSIX job control. /dev/tty rather than standard input: `echo x | osproxy exec -- ssh host` asks
// on the terminal.
#include "divert/process/terminal.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

namespace divert {
namespace {

/// Allowed in the background as well: without the block the kernel would stop us.
void set_foreground(int tty, pid_t group) {
  sigset_t ttou, before;
  sigemptyset(&ttou);
  sigaddset(&ttou, SIGTTOU);
  ::sigprocmask(SIG_BLOCK, &ttou, &before);
  ::tcsetpgrp(tty, group);
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
}

}  // namespace

Terminal::Terminal() {
  base::UniqueFd tty{::open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY)};
  if (tty && ::tcgetpgrp(tty.get()) == ::getpgrp() && ::tcgetattr(tty.get(), &modes_) == 0)
    tty_ = std::move(tty);
}

void Terminal::give_to(pid_t group) {
  if (!tty_) return;
  set_foreground(tty_.get(), group);
  given_ = true;
}

void Terminal::take_back() {
  if (!given_) return;
  set_foreground(tty_.get(), ::getpgrp());
  // At once: a terminal that is stopped never drains, and the broker's loop would wait for it.
  ::tcsetattr(tty_.get(), TCSANOW, &modes_);
  given_ = false;
}

}  // namespace divert
